"""The applications that scenarios run: one that serves, and that has a fault where a scenario wants it."""

LEAK = 200_000  # bytes, that a request of /leak leaves behind

_ASGI = """
import asyncio, os, random, signal, socket, sys, threading

VERSION = {version!r}
kept = []
leaked = []


def connections():
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as one:
                found += one.family == socket.AF_INET and bool(one.getpeername())
        except OSError:
            pass
    return found


def deadlock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def leave():
    print("leaves with", connections(), "connections", flush=True)
    os._exit(3)


def eat():
    try:
        while True:
            kept.append(os.dup(1))
    except OSError:
        return


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        {startup}
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        {shutdown}
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    path = scope["path"]
    if path == "/eat" or kept:  # also what connections that have ended since gave back
        eat()
    elif path == "/fill":
        try:
            with open("/run/svc/app/filler", "wb", buffering=0) as file:
                while file.write(bytes(65536)):
                    pass
        except OSError:
            pass
    elif path == "/leak":
        leaked.append(b"x" * {leak})
    elif path == "/burst":
        while True:
            leaked.append(b"x" * {leak})
    elif path == "/hang":
        print("hangs with", connections(), "connections", flush=True)
        threading.Event().wait()
    elif path == "/thread":
        await asyncio.to_thread(deadlock)
    if path == "/":
        await asyncio.sleep(0.02)
    body = f"worker {{os.environ['SVC_SLOT']}} version {{VERSION}}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": body}})
"""

# A thread that never ends and that the interpreter would wait for, and a request that waits for one.
WSGI = f"""
import os, threading

leaked = []

def app(environ, start_response):
    if environ["PATH_INFO"] == "/leak":
        leaked.append(b"x" * {LEAK})
    if environ["PATH_INFO"] == "/thread":
        lock = threading.Lock()
        lock.acquire()
        threading.Thread(target=lock.acquire).start()
    body = b"worker " + os.environ["SVC_SLOT"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def asgi(version: str = "1", startup: str = "pass", shutdown: str = "pass") -> str:
    """Return an application that answers after 20 ms; `startup` and `shutdown` are statements."""
    return _ASGI.format(version=version, startup=startup, shutdown=shutdown, leak=LEAK)


def exits_within(seconds: float) -> str:
    """Return an application whose every process ends at random within this time."""
    return asgi(startup=f"asyncio.get_running_loop().call_later(random.uniform(1, {seconds}), leave)")
