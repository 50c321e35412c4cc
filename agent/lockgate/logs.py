"""Structured logs: one JSON object a line on stderr, for the journal and whatever reads it."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_STANDARD = frozenset(vars(logging.makeLogRecord({})))


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
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    sys.unraisablehook = _unraisable
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _unraisable(told: UnraisableHookArgs) -> None:
    """What Python could raise to nobody, as a line like any other. A client can bring it about: a server name in its
    TLS handshake that is no text (CPython's _servername_callback)."""
    logging.getLogger("lockgate").warning("raised to nobody: %s: %s", told.exc_type.__name__, told.exc_value)
