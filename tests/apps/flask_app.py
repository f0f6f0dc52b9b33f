"""A Flask application."""

import os

from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Say which worker answered."""
    return f"Handled by worker {os.environ.get('SVC_SLOT')}, process {os.getpid()}\n"


@app.post("/length")
def length() -> str:
    """Answer with the number of bytes in the body."""
    return f"{len(request.get_data())} bytes\n"


application = app
