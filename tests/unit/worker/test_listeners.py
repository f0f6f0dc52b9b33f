"""Taking over listeners, sd_listen_fds(3)."""

import os
import socket
from pathlib import Path

import pytest

from svc.worker import listeners
from svc.worker.log import WorkerError
from tests.unit.worker.process import listen


def environment(count: int, names: str = "") -> dict[str, str]:
    env = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count), "OTHER": "stays"}
    return env | ({"LISTEN_FDNAMES": names} if names else {})


def test_names_flags_and_variables() -> None:
    with listen() as sock:
        sock.setblocking(True)
        fd = os.dup(sock.fileno())
        os.set_inheritable(fd, True)
        env = environment(1, "http")
        (taken,) = listeners.take(env, fd)
        with taken.sock:
            assert (taken.name, taken.sock.fileno()) == ("http", fd)
            assert not os.get_inheritable(fd)
            assert not os.get_blocking(sock.fileno())  # the open file itself, which siblings share
            assert str(taken) == f"http (127.0.0.1:{sock.getsockname()[1]})"
        assert env == {"OTHER": "stays"}


def test_listeners_without_names() -> None:
    with listen() as sock:
        (taken,) = listeners.take(environment(1), os.dup(sock.fileno()))
        with taken.sock:
            assert taken.name == "unknown"


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, "LISTEN_FDS and LISTEN_PID are not set"),
        ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, "LISTEN_PID is 1, but this process is"),
        ({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"}, "LISTEN_FDS is '0'"),
        ({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}, "LISTEN_FDS is 'many'"),
    ],
)
def test_no_listeners(env: dict[str, str], said: str) -> None:
    with pytest.raises(WorkerError, match="systemctl start") as error:
        listeners.take(env)
    assert said in str(error.value)


def test_a_file_a_datagram_socket_and_a_connected_one_are_no_listeners(tmp_path: Path) -> None:
    one, two = socket.socketpair()
    with (
        one,
        two,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        (tmp_path / "f").open("w") as file,
    ):
        for wrong in (file, datagram, one):
            with pytest.raises(
                WorkerError, match=r"fd \d+ \(http\) is not a listening stream socket.*ListenStream="
            ):
                listeners.take(environment(1, "http"), wrong.fileno())
            os.fstat(wrong.fileno())  # still open: it is not ours


def test_what_a_predecessor_left_is_no_listener(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(folder, True)
    try:
        env = environment(1, "turn")
        assert listeners.take_turns(env, folder) == (folder,)
        assert not os.get_inheritable(folder)
        assert listeners.take(env, folder) == ()
        # By another name it is a mistake; and nobody else's are ours.
        assert listeners.take_turns(environment(1, "http"), folder) == ()
        with pytest.raises(WorkerError, match="is not a listening stream socket"):
            listeners.take(environment(1, "http"), folder)
        assert listeners.take_turns(environment(1, "turn") | {"LISTEN_PID": "1"}, folder) == ()
        assert listeners.take_turns({}) == ()
    finally:
        os.close(folder)


def test_a_descriptor_that_is_not_there() -> None:
    with pytest.raises(WorkerError, match="Bad file descriptor"):
        listeners.take(environment(1), 987)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80, 0, 0), "[::1]:80"),
        ("/run/app.sock", "unix:/run/app.sock"),
        (b"\0app", "unix:@app"),
    ],
)
def test_addresses_as_people_write_them(address: object, said: str) -> None:
    assert listeners.describe(address) == said
