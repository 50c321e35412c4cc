"""A process's command line, bounded and without what must not be recorded: passwords, and the values in statements.

It is shown and recorded, never matched on: a process can rewrite its own.
"""

from __future__ import annotations

import re
from typing import Final

CMDLINE_LIMIT: Final = 4096
"""Bytes read of a command line (what /proc itself showed at most until Linux 4.2)."""

REDACTED: Final = "***"

# Every repetition below is bounded or can't overlap its neighbour: the text is hostile, and so matching is linear.
_SECRET: Final = r"(?:pass|pwd|secret|token|api[-_]?key|credential)"
_URL: Final = re.compile(r"(?<=://)([^\s/?#@:]{0,256}):[^\s/?#]*@")
_ASSIGNED: Final = re.compile(
    rf"(?i)({_SECRET}[a-z0-9_.-]{{0,32}}\"?\s{{0,4}}[=:]\s{{0,4}})(?!\*\*\*)([^\s&;,'\"]+|\"[^\"]*\"?)"
)
_QUOTED: Final = re.compile(r"'[^']*'?")
_SECRET_OPTION: Final = re.compile(rf"(?i)--?[a-z0-9_.-]{{0,32}}{_SECRET}[a-z0-9_.-]{{0,32}}")

_STATEMENT_OPTIONS: Final = frozenset({"-c", "--command", "-e", "--execute", "--eval"})
"""Options of the clients below whose value is a statement: recorded, redacted, where it is judged."""
_PASSWORD_OPTIONS: Final = {
    "redis-cli": "-a",
    "sshpass": "-p",
    "mongosh": "-p",
    "mongo": "-p",
    "mongodump": "-p",
    "mysql": "-p",
    "mysqldump": "-p",
    "mysqladmin": "-p",
    "mariadb": "-p",
    "mariadb-dump": "-p",
}
_CLIENTS: Final = frozenset({"psql", *_PASSWORD_OPTIONS})
_ONLY_ATTACHED: Final = frozenset({"mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump"})


def arguments(raw: bytes) -> tuple[str, ...]:
    """The arguments in `/proc/PID/cmdline`: at most CMDLINE_LIMIT bytes, `...` for the rest, odd bytes as `\\xNN`.

    Hidden behind REDACTED: the password in a URL, the value of whatever is named like a secret (`password=`,
    `--token X`, `PGPASSWORD=`), the short password options of the well-known clients, the statements given to
    them, and everything in single quotes (a literal in a statement that a shell was given).
    """
    cut = raw[:CMDLINE_LIMIT].rstrip(b"\0")
    words = [word.decode("utf-8", "backslashreplace") for word in cut.split(b"\0")] if cut else []
    program = words[0].rpartition("/")[2] if words else ""
    shown = words[:1]
    hide = False
    for word in words[1:]:
        if hide:
            shown.append(REDACTED)
            hide = False
        else:
            word, hide = _argument(program, word)
            shown.append(word)
    if len(raw) > CMDLINE_LIMIT:
        shown.append("...")
    return tuple(_hidden(word) for word in shown)


def _argument(program: str, word: str) -> tuple[str, bool]:
    """The word as it may be shown, and whether the next one may not be."""
    if not word.startswith("-"):
        return word, False
    name, assigned, _ = word.partition("=")
    short = _PASSWORD_OPTIONS.get(program)
    if _SECRET_OPTION.fullmatch(name) or (program in _CLIENTS and name in _STATEMENT_OPTIONS):
        return (f"{name}={REDACTED}", False) if assigned else (name, True)
    if short is not None and word.startswith(short):
        if len(word) > len(short):
            return short + REDACTED, False
        return word, program not in _ONLY_ATTACHED
    if program in _CLIENTS and word[:2] in _STATEMENT_OPTIONS:
        return word[:2] + REDACTED, False
    return word, False


def _hidden(word: str) -> str:
    word = _QUOTED.sub(f"'{REDACTED}'", _URL.sub(rf"\1:{REDACTED}@", word))
    return _ASSIGNED.sub(rf"\1{REDACTED}", word)
