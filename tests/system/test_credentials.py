"""Secrets: the app reads them, and nobody else does."""

from tests.system import versions
from tests.system.conftest import App

SECRET = "correct horse battery staple"

READER = """
import os, pathlib, subprocess

def app(environ, start_response):
    secret = pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"], "password").read_text()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getuid()} {secret}".encode()]
"""


def test_the_app_reads_a_secret_that_only_root_can(app: App) -> None:
    app.machine.write("/etc/app secrets/password", SECRET, mode=0o600)
    app.deploy(READER)
    app.start(workers=2, more='[credentials]\npassword = "/etc/app secrets/password"\n')
    user, _, secret = app.get("/").partition(" ")
    assert secret == SECRET
    assert int(user) > 0
    assert SECRET not in app.systemctl("show", "app@0.service").stdout
    assert SECRET not in app.systemctl("cat", "app@0.service").stdout
    # Neither does another user reach it, whatever place it was copied to.
    places = f"/run/credentials /proc/{app.pids()[0]}/root/run/credentials"
    found = app.machine.run(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
        "sh", "-c", f"cat {places}/app@0.service/password; ls {places}", check=False,
    )  # fmt: skip
    assert found.returncode != 0
    assert SECRET not in found.stdout


def test_a_missing_secret_is_found_before_the_start(app: App) -> None:
    app.deploy(versions.good("1"))
    app.configure(workers=1, more='[credentials]\npassword = "/etc/nowhere"\n')
    done = app.machine.run("svcctl", "check", "app", check=False)
    assert done.returncode == 1
    assert "credentials.password: /etc/nowhere does not exist" in done.stderr


def test_a_reload_takes_the_secret_that_is_there_now(app: App) -> None:
    app.machine.write("/etc/app secrets/password", "first", mode=0o600)
    app.deploy(READER)
    app.start(workers=2, more='[credentials]\npassword = "/etc/app secrets/password"\n')
    app.machine.write("/etc/app secrets/password", "second", mode=0o600)
    assert app.get("/").endswith(" first")
    app.systemctl("reload", "app.target")
    assert app.get("/").endswith(" second")
