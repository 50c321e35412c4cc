"""The same program twice: straight to the server, and intercepted. What it prints has to be the same."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.stack import POLICIES as ENGINEERS
from tests.support.stack import Stack, environment

POLICIES = (
    ENGINEERS.replace(
        'forbid (principal, action == Action::"execute", resource) when { context.effects.contains("ddl") };',
        'forbid (principal, action == Action::"execute", resource) when { context.effects.contains("ddl") }\n'
        'unless { principal in Group::"dba" };',
    )
    .replace(
        'when { context.kinds.contains("DELETE") };',
        'when { context.kinds.contains("DELETE") } unless { principal in Group::"dba" };',
    )
    .replace('unless { principal in Group::"pii-readers" }', 'unless { principal in Group::"dba" }')
    + """
@id("dbas-do-anything")
permit (principal in Group::"dba", action in [Action::"execute", Action::"execute_alone", Action::"reveal"], resource);
"""
)
"""Those of the stack, but bob of the dba group is let through in everything: it is the clients that are tried."""

SECONDS = 100


def directly(
    argv: Sequence[str],
    text: str | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | str = "/",
    seconds: float = SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a program that nobody intercepts; `text` is its standard input."""
    return subprocess.run(
        list(argv), input=text, capture_output=True, text=True, check=False, timeout=seconds, cwd=cwd,
        env={**environment(), **(environ or {})},
    )  # fmt: skip


def intercepted(
    stack: Stack,
    argv: Sequence[str],
    text: str | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    person: str = "bob",
    cwd: Path | str = "/",
) -> subprocess.CompletedProcess[str]:
    """Run it as a person whose connections are."""
    return directly(stack.command(person, argv), text, environ, cwd)


def same(stack: Stack, argv: Sequence[str], text: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    """Run it both ways, as bob; what it printed, which is not a word different."""
    there = directly(argv, text, environ)
    here = intercepted(stack, argv, text, environ)
    assert (here.stdout, here.stderr, here.returncode) == (there.stdout, there.stderr, there.returncode)
    return here.stdout


def python(code: str, port: int) -> list[str]:
    """The command of a Python program that finds HOST and PORT set."""
    return [sys.executable, "-c", f"HOST, PORT = '127.0.0.1', {port}\n" + textwrap.dedent(code)]


def where(stack: Stack) -> list[str]:
    """libpq's options for the server."""
    return ["-h", "127.0.0.1", "-p", str(stack.server.port), "-U", "app"]
