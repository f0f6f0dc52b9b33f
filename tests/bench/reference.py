"""`python -m tests.bench.reference WAY PORT WORKERS`: the two plain ways to spread connections.

`reuseport`: each worker has a listener of its own on the same address (SO_REUSEPORT), the kernel
spreads by a hash. `shared`: all wait on one listener (EPOLLEXCLUSIVE), the kernel wakes the one that
began to wait last. Nothing else differs: a loop on epoll, one request at a time, hardly any HTTP, so
that what is measured is the way of accepting. A worker that ends is started again after a second.
"""

import os
import select
import signal
import socket
import sys
import time

RESTART_SECONDS = 1.0
BACKLOG = 2048


def listen(port: int, *, reuse: bool) -> socket.socket:
    """A listener, non-blocking."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def serve(listener: socket.socket) -> None:
    """One worker: accept one connection a wake-up, answer one request at a time."""
    epoll, connections = select.epoll(), dict[int, socket.socket]()
    epoll.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
    while True:
        ready = {fd for fd, _ in epoll.poll()}
        for fd in ready - {listener.fileno()}:  # who is here goes before who comes
            if not answer(connections[fd]):
                connections.pop(fd).close()  # which also ends its registration
        if listener.fileno() not in ready:
            continue
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue  # a sibling was faster
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections[connection.fileno()] = connection
        epoll.register(connection, select.EPOLLIN)


def answer(connection: socket.socket) -> bool:
    """Answer a request that came in one piece; False when the connection is to be closed."""
    try:
        request = connection.recv(65536)
        if not request:
            return False
        path = request.split(b" ", 2)[1]
        if path in (b"/block", b"/long-block"):
            time.sleep(0.1 if path == b"/long-block" else 0.005)
        body = b"%d\n" % os.getpid()
        close = b"\r\nConnection: close" in request
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n"
        connection.sendall(head % (len(body), b"Connection: close\r\n" if close else b"") + body)
    except ConnectionError:
        return False
    return not close


def main() -> None:
    """Fork the workers, and fork them anew when they end."""
    way, port, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    shared = listen(port, reuse=False) if way == "shared" else None
    children: set[int] = set()

    def end(_number: int, _frame: object) -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    def start(pause: float) -> None:
        child = os.fork()
        if child:
            children.add(child)
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(pause)
        serve(shared or listen(port, reuse=True))

    signal.signal(signal.SIGTERM, end)
    for _ in range(workers):
        start(0)
    while True:
        child, _ = os.wait()
        children.discard(child)
        start(RESTART_SECONDS)


if __name__ == "__main__":
    main()
