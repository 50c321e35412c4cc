"""Which minor version of protocol 3 a connection speaks: the same one on both sides.

A client asks for a version and for protocol options; we ask the server for what both we and the client know, and what
the server then says is what the client is told. Source: PostgreSQL documentation, "Protocol Versions", and
NegotiateProtocolVersion in "Message Formats".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lockgate.wire.gate import ProtocolError
from lockgate.wire.postgresql import frames

NEWEST: Final = 2
"""3.2 (PostgreSQL 18), whose one difference from 3.0 are longer cancellation keys. There is no 3.1."""

OPTION: Final = "_pq_."
"""How the names of protocol options begin. None is known to us, so none is ever passed on."""

SECRET_BYTES: Final = {0: range(4, 5), NEWEST: range(4, 257)}
"""By minor version, how long the secret of a cancellation key may be."""

_OLDEST: Final = frames.negotiate_protocol_version(())[5:]
"""What a server that knows 3.2 no more than any option of ours answers: we ask for no option, and 3.0 is all below."""


class Version:
    """The negotiation of one connection. `minor` is what the server is asked for, and then what it has agreed to."""

    __slots__ = ("_asked", "_told", "_unknown", "minor")

    def __init__(self, asked: int = 0, unknown: Sequence[str] = ()) -> None:
        """The client asked for 3.`asked` and for the protocol options `unknown`."""
        self._asked = asked
        self._unknown = tuple(unknown)
        self._told = False
        self.minor = NEWEST if asked >= NEWEST else 0

    def negotiated(self, payload: bytes) -> None:
        """The server's NegotiateProtocolVersion. Raises ProtocolError for an answer to nothing that it was asked."""
        if self._told or self.minor == 0 or payload != _OLDEST:
            raise ProtocolError("the server negotiated a protocol version that it was not asked for")
        self.minor = 0

    def opening(self) -> bytes:
        """What the client is told before the server's first word of authentication: once, and mostly nothing."""
        if self._told:
            return b""
        self._told = True
        if self.minor == self._asked and not self._unknown:
            return b""
        return frames.negotiate_protocol_version(self._unknown, self.minor)

    def check_secret(self, secret: bytes) -> None:
        """Raises ProtocolError for a cancellation key that this version doesn't have."""
        if len(secret) not in SECRET_BYTES[self.minor]:
            raise ProtocolError(f"the server gave a cancellation key of {len(secret)} bytes in protocol 3.{self.minor}")
