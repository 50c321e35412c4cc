"""The sockets of one connection: bytes from both sides into the session, and what it says back out.

Bytes are handled where they arrive, without a task or a future per message: a statement judged before costs two
callbacks. Reads go into one buffer that all connections share, since a session copies whatever it keeps.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final, Protocol, cast

from lockgate.proxy.tls import READ_BYTES, Tls, TlsError
from lockgate.proxy.upstream_tls import told
from lockgate.wire.gate import Refusal, Ruling, Why
from lockgate.wire.session import Observing, WantsTls, WireSession, taken

LINGER_SECONDS: Final = 30.0
"""How long a side that is over may take for what was written to it: nginx's lingering_time."""

BROKEN: Final = Refusal(Why.FAILED, "lockgate: the connection failed; nothing more was sent")

MISTAKE: Final = "a mistake of the agent's own"

log = logging.getLogger(__name__)


class Recording(Protocol):
    """Records what a session has for the server, before it is sent."""

    @property
    def staging(self) -> bool:
        """Whether any of it is still to be recorded, and can be together with what others send."""

    def stage(self) -> None:
        """Record it, but for the writing."""

    def unrecorded(self) -> Refusal | None:
        """Write what was staged. Why none of it may be sent, if any isn't recorded."""


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
    """The application's socket, accepted from the listener. `tls` is in between once the client has asked for it."""

    __slots__ = ("tls",)

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.tls: Tls | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.connection.begin()

    def buffer_updated(self, nbytes: int) -> None:
        connection = self.connection
        try:
            if self.tls is not None:
                self._decrypt(self.tls, _buffer[:nbytes])
                return
            session = connection.session
            session.client_data(_buffer[:nbytes])
            connection.fed()
            if session.wants_tls is not None:
                self._secure(_buffer[:nbytes])
        except BaseException as error:
            if not connection.spared(error):
                raise

    def _secure(self, data: memoryview) -> None:
        """TLS begins: with `data`, or behind it."""
        connection = self.connection
        direct = connection.session.wants_tls is WantsTls.DIRECT
        self.tls = Tls(connection.secure(), alpn=connection.alpn if direct else None)
        connection.session.secured()
        if direct:
            self._decrypt(self.tls, data)

    def _decrypt(self, tls: Tls, data: memoryview) -> None:
        connection = self.connection
        try:
            plain = tls.receive(data)
        except TlsError as error:
            self._put(tls.take())
            connection.insecure(str(error))
            return
        self._put(tls.take())
        if plain:
            connection.session.client_data(plain)
            connection.fed()
        if tls.closed:
            connection.client_lost()

    def write(self, data: bytes) -> None:
        tls = self.tls
        if tls is not None:
            tls.send(data)
            data = tls.take()
        super().write(data)

    def close(self) -> None:
        if self.tls is not None:
            self.tls.close()
            self._put(self.tls.take())
        super().close()

    def _put(self, data: bytes) -> None:
        if data:
            super().write(data)

    def eof_received(self) -> bool:
        if self.tls is None and self.connection.client_said_all():
            return True
        # at once: the transport would first wait for what is still to be written
        if self.tls is not None and not self.tls.established:
            self.connection.insecure("the client closed the connection during the handshake")
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
    """The datastore's socket. Made by `upstream.dial`, which may have put TLS in between.

    `channel_binding` is then what `Session.connected` takes; None in plain. `dropped` once another takes its place.
    """

    __slots__ = ("channel_binding", "dropped")

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.channel_binding: bytes | None = None
        self.dropped = False

    def drop(self) -> None:
        """Close it: nothing that it says, and not its end, is the connection's any more."""
        self.dropped = True
        self.close()

    def buffer_updated(self, nbytes: int) -> None:
        connection = self.connection
        if self.dropped:
            return
        try:
            connection.session.server_data(_buffer[:nbytes])
            connection.flush()
        except BaseException as error:
            if not connection.spared(error):
                raise

    def end(self) -> None:
        """Say no more, behind what was written; what it answers is still heard."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()

    def eof_received(self) -> bool:
        if not self.dropped:
            self.connection.upstream_lost()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.dropped:
            return
        if isinstance(exc, ssl.SSLError):
            self.connection.upstream_failed(exc)
        self.connection.upstream_lost()

    def pause_writing(self) -> None:
        self.connection.client_reading("upstream is slow", False)

    def resume_writing(self) -> None:
        self.connection.client_reading("upstream is slow", True)


class Connection:
    """One client connection and, once the client has introduced itself, its upstream.

    `on_begin` makes the session when the client's socket is there, `on_introduced` runs when the session wants its
    upstream (twice, where one was connected for a request for encryption only), `on_end` once, when both sockets are
    gone or going. `on_secure` gives the context when the client begins TLS and `on_insecure` runs, with the reason,
    when that fails. A client that begins with TLS has to ask for `alpn` where that isn't None. `on_begin` also gives
    what records what is sent. `together` has what this connection sends recorded with what others send in this turn of
    the loop: it calls `stage` of each, writes once, and calls `send`. `pipeline_bytes` is what a client may send behind
    a statement that waits.

    An exception out of the session or the house is a bug of ours: nothing more is forwarded, both sides are closed, and
    it goes on to the event loop, which logs it. Where the connection is only observed it goes on, unread.
    """

    __slots__ = ("_blocked", "_ended", "_leaving", "_lingering", "_on_begin", "_on_end", "_on_insecure",
                 "_on_introduced", "_on_secure", "_pipeline_bytes", "_recording", "_said_all", "_together", "alpn",
                 "client", "introduced", "session", "upstream")  # fmt: skip

    def __init__(
        self,
        *,
        pipeline_bytes: int,
        alpn: str | None,
        on_begin: Callable[[Connection], tuple[WireSession, Recording]],
        on_introduced: Callable[[Connection], None],
        on_secure: Callable[[Connection], ssl.SSLContext],
        on_insecure: Callable[[Connection, str], None],
        on_end: Callable[[Connection], None],
        together: Callable[[Connection], None],
    ) -> None:
        self.session: WireSession
        self._recording: Recording
        self._together = together
        self._leaving: list[bytes] = []
        """What is sent to the server once it is recorded."""
        self.alpn = alpn
        self.client = ClientSide(self)
        self.upstream: UpstreamSide | None = None
        self.introduced = 0
        """What was asked for: nothing, a way to the server as it is, the upstream."""
        self._pipeline_bytes = pipeline_bytes
        self._on_begin = on_begin
        self._on_introduced = on_introduced
        self._on_secure = on_secure
        self._on_insecure = on_insecure
        self._on_end = on_end
        self._blocked: set[str] = set()
        self._ended = True
        """Until it has begun there is nothing to end."""
        self._said_all: bool | None = False
        """Whether the client says no more, but listens; None once the server was told so."""
        self._lingering: asyncio.TimerHandle | None = None
        """Ends that."""

    def begin(self) -> None:
        """The client's socket is there."""
        try:
            self.session, self._recording = self._on_begin(self)
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

    def secure(self) -> ssl.SSLContext:
        """What the client's TLS begins with."""
        return self._on_secure(self)

    def insecure(self, why: str) -> None:
        """The client's TLS failed: there is nobody that could be told in its own protocol."""
        if not self._ended:
            self._on_insecure(self, why)
            self.client_lost()

    def fail(self) -> None:
        """Something went wrong on our side: tell the client, forward nothing more."""
        if self._ended:
            return
        try:
            self.session.failed(BROKEN)
        finally:
            self.client.write(self.session.drain_client())
            self.end()

    def spared(self, error: BaseException) -> bool:
        """Something went wrong on our side. Whether the connection goes on nevertheless, unread; else it has failed."""
        session = self.session
        if isinstance(error, Exception) and isinstance(session, Observing) and session.give_up(MISTAKE):
            log.error("an observed connection can't be read any more", exc_info=error)
            self.flush()
            return True
        self.fail()
        return False

    def fed(self) -> None:
        """The session was given what the client says."""
        self.flush()
        if not self._ended and self.session.waiting_bytes > self._pipeline_bytes:
            self.client_reading("pipeline is full", False)

    def flush(self) -> None:
        """Send what the session has to say, and do what it wants done."""
        session = self.session
        upstream = self.upstream
        if upstream is not None and session.to_server:
            self._leaving.append(taken(session.to_server))
            if self._said_all or session.closing or not self._recording.staging:
                self._leave()
            elif len(self._leaving) == 1:
                self._together(self)
        if session.to_client:
            self.client.write(taken(session.to_client))
        if session.closing:
            self.end()
            return
        if self._said_all:
            self._tell_server()
            if self._ended:
                return
        if self.introduced < 2:
            wanted = 2 if session.wants_upstream else 1 if session.wants_raw else 0
            if wanted > self.introduced:
                self.introduced = wanted
                self._on_introduced(self)
        if self._blocked:
            self.client_reading("pipeline is full", session.waiting_bytes <= self._pipeline_bytes)

    def stage(self) -> None:
        """Have what is about to be sent recorded, as far as that goes without writing."""
        if self._leaving and not self._ended:
            try:
                self._recording.stage()
            except BaseException as error:
                if not self.spared(error):
                    raise

    def send(self) -> None:
        """Send what is recorded now. What can't be recorded isn't sent, and is the connection's end."""
        if self._leaving and not self._ended:
            try:
                if not self._leave():
                    self.session.drain_server()
                    self.flush()
            except BaseException as error:
                if not self.spared(error):
                    raise

    def _leave(self) -> bool:
        data = taken(self._leaving)
        refusal = self._recording.unrecorded()
        if refusal is not None:
            self.session.failed(refusal)
            return False
        if self.upstream is not None:
            self.upstream.write(data)
        return True

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

    def client_said_all(self) -> bool:
        """The client closed its half. Whether it is to hear the answers to what it said: whatever isn't answered within
        LINGER_SECONDS it doesn't. What waits for nothing but the client ends at once, as the server sees it."""
        if self._lingering is not None:
            return not self._ended
        self.send()
        if self._ended or self.session.heard_out is None:
            return False
        self._said_all = True
        self._lingering = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.client_lost)
        self._tell_server()
        return not self._ended

    def _tell_server(self) -> None:
        upstream, heard_out = self.upstream, self.session.heard_out
        transport = None if upstream is None else upstream.transport
        if heard_out is None or (transport is not None and not transport.can_write_eof()):
            self.client_lost()
        elif heard_out and upstream is not None:
            self._said_all = None
            upstream.end()

    def client_lost(self) -> None:
        self.send()
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

    def upstream_failed(self, error: ssl.SSLError) -> None:
        """The datastore ended the TLS: in TLS 1.3 this is how it says that it doesn't take a client's certificate."""
        if not self._ended:
            refusal = Refusal(Why.UNREACHABLE, f"lockgate: the datastore ended the connection: {told(error)}")
            self.session.failed(refusal)
            self.flush()

    def resume(self, ruling: Ruling) -> None:
        """The ruling that the session waits for; also when the connection has ended meanwhile."""
        try:
            self.session.resume(ruling)
            self.flush()
        except BaseException as error:
            if not self.spared(error):
                raise

    def end(self) -> None:
        """Close both sockets, after what was written to them."""
        if self._ended:
            return
        self._ended = True
        if self._lingering is not None:
            self._lingering.cancel()
        try:
            self._on_end(self)
        finally:
            self.client.close()
            if self.upstream is not None:
                self.upstream.close()
