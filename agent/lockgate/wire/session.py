"""What the I/O of a connection asks of a session, in every protocol.

A session is sans-IO: it is fed bytes of both sides, and gives bytes for both sides. None of the methods raises for
anything a peer sends: hostile or broken bytes become a native error and `closing`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import Any, Final

from lockgate.wire.gate import Refusal, Ruling

Bytes = bytes | memoryview

TLS_HANDSHAKE: Final = b"\x16"
"""The first byte of a TLS connection (RFC 8446, section 5.1)."""


class WantsTls(Enum):
    """How the client began TLS: `DIRECT` when the bytes that were just fed, and not looked at, are TLS's already."""

    NEGOTIATED = auto()
    DIRECT = auto()


class WireSession(ABC):
    """The I/O feeds `client_data` and `server_data` and sends what `drain_client` and `drain_server` give."""

    __slots__ = ()

    closing: bool
    """True when nothing more will be said: the I/O sends what is left and closes both sides."""
    wants_upstream: bool
    """True once the client has introduced itself: the I/O connects upstream and says `connected` or `failed`."""
    wants_raw: bool
    """True when the I/O is to connect upstream as the client would be connected: the two speak unread."""
    wants_tls: WantsTls | None
    """Whether TLS begins now: the I/O feeds what it decrypts from here on, and says `secured` before."""

    @abstractmethod
    def client_data(self, data: Bytes) -> None:
        """Bytes from the client; none of `data` is kept."""

    @abstractmethod
    def server_data(self, data: Bytes) -> None:
        """Bytes from the server; none of `data` is kept."""

    @abstractmethod
    def connected(self, channel_binding: bytes | None = None, login: Any = None) -> None:
        """The upstream is there. `login` is what answers the datastore; None where the client does.

        `channel_binding` is None in plain; inside TLS the tls-server-end-point data of RFC 5929.
        """

    @abstractmethod
    def secured(self) -> None:
        """TLS is in between: what the client says from here on nobody else can have said."""

    @abstractmethod
    def failed(self, refusal: Refusal) -> None:
        """The upstream can't be had, or the house gives up: a native error and the end."""

    @abstractmethod
    def resume(self, ruling: Ruling) -> None:
        """The ruling on the request that `Gate.run` had answered None."""

    @abstractmethod
    def notice(self, message: str, hint: str | None = None) -> None:
        """Tell the client something while it waits, where the protocol can."""

    @abstractmethod
    def client_gone(self) -> None:
        """The client closed its side."""

    @abstractmethod
    def server_gone(self) -> None:
        """The server closed its side: what it said last has been passed on."""

    @abstractmethod
    def drain_client(self) -> bytes:
        """What is to be sent to the client, taken."""

    @abstractmethod
    def drain_server(self) -> bytes:
        """What is to be sent to the server, taken."""

    @property
    @abstractmethod
    def parked(self) -> bool:
        """Whether a request waits for `resume`."""

    @property
    @abstractmethod
    def awaits_run(self) -> bool:
        """Whether the server owes the outcome of something that runs."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether the server has taken the client in."""

    @property
    @abstractmethod
    def ended_well(self) -> bool:
        """Whether the client said goodbye before it went."""

    @property
    @abstractmethod
    def waiting_bytes(self) -> int:
        """How much of what the client sent waits to be read."""

    @property
    @abstractmethod
    def idle(self) -> bool:
        """Whether the connection could be closed without breaking anything off. One that is still made could not."""

    @abstractmethod
    def enforce(self) -> None:
        """The datastore's mode has become enforce: from the next statement on the session is like any."""

    @property
    def evades(self) -> bool:
        """Whether it can't be enforced any more, once it has been told to: it isn't read, or keeps what enforcing would
        not have let happen."""
        return False

    def reconsider(self) -> None:  # noqa: B027 - most protocols have nothing that lasts
        """Rules, or who asks, may be others by now: what would not be let pass any more, and lasts, ends."""

    @property
    def heard_out(self) -> bool | None:
        """Whether the server was sent all that a client said which says no more, but listens. None where that ends the
        connection, or what it said can't be sent yet and won't be."""
        return None


class Observing(ABC):
    """What a session has besides that only looks, for a datastore in mode observe."""

    __slots__ = ()

    bound: bool
    """Whether the two sides would bind authentication to TLS, which the agent's TLS in between makes fail."""
    tls_declined: bool
    """Whether the server has already said that it has no TLS."""

    @abstractmethod
    def give_up(self, why: str) -> bool:
        """Something of ours failed. True when the connection goes on, unread; False when it can't."""


def taken(parts: list[bytes]) -> bytes:
    """All of `parts` as one, which are none then: what `drain_client` and `drain_server` give."""
    if not parts:
        return b""
    if len(parts) == 1:
        return parts.pop()
    whole = b"".join(parts)
    parts.clear()
    return whole
