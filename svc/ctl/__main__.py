"""svcctl: check, render and roll out apps. Running them is systemctl's work."""

import argparse
import sys

from svc import __version__

_EPILOG = """\
Everything else is systemd's: systemctl start|stop|restart|reload|status NAME.target,
journalctl -u 'NAME@*', systemctl edit NAME@.service. See svc.toml(5) for the app files.
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, 1 when it failed, 2 when it was called wrongly."""
    options = _parser().parse_args(argv)
    # Each command is imported when it is asked for: a rollout needs no jinja2 before it has an app.
    if options.command == "check":
        from svc.ctl.check import check

        return check(options.names, user_scope=options.user)
    if options.command == "render":
        from svc.ctl.render import render

        return render(options.names, options.output, user_scope=options.user, systemd=options.systemd_version)
    from svc.ctl.rollout import rollout

    return rollout(options.name, user_scope=options.user)


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
    check.add_argument("names", nargs="*", metavar="NAME", help="an app (default: all)")

    render = commands.add_parser(
        "render", help="show the units of apps, or write them to a folder (for packages)"
    )
    render.add_argument("names", nargs="*", metavar="NAME", help="an app (default: all)")
    render.add_argument("--output", metavar="DIR", help="write the units here instead of showing them")
    render.add_argument(
        "--systemd-version", type=int, metavar="N", help="for which systemd (default: the one installed here)"
    )

    rollout = commands.add_parser(
        "rollout", help="replace the workers of an app; `systemctl reload NAME.target` runs this"
    )
    rollout.add_argument("name", metavar="NAME", help="the app")
    return parser


if __name__ == "__main__":
    sys.exit(main())
