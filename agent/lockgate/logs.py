"""Structured logs: one JSON object a line on stderr, for the journal and whatever reads it."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_STANDARD = frozenset(vars(logging.makeLogRecord({})))


_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""sd-daemon(3): what the journal reads in front of a line."""


def in_journal(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether stderr is the journal's (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def prefix(level: int) -> str:
    """How a line of that level begins where the journal reads it."""
    return f"<{next((number for least, number in _PRIORITIES if level >= least), 7)}>"


class JournalFormatter(logging.Formatter):
    """As another formatter, with the priority in front."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return prefix(record.levelno) + self._inner.format(record)


class JsonFormatter(logging.Formatter):
    """`time` in RFC 3339 with milliseconds, `level`, `room`, `message`, what was given as `extra`, `error` if any."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "room": record.name.removeprefix("lockgate."),
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def to_stderr(level: int = logging.INFO) -> None:
    """Send every log of this process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JournalFormatter(JsonFormatter()) if in_journal() else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    sys.unraisablehook = _unraisable
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _unraisable(told: UnraisableHookArgs) -> None:
    """What Python could raise to nobody, as a line like any other. A client can bring it about: a server name in its
    TLS handshake that is no text (CPython's _servername_callback)."""
    logging.getLogger("lockgate").warning("raised to nobody: %s: %s", told.exc_type.__name__, told.exc_value)
