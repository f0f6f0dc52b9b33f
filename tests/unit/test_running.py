"""The units of an app that runs: its listeners stay where they are, whatever its file says next."""

from pathlib import Path

import pytest

from svc.app import App, Balance, Family, Listen
from svc.units.generate import is_running
from svc.units.host import Host
from svc.units.render import render
from svc.units.running import NOT_RUNNING, Running, running, running_names
from svc.units.sockets import sockets, unwanted

HOST = Host(cpus=4)
OLD = Listen(Family.INET, "127.0.0.1", 8000)
NEW = Listen(Family.INET, "127.0.0.1", 8001)
V6 = Listen(Family.INET6, "::1", 8000)
UNIX = Listen(Family.UNIX, path="/run/app.sock")


def app(*listen: Listen, listeners: int = 1) -> App:
    return App("app", Path("/etc/svc/app.toml"), listen, app="a:b", balance=Balance(listeners=listeners))


def started(this: App) -> Running:
    """What an app runs with that was started as it is."""
    return Running("app", render(this, HOST))


def listens(units: dict[str, str], unit: str) -> list[str]:
    return [line[13:] for line in units[unit].splitlines() if line.startswith("ListenStream=")]


def test_at_rest_a_listener_for_each_address_and_more_where_they_are_wanted() -> None:
    one = sockets(app(OLD, UNIX), 1, NOT_RUNNING)
    assert one.files == {"app.socket": ("127.0.0.1:8000", "/run/app.sock")}
    assert not one.further
    two = sockets(app(OLD, UNIX), 2, NOT_RUNNING)
    assert two.files == one.files | {"app@.socket": ("127.0.0.1:8000",)}
    assert two.units == ["app.socket", "app@1.socket"]
    assert two.further
    assert sockets(app(UNIX), 2, NOT_RUNNING).units == ["app.socket"]


def test_an_app_that_did_not_change_keeps_its_units() -> None:
    for this in (app(OLD), app(OLD, UNIX, V6), app(OLD, UNIX, listeners=3)):
        assert render(this, HOST, started(this)) == render(this, HOST)


def test_what_is_new_is_opened_beside_what_is_there() -> None:
    units = render(app(NEW, V6, UNIX), HOST, started(app(OLD)))
    assert listens(units, "app.socket") == ["127.0.0.1:8000"]
    assert listens(units, "app@127.0.0.1-8001.socket") == ["127.0.0.1:8001"]
    assert listens(units, "app@---1--8000.socket") == ["[::1]:8000"]
    assert "Service=app-wake@%i.service" in units["app@127.0.0.1-8001.socket"]
    assert "app-wake@.service" in units
    worker = units["app@.service"]
    assert "\nSockets=app.socket app@127.0.0.1-8001.socket app@---1--8000.socket app@unix-" in worker
    # To make the units anew once more changes nothing.
    assert render(app(NEW, V6, UNIX), HOST, Running("app", units)) == units


def test_what_is_given_up_is_gone_with_its_unit() -> None:
    both = Running("app", render(app(NEW), HOST, started(app(OLD))))
    assert unwanted(app(NEW), both) == {"127.0.0.1:8000"}
    left = render(app(NEW), HOST, both.without({"127.0.0.1:8000"}))
    assert "app.socket" not in left
    assert "\nSockets=app@127.0.0.1-8001.socket\n" in left["app@.service"]
    assert unwanted(app(NEW), Running("app", left)) == set()
    # The way back.
    back = render(app(OLD), HOST, Running("app", left))
    assert listens(back, "app@127.0.0.1-8000.socket") == ["127.0.0.1:8000"]


def test_one_of_several_addresses_is_given_up() -> None:
    left = render(app(V6), HOST, started(app(OLD, V6)).without({"127.0.0.1:8000"}))
    assert listens(left, "app.socket") == ["[::1]:8000"]
    assert left == render(app(V6), HOST)


def test_listeners_become_more_while_the_app_runs_and_never_fewer() -> None:
    for before, after in ((3, 1), (3, 3)):
        held = started(app(OLD, listeners=before))
        assert sockets(app(OLD), after, held).units == held.sockets
    grown = sockets(app(OLD, UNIX), 3, started(app(OLD, UNIX)))
    assert grown.units == ["app.socket", "app@1.socket", "app@2.socket"]
    assert grown.files["app@.socket"] == ("127.0.0.1:8000",)
    assert sockets(app(OLD), 3, started(app(OLD, listeners=2))) == sockets(app(OLD), 3, NOT_RUNNING)


def test_what_is_new_has_one_listener_until_the_app_starts_anew() -> None:
    units = render(app(OLD, NEW, listeners=3), HOST, started(app(OLD, listeners=2)))
    assert "Sockets=app.socket app@1.socket app@2.socket app@127.0.0.1-8001.socket\n" in units["app@.service"]
    assert listens(units, "app@.socket") == ["127.0.0.1:8000"]


def test_what_the_coordinator_kept_is_read(tmp_path: Path) -> None:
    assert running("app", root=str(tmp_path)) == NOT_RUNNING
    assert running_names(root=str(tmp_path)) == []
    folder = tmp_path / "run/svc/.rollout/app/units"
    folder.mkdir(parents=True)
    (folder / "app.socket.new").write_text("half")
    assert running("app", root=str(tmp_path)) == NOT_RUNNING
    units = render(app(OLD), HOST)
    for unit, text in units.items():
        (folder / unit).write_text(text)
    assert running("app", root=str(tmp_path)) == Running("app", units)
    assert running("app", root=str(tmp_path)).wanted_by == ["multi-user.target"]
    assert running_names(root=str(tmp_path)) == ["app"]
    (folder / "app.socket").write_bytes(b"\xff")
    assert running("app", root=str(tmp_path)) == NOT_RUNNING


def test_a_users_app_runs_where_its_own_systemd_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "1000"))
    for folder, name in ((tmp_path / "run", "system"), (tmp_path / "1000", "user")):
        (folder / "systemd/units").mkdir(parents=True)
        (folder / f"systemd/units/invocation:{name}.service").symlink_to("0123456789abcdef")
    running = [(is_running(name, str(tmp_path)), is_running(name, str(tmp_path), user_scope=True))
               for name in ("system", "user")]  # fmt: skip
    assert running == [(True, False), (False, True)]
