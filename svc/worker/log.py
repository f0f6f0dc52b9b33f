"""What a worker says to the journal.

The worker's own lines do not pass through `logging`: an application may configure that as it
likes, and `disable_existing_loggers` must not silence the reason why a worker ended.
"""

import logging
import sys
import traceback
from typing import IO

# sd-daemon(3): a line that starts with "<N>" is logged at syslog priority N.
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6


class WorkerError(Exception):
    """The worker cannot go on. The text says what is wrong and the cure; the exit status is 1."""


def in_one_line(error: BaseException) -> str:
    """Return what the last line of a traceback says."""
    return traceback.format_exception_only(error)[-1].strip()


def prefixed(priority: int, text: str) -> str:
    """Give each line of `text` its priority; without that, only the first line would have one."""
    return "".join(f"<{priority}>{line}\n" for line in text.splitlines() or [""])


class Journal:
    """Writes lines to stderr, with priorities unless a person watches on a terminal."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream
        self._plain = (stream or sys.stderr).isatty()

    def write(self, priority: int, text: str) -> None:
        """Write `text`, which may have several lines, at once, so that siblings' lines do not mix in."""
        out = text.rstrip("\n") + "\n" if self._plain else prefixed(priority, text.rstrip("\n"))
        stream = self._stream or sys.stderr
        try:
            stream.write(out)
            stream.flush()
        except (OSError, ValueError):
            pass  # nowhere to say it: the journal is gone, or the application closed stderr

    def error(self, text: str) -> None:
        """What an operator has to act on."""
        self.write(ERROR, text)

    def warning(self, text: str) -> None:
        """What works, but not as it should."""
        self.write(WARNING, text)

    def notice(self, text: str) -> None:
        """What is normal but worth a look."""
        self.write(NOTICE, text)

    def info(self, text: str) -> None:
        """The ordinary course of things."""
        self.write(INFO, text)

    def exception(self, text: str, error: BaseException) -> None:
        """`text` and the full traceback of `error`."""
        self.error(text + "\n" + "".join(traceback.format_exception(error)))


class JournalHandler(logging.Handler):
    """Puts records of `logging` into the journal with the priority that fits their level."""

    def __init__(self, journal: Journal, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, its traceback included."""
        try:
            self._journal.write(_priority(record.levelno), self.format(record))
        except Exception:
            self.handleError(record)


def _priority(level: int) -> int:
    if level >= logging.ERROR:
        return ERROR
    if level >= logging.WARNING:
        return WARNING
    return INFO if level >= logging.INFO else 7


def prepare_streams(journal: Journal) -> None:
    """Make stdout line-buffered, and give loggers that nobody configured the journal's priorities.

    `logging.lastResort` is what Python itself uses when an application configured nothing; once it
    does configure something, ours is out of the way.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    logging.lastResort = JournalHandler(journal, logging.WARNING)


def adopt_logger(name: str, journal: Journal) -> None:
    """Send the library logger `name` to the journal, unless the application configured it itself.

    Only warnings and worse: uvicorn's informational lines are one or more per WebSocket, an access
    log by another name.
    """
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
    logger.disabled = False  # `disable_existing_loggers`, the default of dictConfig, was not meant for it
    if not logger.hasHandlers():
        logger.addHandler(JournalHandler(journal))
        logger.propagate = False  # an application that configures the root later would get each line twice


def adopt_access_logger(journal: Journal) -> None:
    """Let the application say whether there is an access log: by a level or handlers of uvicorn's logger.

    Lines go to its handlers, or to the journal where it has none. An application that says nothing pays
    nothing, whatever its root logger has: a line costs more than many a request.
    """
    logger = logging.getLogger("uvicorn.access")
    if not logger.handlers and logger.level == logging.NOTSET:
        logger.propagate = False
        return
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)  # as uvicorn's own configuration does
    if not logger.hasHandlers():
        logger.addHandler(JournalHandler(journal))
