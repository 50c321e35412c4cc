from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockgate.demo.commands import Ran, Running, typed

TABLE = """\
 id |   name    | note
----+-----------+------
  1 | Ada Byron | a (b)
  2 | Alan      |
(2 rows)

"""


@contextmanager
def running(script: str) -> Iterator[Running]:
    output = tempfile.TemporaryFile()  # noqa: SIM115 - Running closes it
    process = subprocess.Popen(["sh", "-c", script], stdout=output, stderr=output)
    with Running("ann$ sh", process, output) as command:
        yield command


def test_a_command_is_written_as_it_could_be_typed() -> None:
    assert typed("ann", ["psql", "-c", "SELECT 'a' FROM b"]) == "ann$ psql -c \"SELECT 'a' FROM b\""
    assert typed("root", ["kill", "-9", "17"]) == "root# kill -9 17"
    assert typed("ann", ["echo", "$HOME"]) == "ann$ echo '$HOME'"
    assert typed("ann", ["echo", 'a "b" c', ""]) == 'ann$ echo \'a "b" c\' ""'


def test_rows_are_read_from_a_table_of_psql() -> None:
    assert Ran("", 0, TABLE).rows == [("1", "Ada Byron", "a (b)"), ("2", "Alan", "")]
    assert Ran("", 0, " count \n-------\n     3\n(1 row)\n\n").rows == [("3",)]


@pytest.mark.parametrize("output", ["", "DELETE 3\n", "ERROR:  no\n", " id \n----\n(0 rows)\n\n"])
def test_without_a_table_there_are_no_rows(output: str) -> None:
    assert Ran("", 0, output).rows == []


def test_both_streams_are_read_in_order_while_it_goes_on(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    with running(f"echo one; echo two >&2; read line < {go}; echo three; exit 3") as command:
        while command.so_far != "one\ntwo\n":  # which must not move where the command goes on writing
            assert command.waits
        go.write_text("\n")
        ran = command.finish(10)
    assert (ran.typed, ran.status, ran.output) == ("ann$ sh", 3, "one\ntwo\nthree\n")


def test_what_goes_on_is_killed_at_the_end() -> None:
    with running("exec sleep 60") as command:
        assert command.waits
        with pytest.raises(subprocess.TimeoutExpired):
            command.finish(0.01)
    assert not command.waits
