"""A witness at work, and programs that connect where it looks."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

import pytest

from tests.support.cgroup import CgroupTree
from tests.support.headers import bcc_headers

__all__ = ["bcc_headers"]


@pytest.fixture
def tree() -> Iterator[CgroupTree]:
    with CgroupTree() as made:
        yield made


@pytest.fixture(autouse=True)
def headers(bcc_headers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bcc_headers.items():
        monkeypatch.setenv(name, value)


def python(script: str, *arguments: object) -> list[str]:
    """A command: `script` with `os`, `socket`, `sys` and `time` imported."""
    return [
        sys.executable,
        "-S",
        "-E",
        "-c",
        "import os,socket,sys,time\n" + textwrap.dedent(script),
        *map(str, arguments),
    ]


CONNECT = """
    s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)
    print(s.connect_ex((sys.argv[1], int(sys.argv[2]))))
    time.sleep(0.3)
"""
"""Dials argument 1, port argument 2, and stays long enough for somebody to look at it."""
