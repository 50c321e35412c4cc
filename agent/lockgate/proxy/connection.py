"""The sockets of one connection: bytes from both sides into the session, and what it says back out.

Bytes are handled where they arrive, without a task or a future per message: a statement judged before costs two
callbacks. Reads go into one buffer that all connections share, since a session copies whatever it keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from lockgate.wire.gate import Refusal, Ruling
from lockgate.wire.postgresql import errors
from lockgate.wire.postgresql.session import Session

READ_BYTES: Final = 256 * 1024
"""One read. uvloop's own default; larger reads didn't raise the throughput of a bulk result."""

LINGER_SECONDS: Final = 30.0
"""How long a side that is over may take for what was written to it: nginx's lingering_time."""

BROKEN: Final = Refusal(errors.INTERNAL_ERROR, "lockgate: the connection failed; nothing more was sent")

_buffer: Final = memoryview(bytearray(READ_BYTES))


class _Side(asyncio.BufferedProtocol):
    """One of the two sockets. Backpressure: while this side can't be written to, the other isn't read."""

    __slots__ = ("connection", "transport")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _buffer

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        """Close behind what was written, which a peer that doesn't read can't keep waiting for ever."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.close()
            if transport.get_write_buffer_size():
                asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abort)

    def read_on(self, on: bool) -> None:
        transport = self.transport
        if transport is None or transport.is_closing() or transport.is_reading() is on:
            return
        if on:
            transport.resume_reading()
        else:
            transport.pause_reading()


class ClientSide(_Side):
    """The application's socket, accepted from the listener."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.connection.begin()

    def buffer_updated(self, nbytes: int) -> None:
        connection = self.connection
        try:
            connection.session.client_data(_buffer[:nbytes])
            connection.flush()
        except BaseException:
            connection.fail()
            raise

    def eof_received(self) -> bool:
        # at once: the transport would first wait for what is still to be written
        self.connection.client_lost()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.connection.client_lost()

    def pause_writing(self) -> None:
        # not read from either: answers of our own would pile up, and a server that can't write doesn't read
        self.connection.upstream_reading(False)
        self.connection.client_reading("client is slow", False)

    def resume_writing(self) -> None:
        self.connection.upstream_reading(True)
        self.connection.client_reading("client is slow", True)


class UpstreamSide(_Side):
    """The datastore's socket. Made by `upstream.dial`, which may have put TLS in between."""

    __slots__ = ()

    def buffer_updated(self, nbytes: int) -> None:
        connection = self.connection
        try:
            connection.session.server_data(_buffer[:nbytes])
            connection.flush()
        except BaseException:
            connection.fail()
            raise

    def eof_received(self) -> bool:
        self.connection.upstream_lost()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.connection.upstream_lost()

    def pause_writing(self) -> None:
        self.connection.client_reading("upstream is slow", False)

    def resume_writing(self) -> None:
        self.connection.client_reading("upstream is slow", True)


class Connection:
    """One client connection and, once the client has introduced itself, its upstream.

    `on_begin` makes the session when the client's socket is there, `on_introduced` runs when the session wants its
    upstream, `on_end` once, when both sockets are gone or going. `pipeline_bytes` is what a client may send behind a
    statement that waits.

    An exception out of the session or the house is a bug of ours: nothing more is forwarded, both sides are closed, and
    it goes on to the event loop, which logs it.
    """

    __slots__ = ("_blocked", "_ended", "_on_begin", "_on_end", "_on_introduced", "_pipeline_bytes", "client",
                 "introduced", "session", "upstream")  # fmt: skip

    def __init__(
        self,
        *,
        pipeline_bytes: int,
        on_begin: Callable[[Connection], Session],
        on_introduced: Callable[[Connection], None],
        on_end: Callable[[Connection], None],
    ) -> None:
        self.session: Session
        self.client = ClientSide(self)
        self.upstream: UpstreamSide | None = None
        self.introduced = False
        self._pipeline_bytes = pipeline_bytes
        self._on_begin = on_begin
        self._on_introduced = on_introduced
        self._on_end = on_end
        self._blocked: set[str] = set()
        self._ended = True
        """Until it has begun there is nothing to end."""

    def begin(self) -> None:
        """The client's socket is there."""
        try:
            self.session = self._on_begin(self)
        except BaseException:
            self.client.close()
            raise
        self._ended = False
        self.flush()

    @property
    def client_fd(self) -> int:
        """The descriptor of the accepted socket."""
        if self.client.transport is None:
            raise RuntimeError("not connected")
        fd: int = self.client.transport.get_extra_info("socket").fileno()
        return fd

    def fail(self) -> None:
        """Something went wrong on our side: tell the client, forward nothing more."""
        if self._ended:
            return
        try:
            self.session.failed(BROKEN)
        finally:
            self.client.write(self.session.drain_client())
            self.end()

    def flush(self) -> None:
        """Send what the session has to say, and do what it wants done."""
        session = self.session
        upstream = self.upstream
        if upstream is not None:
            data = session.drain_server()
            if data:
                upstream.write(data)
        data = session.drain_client()
        if data:
            self.client.write(data)
        if session.closing:
            self.end()
            return
        if session.wants_upstream and not self.introduced:
            self.introduced = True
            self._on_introduced(self)
        if self._blocked or session.waiting_bytes > self._pipeline_bytes:
            self.client_reading("pipeline is full", session.waiting_bytes <= self._pipeline_bytes)

    def client_reading(self, why: str, on: bool) -> None:
        """Read from the client again once no reason to stop is left."""
        if on:
            self._blocked.discard(why)
        else:
            self._blocked.add(why)
        self.client.read_on(not self._blocked)

    def upstream_reading(self, on: bool) -> None:
        if self.upstream is not None:
            self.upstream.read_on(on)

    def client_lost(self) -> None:
        if not self._ended:
            try:
                self.session.client_gone()
            finally:
                self.end()

    def upstream_lost(self) -> None:
        if not self._ended:
            try:
                self.session.server_gone()
                self.flush()
            except BaseException:
                self.fail()
                raise

    def resume(self, ruling: Ruling) -> None:
        """The ruling that the session waits for; also when the connection has ended meanwhile."""
        try:
            self.session.resume(ruling)
            self.flush()
        except BaseException:
            self.fail()
            raise

    def end(self) -> None:
        """Close both sockets, after what was written to them."""
        if self._ended:
            return
        self._ended = True
        try:
            self._on_end(self)
        finally:
            self.client.close()
            if self.upstream is not None:
                self.upstream.close()
