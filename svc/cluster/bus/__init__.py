"""Messages between the workers of an app: from a value (`values`) and its frame (`wire`) to a datagram in
another's queue (`outbox`), out of the own queue (`inbox`), and to the functions that wait for it
(`handlers`).
"""
