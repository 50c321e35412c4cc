"""What a PostgreSQL client asks for in its start-up packet, as the SET statements that it stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from lockgate.wire.gate import ProtocolError

_NOT_SETTINGS: Final = frozenset(("user", "database", "options", "replication"))
"""What PostgreSQL takes out of the packet itself, told by the exact spelling (ProcessStartupPacket)."""

_BENIGN: Final = frozenset(
    ("application_name", "client_encoding", "datestyle", "timezone", "intervalstyle", "extra_float_digits",
     "fallback_application_name", "geqo")
)  # fmt: skip
"""Settings that change how values look at most. Any other is judged as the SET that it is."""

_UTF8: Final = frozenset(("UTF8", "UNICODE", "AUTO"))
_SPACES: Final = " \t\n\v\f\r"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def settings(parameters: Mapping[str, str], *, any_encoding: bool = False) -> list[str]:
    """The SET statements that a start-up packet stands for, without those that do no harm.

    Raises ProtocolError for options nobody can read and, but with `any_encoding`, for an encoding that texts can't be
    judged in.
    """
    given = [(name, value) for name, value in parameters.items() if name not in _NOT_SETTINGS]
    given += _options(parameters.get("options", ""))
    found = []
    for name, value in given:
        folded = name.lower()
        if folded == "client_encoding" and not any_encoding and re.sub("[^A-Za-z0-9]", "", value).upper() not in _UTF8:
            raise ProtocolError(f"client_encoding {value} is not supported: UTF8 is")
        if folded not in _BENIGN:
            found.append((name, value))
    return [_set(name, value) for name, value in found]


def _options(text: str) -> Iterator[tuple[str, str]]:
    """The settings in `options`: `-c name=value`, `-cname=value` and `--name=value`. Raises ProtocolError."""
    if not text.isascii():
        # what counts as a space among them depends on the server's locale
        raise ProtocolError("start-up options that are not ASCII are not supported")
    words = iter(_split(text))
    for word in words:
        if word == "-c":
            setting = next(words, "")
        elif word.startswith(("-c", "--")):
            setting = word[2:]
        else:
            raise ProtocolError(f"start-up option {word!r} is not a setting")
        name, equals, value = setting.partition("=")
        name = name.replace("-", "_")
        if not equals or not _NAME.fullmatch(name):
            raise ProtocolError(f"start-up option {word!r} is not a setting")
        yield name, value


def _split(text: str) -> list[str]:
    """Words at unescaped white space, exactly as the server does (pg_split_opts): a quote is like any other letter."""
    words: list[str] = []
    word: list[str] | None = None
    escaped = False
    for character in text:
        if not escaped and character in _SPACES:
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        word = [] if word is None else word
        if not escaped and character == "\\":
            escaped = True
        else:
            escaped = False
            word.append(character)
    if word is not None:
        words.append("".join(word))
    return words


def _set(name: str, value: str) -> str:
    parts = ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))
    return f"SET {parts} TO '" + value.replace("'", "''") + "'"
