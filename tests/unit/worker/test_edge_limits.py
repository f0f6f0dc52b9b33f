"""`limits.headers` and `limits.body`: 431 and 413, in answers that a client can read while it sends."""

from pathlib import Path

import pytest

from tests.unit.worker.conftest import Variant
from tests.unit.worker.edge import HOST, Edge, edge
from tests.unit.worker.process import Client

POST = b"POST / HTTP/1.1\r\n" + HOST
LIMITS = ("--headers", "16384", "--body", "100000")
SLACK = 4096 + 100  # what is read at a time, and the request line


def _padding(size: int) -> bytes:
    """Fields of `size` bytes together, or up to 1000 more."""
    return b"X: %b\r\n" % (b"a" * 995) * -(-size // 1000)


def _client(worker: Edge) -> Client:
    return worker.worker.client()


def test_a_head_that_is_too_large_is_refused(variant: Variant, tmp_path: Path) -> None:
    with edge(variant, tmp_path, arguments=LIMITS) as worker:
        small, large = _padding(16384 - SLACK), _padding(16384 + SLACK)
        assert worker.send(b"GET / HTTP/1.1\r\n" + HOST + small + b"\r\n").statuses == (200,)
        assert worker.send(b"GET / HTTP/1.1\r\n" + HOST + large + b"\r\n").statuses == (431,)
        assert worker.send(b"GET / HTTP/1.1\r\n" + HOST + b"X" * 200_000).statuses == (431,)
        assert worker.send(b"GET /" + b"a" * 200_000).statuses == (431,)
        assert worker.send(b"GET / HTTP/1.1\r\n" + HOST + _padding(3_000_000) + b"\r\n").statuses == (431,)


def test_a_head_that_comes_in_pieces_is_refused_as_soon_as_it_is_too_large(
    variant: Variant, tmp_path: Path
) -> None:
    with edge(variant, tmp_path, arguments=LIMITS) as worker, _client(worker) as client:
        client.get()  # a connection that was used before
        client.send(b"GET / HTTP/1.1\r\n" + HOST)
        for _ in range((16384 + SLACK) // 1000 + 1):
            client.send(_padding(1000))
        assert client.answer()[0] == 431
        assert client.rest() == b""


def test_large_requests_before_a_small_one_do_not_count(variant: Variant, tmp_path: Path) -> None:
    request = POST + b"Content-Length: 12000\r\n\r\n" + b"a" * 12000
    with edge(variant, tmp_path, arguments=LIMITS) as worker:
        outcome = worker.send(request * 5 + POST, _padding(12000), b"Content-Length: 0\r\n\r\n")
        assert outcome.statuses == (200,) * 6


def test_trailers_and_extensions_of_chunks_are_limited_as_heads_are(variant: Variant, tmp_path: Path) -> None:
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    with edge(variant, tmp_path, arguments=LIMITS) as worker:
        assert worker.send(chunked + b"0\r\n" + _padding(12000) + b"\r\n").statuses == (200,)
        for endless in (b"0\r\n" + _padding(100_000), b"0\r\nX: " + b"a" * 100_000, b"1;" + b"a" * 100_000):
            outcome = worker.send(chunked + endless)
            assert outcome.seen == ()
            assert outcome.statuses[0] in (431, 400), outcome


@pytest.mark.parametrize("app", ["app", "wsgi"])
def test_a_body_that_is_too_large_is_refused(variant: Variant, app: str, tmp_path: Path) -> None:
    with edge(variant, tmp_path, app, arguments=LIMITS) as worker:
        for size, expected in (100_000, 200), (100_001, 413), (3_000_000, 413):
            outcome = worker.send(POST + b"Content-Length: %d\r\n\r\n" % size + b"a" * size)
            assert outcome.statuses == (expected,), size
            assert len(outcome.seen) == (expected == 200), size
            chunks = b"".join(b"%x\r\n%b\r\n" % (1000, b"a" * 1000) for _ in range(size // 1000))
            chunks += b"1\r\na\r\n" * (size % 1000) + b"0\r\n\r\n"
            outcome = worker.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
            assert outcome.statuses == (expected,), size
            assert len(outcome.seen) == (expected == 200), size


def test_a_length_that_is_too_large_is_refused_before_the_body_comes(
    variant: Variant, tmp_path: Path
) -> None:
    with edge(variant, tmp_path, arguments=LIMITS) as worker, _client(worker) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 100001\r\n\r\n")
        status, headers, _ = client.answer()  # and no 100 before it
        assert (status, headers["connection"]) == (413, "close")


def test_without_a_limit_a_body_may_have_any_size(variant: Variant, tmp_path: Path) -> None:
    with edge(variant, tmp_path) as worker:
        size = 5_000_000
        outcome = worker.send(POST + b"Content-Length: %d\r\n\r\n" % size + b"a" * size)
        assert outcome.statuses == (200,)
        assert len(outcome.seen[0].body) == size
