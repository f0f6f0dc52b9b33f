"""svcctl: check, reload and look at apps. All else about running them is systemctl's work."""

import argparse
import os
import re
import sys
from io import TextIOWrapper

from svc import __version__, gentle
from svc.ctl import codes
from svc.folders import APP_NAME

_EPILOG = """\
Everything else is systemd's: systemctl start|stop|restart|reload|status NAME.target,
journalctl -u 'NAME@*', systemctl edit NAME@.service. See svc.toml(5) for the app files.

Exit status: 0 done, 1 something is wrong (a reload: nothing has changed), 2 called wrongly,
3 a reload failed and some workers run the new version, 4 it was aborted, 5 the app does not run.
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns one of `svc.ctl.codes`."""
    options = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a locale cannot show is no reason to show nothing
            stream.reconfigure(errors="backslashreplace")
    from svc.config.problems import ConfigError
    from svc.rollout.systemd import SystemdError

    try:
        return _run(options)
    except BrokenPipeError:  # svcctl render | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it at its end
        return codes.FAILED
    except ModuleNotFoundError as error:
        print(f"svcctl: {error}; install it for {sys.executable}", file=sys.stderr)
        return codes.FAILED
    except (ConfigError, SystemdError, OSError) as error:
        print(f"svcctl: {error}", file=sys.stderr)
        return codes.FAILED


def _run(options: argparse.Namespace) -> int:
    # Each command is imported when it is asked for: a rollout takes CPU from workers that serve.
    if options.command == "check":
        from svc.ctl.check import check

        return check(options.names, user_scope=options.user)
    if options.command == "render":
        from svc.ctl.render import render

        return render(
            options.names,
            options.output,
            user_scope=options.user,
            systemd=options.systemd_version,
            cpus=options.cpus,
        )
    if options.command == "rollout":
        gentle.stay()  # beside the workers, which serve meanwhile; first: its imports are most of its work
        from svc.ctl.rollout import rollout, verdict

        return (verdict if options.verdict else rollout)(options.name, user_scope=options.user)
    if options.command == "reload":
        from svc.ctl.reload import abort, reload

        return (abort if options.abort else reload)(options.name, user_scope=options.user)
    if options.command == "status":
        from svc.ctl.status import status

        return status(options.name, user_scope=options.user)
    from svc.ctl.status import list_all

    return list_all(user_scope=options.user)


def _name(text: str) -> str:
    """Refuse what no app is called: a pattern, a path, a unit, a file."""
    if not re.fullmatch(APP_NAME, text) or text.endswith((".toml", ".target", ".service", ".socket")):
        raise argparse.ArgumentTypeError(
            f"{text!r} names no app: that of /etc/svc/mysite.toml is called mysite"
        )
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="svcctl",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"svc {__version__}")
    parser.add_argument(
        "--user", action="store_true", help="the calling user's apps and manager, not the system's"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    check = commands.add_parser(
        "check", help="say what is wrong with app files, before systemd is told of them"
    )
    check.add_argument("names", nargs="*", type=_name, metavar="NAME", help="an app (default: all)")

    render = commands.add_parser(
        "render", help="show the units of apps, or write them to a folder (for packages)"
    )
    render.add_argument("names", nargs="*", type=_name, metavar="NAME", help="an app (default: all)")
    render.add_argument("--output", metavar="DIR", help="write the units here instead of showing them")
    render.add_argument(
        "--systemd-version", type=int, metavar="N", help="for which systemd (default: the one installed here)"
    )
    render.add_argument(
        "--cpus", type=int, metavar="N", help='what workers = "auto" means (default: the CPUs of this host)'
    )

    reload = commands.add_parser(
        "reload", help="replace the workers of an app without a failed request, and show how it goes"
    )
    reload.add_argument("name", type=_name, metavar="NAME", help="the app")
    reload.add_argument("--abort", action="store_true", help="stop the rollout that runs, after this batch")

    status = commands.add_parser("status", help="show the workers of an app, and what each of them runs")
    status.add_argument("name", type=_name, metavar="NAME", help="the app")

    commands.add_parser("list", help="show all apps")

    rollout = commands.add_parser(
        "rollout", help="the rollout itself; `systemctl reload NAME.target` and `svcctl reload` run it"
    )
    rollout.add_argument("name", type=_name, metavar="NAME", help="the app")
    rollout.add_argument("--verdict", action="store_true", help="say whether the last one came to its end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
