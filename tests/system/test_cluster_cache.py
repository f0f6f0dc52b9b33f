"""The cache of all workers on a real systemd: what reloads, restarts and kills do to it."""

import json
import random
import re
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from svc.cluster.caching.embedded import PARTS
from tests.client import load
from tests.machine import Machine
from tests.ports import free_port
from tests.system import cache_apps
from tests.system.conftest import App
from tests.unit.cluster import cache_worker

WORKERS = 3


@pytest.fixture
def app(machine: Machine) -> App:
    """The app without the cache that an earlier test has filled, which outlives the app."""
    machine.run("rm", "-rf", "/run/private/svc/app/cache", "/run/svc/app/cache")
    return App(machine, free_port())


@pytest.fixture
def shared(app: App) -> App:
    """An app of three workers that use their cache when they are told to."""
    app.deploy(cache_apps.ASKED)
    app.start(workers=WORKERS)
    return app


def ask(app: App, path: str, **query: Any) -> Any:
    """What some worker answers: its slot, and what the cache gave it."""
    words = "&".join(
        f"{name}={quote(value if name == 'key' else json.dumps(value))}" for name, value in query.items()
    )
    return json.loads(app.get(f"{path}?{words}"))


def done(app: App, path: str, **query: Any) -> Any:
    """The same, without the slot."""
    answer = ask(app, path, **query)
    assert isinstance(answer, list), answer
    return answer[1]


def seen_by_all(app: App, key: str, workers: int = WORKERS) -> list[Any]:
    """What each worker has for a key: the line is fair, so each one's turn comes."""
    seen: dict[int, Any] = {}
    for _ in range(100):
        slot, value = ask(app, "/get", key=key)
        seen[slot] = value
        if len(seen) == workers:
            return [seen[slot] for slot in sorted(seen)]
    raise AssertionError(f"only workers {sorted(seen)} had their turn")


def kill(app: App, slot: int) -> None:
    """SIGKILL a worker, and wait until its successor serves."""
    before = app.show(f"app@{slot}.service", "MainPID")
    app.systemctl("kill", "--signal=KILL", f"app@{slot}.service")
    app.machine.wait_until(f"app@{slot}.service", "MainPID", lambda pid: pid not in ("0", before))
    app.machine.wait_until(f"app@{slot}.service", "ActiveState", lambda state: state == "active")


