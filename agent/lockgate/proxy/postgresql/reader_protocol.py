"""asyncpg with a guard: what the reader of catalogs takes from a server that nobody verified.

A client chooses which of the declared addresses it dials, so the server there may be the client's own. asyncpg answers
whatever it is asked for, computes as many rounds of SCRAM as it is told to, on the event loop, and keeps all it is
sent. It can't be given libpq's `require_auth`; but its protocol is a class of Python's that can be derived from.

Import it late: it loads asyncpg, which an agent whose datastores have nothing classified does without.
"""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from asyncpg.protocol.protocol import Protocol

from lockgate.wire.gate import Refusal
from lockgate.wire.postgresql import errors
from lockgate.wire.postgresql.scram import MIN_ITERATIONS

MAX_ITERATIONS: Final = 100_000
"""Some 50 ms, for which the whole agent stands still. PostgreSQL's default is 4096; what clients log in with may ask
for more (`scram.MAX_ITERATIONS`), since that is computed elsewhere."""

GREETING_BYTES: Final = 65_536
"""What a server may say until it has let the reader in: PostgreSQL's PG_MAX_AUTH_TOKEN_LENGTH."""

READING_BYTES: Final = 256 * 1024 * 1024
"""What one connection may read: some five times a catalog of `catalog_reader.COLUMNS`."""

_AUTHENTICATION: Final = ord("R")
_OK: Final = 0
_CLEARTEXT: Final = 3
_SASL_CONTINUE: Final = 11
_ROUNDS: Final = re.compile(rb",i=([0-9]+)")


if TYPE_CHECKING:
    _Protocol = Protocol[Any]
else:
    _Protocol = Protocol  # generic in its stub only


class GuardedProtocol(_Protocol):
    """Everything reaches asyncpg, but for what it must not answer: an error takes the place of that."""

    def __init__(self, addr: object, connected: Any, params: Any, record_class: Any, loop: Any) -> None:
        super().__init__(addr, connected, params, record_class, loop)
        self._tls = params.ssl
        self._greeting: bytearray | None = bytearray()
        """What came of a message that is not whole; None once the server has let the reader in."""
        self._read = 0
        self._socket: Any = None

    def connection_made(self, transport: Any) -> None:
        """The way to the server."""
        self._socket = transport
        super().connection_made(transport)

    def data_received(self, data: Any) -> None:
        """Bytes of the server."""
        self._read += len(data)
        if self._read > (READING_BYTES if self._greeting is None else GREETING_BYTES):
            self._socket.abort()
        elif self._greeting is None:
            super().data_received(data)
        else:
            self._greeting += data
            self._greet(self._greeting)

    def _greet(self, came: bytearray) -> None:
        """Pass on the whole messages in `came`, up to the first that lets the reader in and then all."""
        at = 0
        while len(came) - at >= 5:
            end = at + 1 + int.from_bytes(came[at + 1 : at + 5], "big")
            if len(came) < end:
                break
            if came[at] == _AUTHENTICATION:
                kind, text = int.from_bytes(came[at + 5 : at + 9], "big"), bytes(came[at + 9 : end])
                if (why := self._unanswered(kind, text)) is not None:
                    refusal = Refusal(errors.INVALID_AUTHORIZATION, why)
                    super().data_received(errors.error_response(refusal, "FATAL"))
                    self._socket.abort()
                    return
                if kind == _OK:
                    self._greeting, end = None, len(came)
            super().data_received(bytes(came[at:end]))
            at = end
            if self._greeting is None:
                return
        del came[:at]

    def _unanswered(self, kind: int, text: bytes) -> str | None:
        """Why a message of authentication gets no answer; None when it may have one."""
        if kind == _CLEARTEXT and not self._verified():
            return "it asks for the password in clear outside verified TLS, and was not given it"
        if kind == _SASL_CONTINUE:
            rounds = _ROUNDS.findall(text)
            if not all(len(n) < 10 and MIN_ITERATIONS <= int(n) <= MAX_ITERATIONS for n in rounds):
                return f"it asks for SCRAM with fewer than {MIN_ITERATIONS} or more than {MAX_ITERATIONS} iterations"
        return None

    def _verified(self) -> bool:
        """Whether the server has shown a certificate that was checked."""
        return self.is_ssl and isinstance(self._tls, ssl.SSLContext) and self._tls.verify_mode == ssl.CERT_REQUIRED


# where asyncpg's connect looks for it, which has no parameter for that
vars(asyncpg.protocol)["Protocol"] = GuardedProtocol

connect: Any = asyncpg.connect
"""asyncpg's, with the guard."""
