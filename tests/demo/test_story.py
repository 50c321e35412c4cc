"""Steps tell the truth: with a policy that is broken on purpose, the step which is about it fails."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.demo.story import _fields, _is_masked, _shares
from lockgate.demo.world import CACHE, ORDERS
from tests.demo.leftovers import leftovers

PLAY = """
import pathlib, sys
from lockgate.demo.play import play
folder = pathlib.Path(sys.argv[1])
sys.exit(not play(as_json=True, orders=folder / "orders", cache=folder / "cache"))
"""
ADA = ("Ada Byron", "ada.byron8@example.com", "900-08-0296")


def without(text: str, policy: str) -> str:
    """A policy text without the policy of that id."""
    left, count = re.subn(rf'@id\("{policy}"\).*?;\n', "", text, flags=re.DOTALL)
    assert count == 1, policy
    return left


@pytest.mark.parametrize(
    ("file", "gone", "step"),
    [
        ("orders/masking.cedar", ["pii-is-masked", "numbers-are-redacted"], "step 2 did not do what it says"),
        ("orders/masking.cedar", ["numbers-are-redacted"], "step 2 did not do what it says"),
        ("orders/access.cedar", ["schema-is-migrated"], "A destructive statement is refused"),
        ("orders/approvals.cedar", ["writes-take-two"], "A bulk delete waits for a second person"),
        ("orders/approvals.cedar", ["dba-and-security-approve"], "Somebody else approves"),
        ("cache/cache.cedar", ["people-use-the-cache"], "Redis likewise: a read is allowed"),
        ("cache/cache.cedar", ["credentials-are-redacted"], "A classified value is masked"),
        # what could touch money takes two in any case, and would wait
        ("cache/cache.cedar", ["cache-is-not-emptied", "money-takes-two"], "A destructive command is refused"),
        ("cache/cache.cedar", ["money-takes-two"], "Deleting money waits for a second person"),
        ("cache/cache.cedar", ["dba-approve-for-the-cache"], "Somebody else approves"),
    ],
)
def test_a_broken_policy_is_found_by_its_step(tmp_path: Path, file: str, gone: list[str], step: str) -> None:
    for folder in (ORDERS, CACHE):
        shutil.copytree(folder, tmp_path / folder.name)
    text = (tmp_path / file).read_text()
    for policy in gone:
        text = without(text, policy)
    (tmp_path / file).write_text(text)
    with subprocess.Popen(
        [sys.executable, "-c", PLAY, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        _, stderr = process.communicate(timeout=90)
    assert process.returncode == 1
    assert stderr.splitlines()[-1].startswith("lockgate: step ")
    assert step in stderr.splitlines()[-1]
    assert leftovers(process.pid) == []


def test_a_masked_row() -> None:
    assert _is_masked(("Ada Byron", "a***@e***.com", "***"), ADA)


@pytest.mark.parametrize(
    "seen",
    [
        ADA,
        ("Ada Byron", "ada.byron8@example.com", "***"),
        ("Ada Byron", "a***@e***.com", "***-**-0296"),
        ("A***", "a***@e***.com", "***"),
        ("Ada Byron", "", "***"),
    ],
)
def test_a_row_that_is_not_masked_as_it_should_be(seen: tuple[str, ...]) -> None:
    assert not _is_masked(seen, ADA)


def test_what_can_be_read_in_a_redacted_value() -> None:
    assert not _shares("***", "ADA@EXAMPLE.COM")
    assert not _shares("", "ADA")
    assert _shares("***M", "ADA@EXAMPLE.COM")


def test_a_hash_as_redis_cli_prints_it() -> None:
    assert _fields("name\nAda\nemail\na@b.example\n") == {"name": "Ada", "email": "a@b.example"}
    assert _fields("\n") == {}
    assert _fields("NOPERM lockgate: no\n") == {}
