"""What one worker does for all: the article's count of users, and who takes over when that one is gone."""

import json
import re
import time
from itertools import pairwise

from svc.cluster.leader import LOOK_SECONDS
from tests.client import load
from tests.system import cluster_apps
from tests.system.conftest import THINK, App

PERIOD = 1.0
PATIENCE = 30.0


def queries(app: App) -> list[tuple[float, int]]:
    """When the database was asked, in seconds, and by which worker."""
    found = re.findall(r"query at ([\d.]+) by (\d+)", app.machine.journal(output="cat"))
    return sorted((float(stamp), int(slot)) for stamp, slot in found)


def holder(app: App, job: str = "refresh") -> int:
    """The worker that does the job, as `svcctl status` shows it; waits for one that has just taken over."""
    deadline = time.monotonic() + PATIENCE
    while True:
        said = app.machine.run("svcctl", "status", "app", check=False).stdout
        if match := re.search(rf"^JOB +EVERY +SLOT +PID\n\S+\.{job} +[0-9.]+ s +(\d+) +\d+$", said, re.M):
            return int(match[1])
        assert time.monotonic() < deadline, said


def test_one_query_a_period_whatever_the_number_of_workers_and_all_have_the_newest_count(app: App) -> None:
    app.deploy(cluster_apps.USERS.format(period=PERIOD))
    app.start(workers=6)
    first = queries(app) or [(0.0, 0)]
    with load(app.url, connections=4, keep_alive=False, think=THINK) as clients:
        clients.wait(200)
        app.systemctl("reload", "app.target")
        leader = holder(app)
        since = app.machine.cursor()
        app.systemctl("kill", "--signal=KILL", f"app@{leader}.service")
        app.machine.wait_journal("query at", since=since)
        app.machine.wait_until(f"app@{leader}.service", "ActiveState", lambda state: state == "active")
    assert clients.stop().failed <= 4  # what the killed worker had taken
    seen = queries(app)
    assert seen[: len(first)] == first or first == [(0.0, 0)]
    assert seen[-1][1] == holder(app)
    # No period had two, nor a long gap, through the hand-over of a reload and of a crash.
    gaps = [after - before for (before, _), (after, _) in pairwise(seen)]
    spread = seen[-1][0] - seen[0][0]
    assert len(seen) <= spread / PERIOD + 2, seen
    assert min(gaps) > 0.0
    assert max(gaps) < PERIOD + 1.0, seen
    newest = {answer.split()[1] for answer in (app.get("/") for _ in range(24))}
    assert len(newest) <= 2, newest  # a period may have ended meanwhile


def test_a_holder_that_is_stopped_is_replaced_by_another_within_a_second(app: App) -> None:
    app.deploy(cluster_apps.USERS.format(period=0.1))
    app.start(workers=3)
    app.machine.wait_journal("query at")
    first = holder(app)
    since = app.machine.cursor()
    app.systemctl("stop", f"app@{first}.service")
    app.machine.wait_journal(f"query at .* by [^{first}]", since=since)
    assert holder(app) != first
    seen = queries(app)
    gaps = [after - before for (before, _), (after, _) in pairwise(seen)]
    # Each worker looks every half second; on a machine that is busy with other things that takes its time.
    assert max(gaps) < 5 * LOOK_SECONDS, seen


def test_plain_calls_in_a_wsgi_application(app: App) -> None:
    app.deploy(cluster_apps.PLAIN)
    app.start(workers=3)
    assert app.get("/all") == "[0, 1, 2]"
    # The one who is asked asks back, while the one who asked serves a request and waits.
    for slot in range(3):
        asked, (answering, back) = json.loads(app.get(f"/ask?to={slot}"))
        assert (answering, back) == (slot, asked)
    assert '"all"' in app.get("/received")
    app.machine.wait_journal("job done by")