def test_what_one_sets_all_have_and_one_of_them_wins(shared: App) -> None:
    value = {"users": 25, "names": ["Zoë", None, True, 1.5]}
    done(shared, "/set", value=value, ttl=3600)
    assert seen_by_all(shared, "key") == [value] * WORKERS
    assert [done(shared, "/add", key="first", value=number) for number in range(6)] == [True] + [False] * 5
    assert done(shared, "/cas", key="first", expected=1, value=2) is False
    assert done(shared, "/cas", key="first", expected=0, value=2) is True
    assert seen_by_all(shared, "first") == [2] * WORKERS
    assert [done(shared, "/incr", key="count") for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    assert [done(shared, "/delete", key="first") for _ in range(2)] == [True, False]
    assert seen_by_all(shared, "first") == [None] * WORKERS
    done(shared, "/set", value="gone at once", ttl=0)
    assert seen_by_all(shared, "key") == [None] * WORKERS


def test_it_survives_reloads_restarts_and_crashes(shared: App) -> None:
    done(shared, "/set", value="kept")
    shared.systemctl("reload", "app.target")
    assert seen_by_all(shared, "key") == ["kept"] * WORKERS
    for slot in range(WORKERS):
        kill(shared, slot)
    assert seen_by_all(shared, "key") == ["kept"] * WORKERS
    shared.systemctl("restart", "app.target")
    assert seen_by_all(shared, "key") == ["kept"] * WORKERS


def test_no_count_is_lost_under_load_reloads_and_kills(shared: App) -> None:
    chance = random.Random(1)
    with load(f"{shared.url}/incr?key=count", connections=8, keep_alive=False, keep_bodies=True) as clients:
        for _ in range(2):
            clients.wait(200)
            shared.systemctl("reload", "app.target")
            clients.wait(200)
            kill(shared, chance.randrange(WORKERS))
    answered = clients.stop()
    counts = [json.loads(record.body)[1] for record in answered.records if not record.failed]
    # Each answer has a number of its own; a request that a kill cut off may have counted, or not.
    assert len(set(counts)) == len(counts) > 800
    total = done(shared, "/get", key="count")
    assert len(counts) <= total <= len(answered.records)
    assert answered.failed <= 8 * 2, answered.table()  # what the killed workers had taken


def test_sigkill_in_the_middle_of_writes(app: App) -> None:
    app.deploy(cache_apps.WRITERS)
    app.start(workers=4)
    chance = random.Random(2)

    def written() -> dict[int, int]:
        """How many writes each worker sees, after every one has begun to write."""
        seen: dict[int, int] = {}
        while len(seen) < 4:
            slot, number = app.get("/").split()
            seen[int(slot)] = int(number)
        return seen

    before = 0
    for _ in range(12):
        now = min(written().values())
        assert now >= before
        before = now
        # All write all the time, so all of them are somewhere in the middle of it.
        kill(app, chance.randrange(4))
    app.systemctl("reload", "app.target")
    now = min(written().values())
    assert now > before
    while max(written().values()) < now + 100:  # and the writing goes on
        pass
    journal = app.machine.journal()
    assert "wrong:" not in journal
    assert "CacheError" not in journal
    assert "Traceback" not in journal


def test_one_worker_computes_and_when_it_dies_another_does(shared: App) -> None:
    with ThreadPoolExecutor(9) as threads:
        since = shared.machine.cursor()
        asking: list[Future[Any]] = [threads.submit(ask, shared, "/compute", key="slow") for _ in range(9)]
        shared.machine.wait_journal(r"worker \d computes", since=since)
        first = computing(shared)
        assert len(first) == 1
        since = shared.machine.cursor()
        shared.systemctl("kill", "--signal=KILL", f"app@{first[0]}.service")
        shared.machine.wait_journal(r"worker \d computes", since=since)
        done(shared, "/set", key="go on", value=True)
        answers = [one.result() for one in asking if one.exception() is None]
    shared.machine.wait_until(f"app@{first[0]}.service", "ActiveState", lambda state: state == "active")
    second = computing(shared)
    assert len(second) == 2
    assert second[1] != first[0]
    # Only what the killed worker had taken has no answer.
    assert len(answers) >= 1
    assert {slot for slot, _ in answers} <= set(range(WORKERS))
    assert {value for _, value in answers} == {f"by {second[1]}"}
    assert seen_by_all(shared, "slow") == [f"by {second[1]}"] * WORKERS


def computing(app: App) -> list[int]:
    """Which workers have computed, in the order in which they began."""
    lines = app.machine.journal(output="cat").splitlines()
    return [
        int(line.split()[1]) for line in lines if line.startswith("worker ") and line.endswith(" computes")
    ]


def test_its_size_is_limited_and_can_be_changed_by_a_reload(app: App) -> None:
    app.deploy(cache_apps.ASKED)
    app.start(workers=2, more='[cluster]\ncache = "4M"\n')
    there = done(app, "/fill", key="small")
    assert there[-500:] == list(range(2500, 3000))  # the newest
    assert len(there) < 2000
    assert size(app) <= 4 << 20
    app.configure(workers=2, more='[cluster]\ncache = "8M"\n')
    app.systemctl("reload", "app.target")
    assert done(app, "/get", key="small 2999") == "x" * 1000
    more = done(app, "/fill", key="large")
    assert more[-500:] == list(range(2500, 3000))
    assert len(more) > len(there) + 500
    assert 4 << 20 < size(app) <= 8 << 20


def size(app: App) -> int:
    """Bytes of the cache's files."""
    files = [f"/run/svc/app/cache/{part}/data.mdb" for part in range(PARTS)]
    return sum(map(int, app.machine.run("stat", "--dereference", "--format=%s", *files).stdout.split()))


def test_only_the_app_s_user_can_look_into_it(shared: App) -> None:
    done(shared, "/set", value="secret")
    stranger = shared.machine.run(
        "setpriv", "--reuid=12345", "--clear-groups", "cat", "/run/svc/app/cache/0/data.mdb", check=False
    )
    assert "Permission denied" in stranger.stderr
    modes = shared.machine.run("stat", "--format=%a", "/run/svc/app/cache/", "/run/svc/app/cache/0/data.mdb")
    assert modes.stdout.split() == ["700", "600"]


def test_without_lmdb_the_error_names_it_and_the_app_serves_on(app: App) -> None:
    app.machine.write("/srv/webapp/lmdb.py", "raise ModuleNotFoundError(name='lmdb')\n")
    app.deploy(cache_apps.ASKED)
    app.start(workers=1)
    for _ in range(2):
        answer = ask(app, "/get")
        assert answer["error"] == "CacheError"
        assert "/opt/svc-venv/bin/python -m pip install lmdb" in answer["text"]
    assert len(app.pids()) == 1


def test_users_are_counted_once_a_period_and_every_worker_has_the_newest_count(app: App) -> None:
    period = 1.0
    app.deploy(cache_apps.USERS.format(period=period))
    app.start(workers=6)
    with load(app.url, connections=6, keep_alive=False, keep_bodies=True, think=0.002) as clients:
        clients.wait(500)
        app.systemctl("reload", "app.target")
        clients.wait(500)
        kill(app, 2)
        clients.wait(500)
    seen = clients.stop()
    assert seen.failed <= 6, seen.table()  # what the killed worker had taken
    answers = [json.loads(record.body) for record in seen.records if not record.failed]
    assert {slot for slot, _, _ in answers} >= set(range(6))
    # One that is not in the journal yet is about to be: a worker prints it before it returns it.
    for users in {f"{users:.3f}" for _, _, users in answers}:
        app.machine.wait_journal(rf"query at {re.escape(users)} by")
    queries = sorted({float(stamp) for stamp in QUERY.findall(app.machine.journal(output="cat"))})
    # The value lives for a period from when it was stored, so no two queries are closer.
    assert all(after - before >= period for before, after in pairwise(queries)), queries
    assert len(queries) <= (queries[-1] - queries[0]) / period + 1
    # Who asked after a query had been stored has its count: no worker goes on with an older one.
    for slot, asked, users in answers:
        newest = max((query for query in queries if query + period <= asked), default=0.0)
        assert round(users, 3) >= newest, (slot, asked, users)


QUERY = re.compile(r"query at ([\d.]+) by \d")


def in_a_run_of(size: int, tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Do what `script` says in a file system of `size` bytes: `fill` fills a cache of 64 MiB, `take BYTES`
    lets others have some of it.
    """
    functions = (
        'mount -t tmpfs -o size="$1" tmpfs "$2" || exit 2; '
        'fill() { "$3" -B "$4" "$2/cache" 67108864 fill; }; '
        'take() { head -c "$1" /dev/zero >"$2/taken"; }; set -e; '
    )
    values = [str(value) for value in (size, tmp_path, sys.executable, Path(cache_worker.__file__))]
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", functions + script, "sh", *values],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_small_run_is_never_filled_and_what_was_set_longest_ago_goes(tmp_path: Path) -> None:
    ran = in_a_run_of(12 << 20, tmp_path, 'fill "$@"; stat -f -c "%a %b" "$2"')
    assert ran.returncode == 0, ran.stderr
    _, filled, file_system = ran.stdout.splitlines()
    there, last = map(int, filled.split())
    assert last == 19_999
    assert there > 1000
    free, blocks = map(int, file_system.split())
    assert free * 9 > blocks  # what else lives in /run, systemd before all, has room


def test_a_run_that_others_fill_later_leaves_the_cache_what_it_has(tmp_path: Path) -> None:
    ran = in_a_run_of(12 << 20, tmp_path, 'fill "$@"; take 9999999 "$2" || fill "$@"')
    assert ran.returncode == 0, ran.stderr
    assert "No space left" in ran.stderr
    _, before, _, after = ran.stdout.splitlines()
    assert int(after.split()[1]) == 19_999
    assert int(after.split()[0]) * 2 > int(before.split()[0])


def test_a_full_run_is_an_error_that_says_so(tmp_path: Path) -> None:
    ran = in_a_run_of(3 << 20, tmp_path, 'take 3000000 "$2"; fill "$@"')
    assert ran.returncode == 1, ran
    assert "CacheError: the cache in" in ran.stderr
    assert "No space left on device" in ran.stderr
