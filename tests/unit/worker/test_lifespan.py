"""A lifespan that goes wrong in ways that an application does not tell."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from svc.worker.lifespan import Lifespan
from svc.worker.log import Journal, WorkerError

COMPLETE = {"type": "lifespan.startup.complete"}


async def ended(app: Callable[[Any, Any, Any], Awaitable[None]], *, cancel: bool = False) -> None:
    """Start `app`; returns when its lifespan has come to an end."""
    before = asyncio.all_tasks()
    lifespan = Lifespan(app, None, Journal())
    await lifespan.startup()
    if cancel:
        for task in asyncio.all_tasks() - before:
            task.cancel()
    while asyncio.all_tasks() - before:
        await asyncio.sleep(0)
    await lifespan.shutdown()


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("error", [LookupError("no broker"), asyncio.CancelledError("no broker")])
def test_one_that_dies_later_is_mentioned(
    error: BaseException, at_once: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        if not at_once:
            for _ in range(10):
                await asyncio.sleep(0)
        raise error

    asyncio.run(ended(app))
    said = capsys.readouterr().err
    assert "no broker" in said
    assert said.count("the application's lifespan ended before its shutdown") == 1


def test_a_start_up_that_cancels_itself_has_failed() -> None:
    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        raise asyncio.CancelledError("a task of the start-up")

    with pytest.raises(WorkerError, match=r"the application's start-up failed: .*a task of the start-up"):
        asyncio.run(ended(app))


def test_one_that_is_cancelled_from_outside_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        await receive()

    asyncio.run(ended(app, cancel=True))
    assert capsys.readouterr().err == ""
