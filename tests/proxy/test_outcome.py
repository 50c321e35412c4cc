"""What became of a run, as its record says it."""

from __future__ import annotations

from lockgate.proxy.outcome import affected, told
from lockgate.wire.gate import Ruling, Run
from lockgate.wire.postgresql import errors
from tests.support.playbook import understand


def test_a_giant_count_in_a_command_tag_breaks_nothing() -> None:
    assert affected("DELETE 364") == 364
    assert (affected("SELECT"), affected(None), affected("DELETE " + "9" * 5000)) == (0, 0, 0)


def test_what_there_is_nothing_to_say_of_is_left_out() -> None:
    run = Run(understand("SELECT 1"), Ruling(), outcome="completed", rows=2, bytes=9)
    assert told(run, "57014") == ("completed", {"rows": 2, "bytes": 9})


def test_a_run_that_was_cancelled_ended_so_whatever_the_server_calls_it() -> None:
    run = Run(
        understand("SELECT 1"), Ruling(), outcome="error", error=errors.QUERY_CANCELED, masked_cells=1,
        detected={"card": 1}, tag="DELETE 3",
    )  # fmt: skip
    outcome, fields = told(run, "57014")
    assert outcome == "cancelled"
    assert fields == {
        "rows": 3, "bytes": 0, "masked_cells": 1, "detected": {"card": 1}, "tag": "DELETE 3",
        "error": {"code": errors.QUERY_CANCELED},
    }  # fmt: skip


def test_why_a_result_would_have_been_withheld() -> None:
    run = Run(understand("SELECT 1"), Ruling(), outcome="completed", withheld="lockgate: it can't be told")
    assert told(run, "57014")[1]["withheld"] == "it can't be told"
