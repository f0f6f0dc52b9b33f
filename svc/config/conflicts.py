"""Two apps on one address: SO_REUSEPORT would let both bind it, and mix their visitors."""

from collections.abc import Callable, Iterable
from itertools import combinations

from svc.app import App, Family, Listen
from svc.config.addresses import packed
from svc.config.problems import Problem

_MAPPED = bytes(10) + b"\xff\xff"


def _host(address: Listen) -> bytes:
    """Return the bytes of the host, an IPv4 address that is written as an IPv6 one as IPv4."""
    host = packed(address.family, address.host) or b""
    return host.removeprefix(_MAPPED) if len(host) == 16 else host


def overlap(one: Listen, other: Listen) -> bool:
    """Say whether a connection could reach both addresses.

    0.0.0.0 overlaps with every IPv4 address, [::] with every address: such a socket takes
    IPv4 too, unless it is told otherwise (ipv6(7), IPV6_V6ONLY).
    """
    if Family.UNIX in (one.family, other.family):
        return one == other
    if one.port != other.port:
        return False
    hosts = [_host(one), _host(other)]
    if hosts[0] == hosts[1] or bytes(16) in hosts:
        return True
    return bytes(4) in hosts and len(hosts[0]) == len(hosts[1])


def _meeting(one: App, other: App) -> tuple[Listen, Listen] | None:
    for mine in one.listen:
        for theirs in other.listen:
            if overlap(mine, theirs):
                return mine, theirs
    return None


def conflicts(apps: Iterable[App], running: Callable[[str], bool]) -> dict[str, Problem]:
    """Return the apps that must not start because of another's address, by name.

    `running` tells whether the app of a name runs now. One that runs keeps its address and the
    newcomer is refused; else one that starts at boot keeps it from one that does not, such as an
    example. With equal claims both are refused.
    """
    meetings = [(a, b, met) for a, b in combinations(apps, 2) if (met := _meeting(a, b))]
    claim = {app.name: (running(app.name), app.wanted_by != ()) for a, b, _ in meetings for app in (a, b)}
    refused: dict[str, Problem] = {}

    def refuse(app: App, mine: Listen, other: App, theirs: Listen) -> None:
        same = "" if mine == theirs else f" ({theirs})"
        what = f"{mine} is taken by {other.source}{same}"
        cure = "choose another port for one of them"
        yields = app.wanted_by == () and other.wanted_by != ()
        if yields:
            cure = f"{app.name}, which starts only by hand, is left out"
        refused.setdefault(app.name, Problem(app.source, None, "listen", what, cure, yields))

    # First those that lose against a better claim: a newcomer that is refused anyway is in nobody's way.
    for a, b, (mine, theirs) in meetings:
        if claim[a.name] > claim[b.name]:
            refuse(b, theirs, a, mine)
        elif claim[b.name] > claim[a.name]:
            refuse(a, mine, b, theirs)
    losers = set(refused)
    for a, b, (mine, theirs) in meetings:
        if claim[a.name] == claim[b.name] and not losers & {a.name, b.name}:
            refuse(a, mine, b, theirs)
            refuse(b, theirs, a, mine)
    return refused
