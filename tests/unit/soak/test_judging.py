"""What judges the scenarios of tests/soak: a lost request or a leak must show."""

import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import readme
from tests.soak import results, scenarios, workers
from tests.soak.census import SPARE_BYTES, Census
from tests.soak.trial import Row

ROW = Row("a fault", requests=1000, failed=2, allowed=2, longest=0.25, came_back="3 workers")
RESULTS = results.Results("2026-01-01", 2, "6.12", "252", "1.0", (ROW, replace(ROW, name="another")))
CENSUS = Census(40, 90, 100 << 20, 10 << 20, 12, frozenset({"/run/a"}), frozenset({"app@0.service"}))


def test_a_row_is_good_as_long_as_no_more_failed_than_was_allowed() -> None:
    assert ROW.good
    assert not replace(ROW, failed=3).good
    assert not replace(ROW, requests=0, failed=0).good


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "results" / "faults.json"
    results.write(RESULTS, path)
    assert results.read(path) == RESULTS


def test_the_readme_gets_the_table_and_keeps_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("before\n<!-- faults -->\nold\n<!-- /faults -->\nafter\n", "utf-8")
    results.update(RESULTS, file)
    text = file.read_text("utf-8")
    assert text.startswith("before\n<!-- faults -->\n")
    assert text.endswith("<!-- /faults -->\nafter\n")
    assert "old" not in text
    assert "| a fault | 1,000 | 2 | 2 | 0.25 | 3 workers |" in text
    assert "In none did more fail" in text


def test_the_readme_says_so_when_too_much_was_lost() -> None:
    assert "**In 1 of them" in results.section(replace(RESULTS, rows=(ROW, replace(ROW, failed=3))))


def test_the_table_in_the_readme_is_that_of_the_file() -> None:
    found = results.section(results.read())
    assert f"<!-- faults -->\n{found}\n<!-- /faults -->" in readme.README.read_text("utf-8")


def test_a_readme_without_the_place_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("nothing\n", "utf-8")
    with pytest.raises(readme.NoPlaceError, match="<!-- faults -->"):
        results.update(RESULTS, file)


def test_what_make_test_leaves_out_is_in_the_table() -> None:
    assert set(scenarios.TABLE.values()) >= scenarios.LONG
    assert not scenarios.TABLE.keys() & (scenarios.BRIEF | scenarios.SOAK).keys()


def test_what_grew_is_a_leak() -> None:
    assert CENSUS.leaks(CENSUS) == []
    assert CENSUS.leaks(replace(CENSUS, processes=11, bytes=0, files=frozenset())) == []
    assert CENSUS.leaks(replace(CENSUS, processes=13)) == ["processes: 12 before, 13 after"]
    assert CENSUS.leaks(replace(CENSUS, files=frozenset({"/run/a", "/run/b"}))) == [
        "a file is left in /run: /run/b"
    ]
    assert CENSUS.leaks(replace(CENSUS, units=frozenset({"x.service"}))) == ["a unit is left: x.service"]
    assert len(CENSUS.leaks(replace(CENSUS, bytes=CENSUS.bytes + SPARE_BYTES + 1))) == 1
    assert len(CENSUS.leaks(replace(CENSUS, descriptors=60, manager_descriptors=120))) == 2


def test_only_accepted_connections_to_the_port_count() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            assert workers.connections(os.getpid(), port) == 0  # both are in the queue
            accepted, _ = listener.accept()
            with accepted:
                assert workers.connections(os.getpid(), port) == 1


def test_a_kill_returns_when_the_process_is_gone() -> None:
    with subprocess.Popen(["sleep", "inf"]) as process:
        killed = workers.kill([process.pid], 1)
        assert process.wait() == -9
    assert killed.held == 0
    assert killed.began <= killed.ended
