"""`make install` and `make uninstall`: what they put where, and that nothing of it stays."""

from tests.client import load
from tests.install import SOURCE
from tests.machine import Machine
from tests.system import versions
from tests.system.conftest import THINK, App


def files(machine: Machine, *folders: str) -> set[str]:
    """Return all files below folders."""
    return set(machine.run("find", *folders, "!", "-type", "d").stdout.splitlines())


def test_under_destdir_nothing_of_the_host_is_touched(machine: Machine) -> None:
    before = files(machine, "/usr/lib/svc", "/usr/local")
    cursor = machine.cursor()
    machine.run("make", "-s", "-C", SOURCE, "install", "DESTDIR=/run/image", "PREFIX=/usr/local")
    assert files(machine, "/usr/lib/svc", "/usr/local") == before
    installed = files(machine, "/run/image")
    assert "/run/image/usr/local/bin/svcctl" in installed
    assert "/run/image/usr/local/lib/systemd/system-generators/svc-generator" in installed
    assert "/run/image/usr/local/lib/systemd/user-generators/svc-generator" in installed
    assert any("/__pycache__/render.cpython-" in name for name in installed)
    # systemd was not told.
    assert "Reloading" not in machine.journal(since=cursor)


def test_where_and_when_it_was_built_does_not_show(machine: Machine) -> None:
    for image in ("/run/one", "/run/elsewhere/another"):
        machine.run("make", "-s", "-C", SOURCE, "install", f"DESTDIR={image}", "PREFIX=/usr")
    done = machine.run("diff", "-r", "/run/one", "/run/elsewhere/another", check=False)
    assert (done.returncode, done.stdout) == (0, "")
    # As README's first steps have it.
    assert machine.run("stat", "-c", "%F", "/run/one/etc/svc").stdout == "directory\n"


def test_it_finds_svcctl_where_it_was_put(machine: Machine) -> None:
    machine.run(
        "make", "-s", "-C", SOURCE, "install", "DESTDIR=/run/moved", "BINDIR=/usr/sbin", "PREFIX=/usr"
    )
    script = "import sys; sys.path.insert(0, '/run/moved/usr/lib/svc/python')\n"
    script += "from svc.units.host import this_host; print(this_host().svcctl)"
    assert machine.run("python3", "-I", "-c", script).stdout == "/usr/sbin/svcctl\n"


def test_a_prefix_that_systemd_does_not_know_is_refused(machine: Machine) -> None:
    done = machine.run(
        "make", "-s", "-C", SOURCE, "install", "DESTDIR=/run/opt", "PREFIX=/opt/svc", check=False
    )
    assert done.returncode != 0
    assert "systemd looks for no generator in /opt/svc/lib/systemd/system-generators" in done.stderr
    assert not machine.path("/run/opt").exists()


def test_uninstall_leaves_only_what_the_administrator_wrote(machine: Machine) -> None:
    machine.run("mkdir", "-p", "/run/other-image/usr/local/lib/svc/apps", "/run/other-image/etc/svc")
    own = ("/run/other-image/usr/local/lib/svc/apps/mine.toml", "/run/other-image/etc/svc/site.toml")
    for path in own:
        machine.write(path, "")
    where = ("DESTDIR=/run/other-image", "PREFIX=/usr/local")
    machine.run("make", "-s", "-C", SOURCE, "install", *where)
    machine.run("make", "-s", "-C", SOURCE, "uninstall", *where)
    assert files(machine, "/run/other-image") == set(own)


def test_a_host_without_apps_pays_for_no_import(machine: Machine) -> None:
    generator = "/usr/lib/systemd/system-generators/svc-generator"
    script = f"SVC_ROOT=/nowhere python3 -I -X importtime {generator} /run/x /run/x /run/x"
    imported = machine.run("sh", "-c", script).stderr
    assert "svc.folders" in imported
    for heavy in ("pathlib", "tomllib", "dataclasses", "jinja2", "svc.config", "svc.units"):
        assert heavy not in imported, imported


def test_nothing_is_compiled_at_boot_whatever_the_dates_of_files_are(machine: Machine) -> None:
    machine.run("make", "-s", "-C", SOURCE, "install", "DESTDIR=/run/dated", "PREFIX=/usr/local")
    folder = "/run/dated/usr/local/lib/svc/python"
    machine.run(
        "find", folder, "-name", "*.py", "-exec", "touch", "-d", "@0", "{}", "+"
    )  # as an image builder
    script = f"import sys; sys.path.insert(0, {folder!r}); import svc.units.generate, svc.worker.server"
    said = machine.run("python3", "-I", "-B", "-v", "-c", script).stderr
    # "# code object from PATH", of the byte code or of the source.
    loaded = [
        line.split("'")[1] for line in said.splitlines() if line.startswith(f"# code object from '{folder}")
    ]
    assert f"{folder}/svc/units/__pycache__/render.cpython-" in "".join(loaded)
    assert [path for path in loaded if path.endswith(".py")] == []


def test_no_boot_needs_jinja2(machine: Machine) -> None:
    machine.write("/etc/svc/app.toml", 'app = "webapp:app"\nlisten = ["127.0.0.1:1"]\nworkers = 1\n')
    before = machine.run("svcctl", "render", "app").stdout
    machine.write("/usr/lib/svc/python/jinja2.py", "raise ModuleNotFoundError('it was removed')")
    machine.run("systemctl", "daemon-reload")
    assert machine.run("systemctl", "show", "-P", "LoadState", "app@0.service").stdout == "loaded\n"
    assert machine.run("svcctl", "render", "app").stdout == before


def test_an_upgrade_of_svc_costs_a_running_app_nothing(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    opened = app.show("app.socket", "ActiveEnterTimestampMonotonic")
    script = f"for time in 1 2 3; do make --silent -C {SOURCE} install PREFIX=/usr || exit 1; done"
    with load(app.url, connections=10, keep_alive=False, think=THINK) as clients:
        upgrade = app.machine.popen("sh", "-c", script)
        while upgrade.poll() is None:
            # As other packages do meanwhile: each runs the generator.
            app.systemctl("daemon-reload")
            assert app.show("app@1.service", "LoadState") == "loaded"
            assert app.systemctl("restart", "app@1.service").returncode == 0
        assert upgrade.wait() == 0
        assert app.systemctl("reload", "app.target").returncode == 0
    assert app.show("app.socket", "ActiveEnterTimestampMonotonic") == opened
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


def test_apps_that_run_keep_their_units_when_svc_is_broken(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    app.machine.write("/usr/lib/svc/python/tomllib.py", "raise ModuleNotFoundError('it was removed')")
    app.systemctl("daemon-reload")
    app.machine.wait_journal("svc-generator failed with exit status 1")
    assert app.show("app@1.service", "LoadState") == "loaded"
    assert app.systemctl("restart", "app@1.service").returncode == 0
    assert "version 1" in app.get("/")
