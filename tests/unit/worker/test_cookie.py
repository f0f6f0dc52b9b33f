"""The cookie of sticky-cookie: what a head says of it, and what an answer does."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc.worker.cookie import sticky
from svc.worker.cookie.head import END, header, name_of, named_by, named_in

NAME = name_of("shop")


@pytest.mark.parametrize(
    ("value", "slot"),
    [
        (b"svc-shop=3", "3"),
        (b"svc-shop=1023", "1023"),
        (b"a=b; svc-shop=0", "0"),
        (b"a=b;svc-shop=12;c=d", "12"),
        (b"xsvc-shop=1; svc-shop=2", "2"),
        (b"svc-shop=2; svc-shop=3", "2"),
        (b"a=svc-shop=1", ""),
        (b"svc-shop2=1", ""),
        (b"svc-shop=", ""),
        (b"svc-shop", ""),
        (b"svc-shop=01", ""),
        (b"svc-shop=-1", ""),
        (b"svc-shop=12345", ""),
        (b"svc-shop=surge", ""),
        (b"svc-shop=1/../2", ""),
        ("svc-shop=٣".encode(), ""),
        (b"", ""),
    ],
)
def test_what_a_cookie_names(value: bytes, slot: str) -> None:
    assert named_by(value, NAME) == slot
    assert named_in(b"GET / HTTP/1.1\r\nHost: a\r\nCOOKIE: " + value + END + b"body", NAME) == slot


def test_it_is_not_looked_for_in_the_body_or_the_request_line() -> None:
    assert named_in(b"GET / HTTP/1.1\r\nA: b" + END + b"\r\nCookie: svc-shop=1\r\n", NAME) == ""
    assert named_in(b"Cookie: svc-shop=1\r\nA: b" + END, NAME) == ""


def test_it_may_be_in_a_second_cookie_header() -> None:
    assert named_in(b"GET / HTTP/1.1\r\nCookie: a=b\r\ncookie:svc-shop=5" + END, NAME) == "5"


@given(st.binary(max_size=300))
def test_whatever_comes_it_names_a_slot_or_nothing(head: bytes) -> None:
    for found in (named_in(head, NAME), named_in(b"GET /\r\nCookie: svc-shop=" + head, NAME)):
        assert found == "" or (found.isascii() and found.isdigit() and len(found) <= 4)


@given(st.integers(0, 9999))
def test_what_is_set_is_understood(slot: int) -> None:
    _, value = header(NAME, str(slot))
    assert named_by(value.partition(b";")[0], NAME) == str(slot)


Added = list[tuple[bytes, bytes]]


def answer(kind: str, cookie: bytes | None, slot: str = "1", there: str = "0123") -> Added:
    """The headers that are added to an answer of the worker in `slot`."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del receive
        start = {"http": "http.response.start", "websocket": "websocket.accept"}.get(scope["type"])
        if start:
            await send({"type": start, "headers": [(b"a", b"b")]})
        await send({"type": "last"})

    async def receive() -> Any:
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": kind}
    if kind != "lifespan":
        scope["headers"] = [(b"host", b"a"), *([(b"cookie", cookie)] if cookie is not None else [])]

    async def call() -> None:
        await sticky(app, NAME, slot, lambda named: named in there)(scope, receive, send)

    asyncio.run(call())
    assert sent[-1] == {"type": "last"}
    if kind == "lifespan":
        return []
    assert sent[0]["headers"][0] == (b"a", b"b")
    added: Added = sent[0]["headers"][1:]
    return added


OURS = [header(NAME, "1")]
CLOSE = [(b"connection", b"close")]


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_what_an_answer_says(kind: str) -> None:
    assert answer(kind, None) == OURS
    assert answer(kind, b"a=b") == OURS
    assert answer(kind, b"svc-shop=1") == []
    assert answer(kind, b"svc-shop=9") == OURS
    assert answer(kind, b"svc-shop=2") == (CLOSE if kind == "http" else [])
    assert answer(kind, b"svc-shop=2", there="013") == OURS


def test_the_surge_worker_takes_nobody_as_its_own() -> None:
    assert answer("http", None, slot="surge") == []
    assert answer("http", b"svc-shop=9", slot="surge") == []
    assert answer("http", b"svc-shop=2", slot="surge") == CLOSE


def test_a_start_up_is_nobodys_request() -> None:
    assert answer("lifespan", None) == []
