"""Refusals in Redis's own words: one line, a word in capitals first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from lockgate.wire.gate import Refusal, Why
from lockgate.wire.redis.frames import error

DENIED: Final = "NOPERM"
"""What Redis says where an ACL user may not."""

MESSAGE: Final = 1024
"""Characters of one refusal: what stands in it may be long."""

_PREFIXES: Final[Mapping[str, str]] = {Why.DENIED: DENIED, Why.NO_ROLE: DENIED, Why.UNRECORDED: "MISCONF"}
_CODE: Final = re.compile(rb"[A-Z][A-Z0-9_]{0,31}(?= |\Z)")


def native(code: str) -> str:
    """The word that an error with a refusal's `code` begins with."""
    return _PREFIXES.get(code, "ERR")


def error_reply(refusal: Refusal) -> bytes:
    """A refusal as a reply: nothing in it can end the line or begin another."""
    more = " ".join(part for part in (refusal.detail and f"({refusal.detail})", refusal.hint) if part)
    text = f"{refusal.message} {more}" if more else refusal.message
    return error(f"{native(refusal.code)} {text[:MESSAGE]}")


def protocol_error(why: str) -> bytes:
    """What Redis says before it closes the connection of a client that doesn't keep to the protocol."""
    return error(f"ERR Protocol error: {why[:MESSAGE]}")


def text_of(reply: bytes) -> bytes | None:
    """What an error says, of a whole reply; None where it is something else."""
    if reply[:1] == b"-":
        return reply[1:-2]
    if reply[:1] == b"!":
        return reply.partition(b"\r\n")[2][:-2]
    return None


def code_of(text: bytes) -> str:
    """The word in capitals that an error begins with, `ERR` where there is none."""
    found = _CODE.match(text)
    return found[0].decode() if found else "ERR"
