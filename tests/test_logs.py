"""One JSON object a line, whatever is logged."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lockgate import logs


def line(record: logging.LogRecord) -> dict[str, Any]:
    text = logs.JsonFormatter().format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def record(message: str, *arguments: object, **more: Any) -> logging.LogRecord:
    made = logging.getLogger("lockgate.proxy.postgresql.gate").makeRecord(
        "lockgate.proxy.postgresql.gate",
        logging.WARNING,
        "f",
        1,
        message,
        arguments,
        more.pop("exc_info", None),
        extra=more,
    )
    made.created, made.msecs = 1_800_000_000.25, 250.0
    return made


def test_a_line_says_when_how_bad_where_and_what() -> None:
    assert line(record("%d of %s", 3, "x", epoch=7)) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "room": "proxy.postgresql.gate",
        "message": "3 of x",
        "epoch": 7,
    }


def test_what_a_client_sent_cannot_begin_a_line() -> None:
    assert line(record("%s", 'x\n{"level": "info"}\r\x1b[2J'))["message"] == 'x\n{"level": "info"}\r\x1b[2J'


def test_an_exception_is_in_its_line() -> None:
    try:
        raise ArithmeticError("a bug")
    except ArithmeticError:
        found = line(record("it failed", exc_info=sys.exc_info()))
    assert found["error"].endswith("ArithmeticError: a bug")


def test_what_json_does_not_know_is_said_in_words() -> None:
    assert line(record("x", path=ValueError("odd")))["path"] == "odd"


@pytest.fixture
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.unraisablehook
    yield
    sys.unraisablehook = hook
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_restored")
def test_everything_goes_to_stderr_but_the_chatter_of_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_stderr()
    logging.getLogger("lockgate.agent").info("ready")
    logging.getLogger("asyncio").info("polling")
    logging.getLogger("httpx").info("GET http://...")
    out, err = capsys.readouterr()
    assert (out, [json.loads(text)["message"] for text in err.splitlines()]) == ("", ["ready"])


@pytest.mark.usefixtures("_restored")
def test_what_is_raised_to_nobody_is_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ArithmeticError("a\nb")

    logs.to_stderr()
    Broken()
    (told,) = capsys.readouterr().err.splitlines()
    assert json.loads(told)["message"] == "raised to nobody: ArithmeticError: a\nb"


JOURNAL = """
import logging, os, sys
from lockgate import logs
found = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino if sys.argv[1] == 'ours' else 0}"
logs.to_stderr()
for level in (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO):
    logging.getLogger("lockgate.x").log(level, "said")
"""


@pytest.mark.parametrize(("whose", "begins"), [("ours", ["<2>{", "<3>{", "<4>{", "<6>{"]), ("another's", ['{"ti'] * 4)])
def test_in_the_journal_a_line_begins_with_its_priority(whose: str, begins: list[str]) -> None:
    told = subprocess.run([sys.executable, "-c", JOURNAL, whose], capture_output=True, text=True, check=True)
    assert [line[:4] for line in told.stderr.splitlines()] == begins
