"""The HTTP edge: what strangers send, and what of it may reach the application.

`strict` makes uvicorn's protocols refuse in order and within limits what their parser cannot read; `gate`
refuses requests that a parser lets through and HTTP does not.
"""
