"""What sessions that only look have in common: from where nothing is read any more, bytes are passed on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

from lockgate.wire.session import Bytes, Observing


class Watcher(Protocol):
    """What a session that only looks asks of its gate beside what every session does."""

    @property
    def blind(self) -> str | None:
        """Why nothing is to be read of the connection once it is let in; asked behind `open`."""

    def unread(self, why: str) -> None:
        """From here on nothing of the connection is read. Said once. Runs that were on their way end as `unread`."""


class PassingOn(Observing):
    """To stand before the protocol's session, of which it takes the buffers.

    `unread` is why nothing is read any more, `_later` why nothing will be once the server takes the client in.
    `_upstream` says that what is said to the server reaches it, `_left` that the client closed its side, `_passing`
    that clients' TLS is the server's affair, and not read.
    """

    _client: Callable[[Bytes], None]
    _conversation: Any
    _early: bytearray
    _to_client: list[bytes]
    _to_server: list[bytes]

    def _look(self, watcher: Watcher, *, passing: bool) -> None:
        """From the beginning the connection is only looked at."""
        self._conversation.observed = True
        self._watcher = watcher
        self._passing = passing
        self._later: str | None = None
        self._upstream = False
        self._left = False
        self.unread: str | None = None
        self.bound = False
        self.tls_declined = False

    @abstractmethod
    def _kept_of_server(self) -> bytes:
        """What has come of the server and was not passed on, taken."""

    @abstractmethod
    def _kept_of_client(self) -> bytes | None:
        """What has come of the client and was not sent on, taken. None while something of it waits for a ruling."""

    def _stop_reading(self, why: str) -> None:
        self.unread = why
        self._conversation.settle_all("unread")
        self._watcher.unread(why)

    def _pass_on(self) -> None:
        """Both directions as they are, behind what is kept of them."""
        if rest := self._kept_of_server():
            self._to_client.append(rest)
        kept = self._kept_of_client()
        if kept is None:
            self._client = self._waiting  # what waits goes first
            return
        if kept := kept + bytes(self._early):
            self._to_server.append(kept)
        self._early.clear()
        self._client = self._passed

    def _waiting(self, data: Bytes) -> None:
        # no bound: the I/O doesn't read on from who has too much waiting
        self._early += data

    def _passed(self, data: Bytes) -> None:
        self._to_server.append(bytes(data))
