"""svc: one worker per CPU, run by systemd.

Importing this package costs nothing: a worker lives in the application's own
interpreter, and the generator runs at every boot.
"""

__version__ = "0.1.0"
