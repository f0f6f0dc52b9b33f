"""The progress of a rollout as a person sees it. Pure."""

from svc.rollout.progress import Line

_WIDTH = 24


def elapsed(seconds: float) -> str:
    """Return a duration: 3.2 s, 1 min 05 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02} s"


def bar(done: int, total: int) -> str:
    """Return a bar of which `done` of `total` is full."""
    full = _WIDTH * done // total if total else 0
    return f"[{'#' * full}{'.' * (_WIDTH - full)}] {done}/{total}"


def shown(line: Line, since: float, now: float, columns: int) -> str:
    """Return the one line that is drawn again and again; `since` is when the rollout began."""
    text = f"{bar(line.done, line.total)}  {elapsed(now - since)}  {line.text}"
    return text[: max(columns - 1, 1)]


def milestone(line: Line, since: float) -> str:
    """Return the line that stays."""
    return f"{elapsed(line.at - since):>10}  {line.text}"
