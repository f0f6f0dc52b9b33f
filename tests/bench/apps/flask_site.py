"""A small Flask application."""

from flask import Flask

wsgi = Flask(__name__)


@wsgi.get("/")
def hello() -> str:
    """Answer."""
    return "hello, world\n"
