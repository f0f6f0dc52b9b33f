"""A worker: one process that serves one application on the listeners systemd gave it.

Runs in the application's own interpreter, so it uses only the standard library, sdnotify and
uvicorn (0.17.6 or newer), and uvloop, httptools and websockets where they are installed.
"""
