"""pgJDBC: metadata, prepared statements in binary, batches, portals in parts, COPY, cancel, notifications."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.clients.side_by_side import directly, intercepted, same
from tests.support.stack import Stack

SOURCE = Path(__file__).parent / "programs" / "Jdbc.java"
DRIVER = "/usr/share/java/postgresql.jar"


@pytest.fixture(scope="module")
def java() -> Iterator[list[str]]:
    """The command that runs the compiled program."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        compiled = directly(["javac", "-cp", DRIVER, "-d", folder, str(SOURCE)])
        assert compiled.returncode == 0, compiled.stderr
        yield ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{DRIVER}:{folder}", "Jdbc"]


def test_the_whole_of_it(stack: Stack, java: list[str]) -> None:
    out = same(stack, [*java, str(stack.server.port)])
    assert "[customers orders scratch contacts ]" in out
    assert "[3775]" in out
    assert "[57014]" in out
    assert "[news, good]" in out


def test_columns_come_masked(stack: Stack, java: list[str]) -> None:
    run = intercepted(stack, [*java, str(stack.server.port), "masked"], person="ann")
    assert run.stdout.splitlines() == [
        *(f"[{i}, u***@e***.org, ***, null]" for i in range(1, 5)),
        "[42501, ERROR: lockgate: schema changes go through migrations]",
    ], run.stderr
