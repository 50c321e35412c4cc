"""Redirections of a cluster (and of Valkey's failover): where the client connects next has to be intercepted too.

MOVED 3999 127.0.0.1:6381      the slot is there from now on      (cluster.c, `clusterRedirectClient`)
ASK 3999 127.0.0.1:6381        this one command is to be asked there
REDIRECT 127.0.0.1:6381        Valkey, to a client that said it understands that
"""

from __future__ import annotations

import re
from typing import Final

from lockgate.wire.redis.frames import error

_WORDS: Final = (b"MOVED", b"ASK", b"REDIRECT")
_FORM: Final = re.compile(rb"(?:(?:MOVED|ASK) [0-9]{1,5}|REDIRECT) ([!-~]*):([0-9]{1,5})")


def is_redirection(text: bytes) -> bool:
    """Whether the text of an error is one, readable or not."""
    return text.split(b" ", 1)[0] in _WORDS


def address(text: bytes) -> tuple[str, int] | None:
    """Where it leads. The host is empty for the one that the client is connected to. None when that can't be read."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    port = int(found[2])
    return (found[1].decode(), port) if 0 < port < 65536 else None


def elsewhere(found: tuple[str, int] | None) -> bytes:
    """The error that stands in place of a redirection which would lead past the agent: how it would not."""
    if found is None:
        return error("ERR lockgate: the datastore redirects to where can't be read")
    host, port = found
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}" if host else f"port {port} of the same host"
    return error(f"ERR lockgate: the datastore redirects to {where}: add it to its `addresses` in agent.yaml")
