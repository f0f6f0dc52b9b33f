"""WebSockets are told of the restart one after the other, each of them and in time."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from svc.worker import farewell
from svc.worker.farewell import Farewell
from svc.worker.uvicorn_seam import Http

NEVER = 3600.0
PATIENCE = 30.0


class Connections:
    """Stands in for Http: connections are their names, and each that is told goes into a queue."""

    def __init__(self, *names: str) -> None:
        self.connections = set(names)
        self.opening = set[str]()
        self.told = asyncio.Queue[tuple[float, str]]()

    def is_websocket(self, protocol: str) -> bool:
        return protocol != "http"

    def close_websocket(self, protocol: str) -> "asyncio.Task[None] | None":
        if protocol in self.opening:
            self.opening.discard(protocol)
            return None
        loop = asyncio.get_running_loop()
        self.told.put_nowait((loop.time(), protocol))
        return loop.create_task(asyncio.sleep(0))

    async def next(self) -> tuple[float, str]:
        return await asyncio.wait_for(self.told.get(), PATIENCE)


@contextlib.asynccontextmanager
async def leaving(http: Connections, seconds: float) -> AsyncIterator[Farewell]:
    """A farewell that runs."""
    one = Farewell(cast("Http", http), seconds)
    task = asyncio.get_running_loop().create_task(one.run())
    yield one
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def names(count: int) -> list[str]:
    return [f"websocket {number}" for number in range(count)]


def test_they_are_told_one_after_the_other() -> None:
    async def main() -> list[tuple[float, str]]:
        async with leaving(http := Connections("http", *names(10)), NEVER) as one:
            told = [await http.next() for _ in range(10)]
            assert len(one.tasks) == 10
        return told

    told = asyncio.run(main())
    times = [when for when, _ in told]
    assert sorted(name for _, name in told) == names(10)
    # A loop's timer may be early by the resolution of its clock.
    least = 0.99 * farewell.PACE_SECONDS
    assert all(later - earlier >= least for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_all_are_told_in_time_however_many_there_are(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farewell, "PACE_SECONDS", NEVER)

    async def main() -> set[Any]:
        async with leaving(http := Connections(*names(1000)), seconds):
            return {(await http.next())[1] for _ in range(1000)}

    assert asyncio.run(main()) == set(names(1000))


def test_one_that_is_opened_meanwhile_is_told_too() -> None:
    async def main() -> None:
        async with leaving(http := Connections("first"), NEVER):
            assert (await http.next())[1] == "first"
            http.connections.add("second")
            assert (await http.next())[1] == "second"

    asyncio.run(main())


def test_one_whose_opening_handshake_runs_is_told_after_it() -> None:
    async def main() -> None:
        http = Connections("opening")
        http.opening.add("opening")
        async with leaving(http, NEVER):
            assert (await http.next())[1] == "opening"
        assert not http.opening

    asyncio.run(main())


def test_one_that_has_gone_is_not_told() -> None:
    async def main() -> list[str]:
        async with leaving(http := Connections("first", "second"), NEVER):
            _, told = await http.next()
            http.connections -= {"first", "second"} - {told}
            http.connections.add("third")
            return [told, (await http.next())[1]]

    first, then = asyncio.run(main())
    assert first in {"first", "second"}
    assert then == "third"
