"""A connection that is only looked at: what can't be read is passed on as it is, both ways, from there to the end.

Where `session.py` answers with an error, an `ObservedSession` says once why it reads no more (`ObservingGate.unread`),
sends on, in order, what it has kept of both directions, and from then on passes bytes:

    starting -> a packet that can't be read, TLS at once: `wants_raw`, then passing
             -> with `passing`, a request for encryption: `wants_raw`, then the request goes to the server, whose answer
                is either N, and the connection starts again, readable, or the last thing that is read
    relaying -> passing, at once; or when the server is ready, for what was known before (replication, `Gate.blind`)
    running  -> passing; behind the message that waits for a ruling, if one does

Only a session made for a datastore in mode observe is of this class. Once its `enforce` was called it is like any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

from lockgate.wire.gate import ProtocolError, Refusal, Ruling
from lockgate.wire.observed import PassingOn, Watcher
from lockgate.wire.postgresql import frames
from lockgate.wire.postgresql.authentication import Login
from lockgate.wire.postgresql.conversation import Conversation
from lockgate.wire.postgresql.frontend import Frontend
from lockgate.wire.postgresql.gate import RowKernel, StatementGate
from lockgate.wire.postgresql.session import BOUND, Session, unsupported
from lockgate.wire.session import TLS_HANDSHAKE, Bytes

ENCRYPTED: Final = {frames.SSL_REQUEST: "tls", frames.GSSENC_REQUEST: "gss"}
"""Why a connection is not read whose client and server have agreed on encryption."""


class ObservingGate(StatementGate, Watcher, Protocol):
    """The house, as a connection that is only looked at sees it."""


class ObservedFrontend(Frontend):
    """The client's half: what is not let through is not refused either. It stays, for `take`."""

    __slots__ = ()

    def feed(self, data: bytes | memoryview) -> None:
        """See `Frontend.feed`."""
        self._in += data
        self.pump()

    def pump(self) -> None:
        """See `Frontend.pump`."""
        try:
            self._handle(self._in)
        finally:
            del self._in[: self._reached]

    def take(self) -> bytes:
        """What has come and was not sent on, taken."""
        rest = bytes(self._in)
        self._in.clear()
        return rest

    def let_go(self, ruling: Ruling) -> None:
        """The message that waits for this ruling is the next of what `take` gives."""
        if self._parked is None:
            raise RuntimeError("nothing waits for a ruling")
        (message, request, _), self._parked = self._parked, None
        if ruling.refusal is None:
            self._moot(request, ruling, "unread")
        self._in[:0] = message

    def _release(self, ruling: Ruling) -> None:
        parked = self._parked
        try:
            super()._release(ruling)
        except ProtocolError:
            if parked is not None:
                self._in[:0] = parked[0]
            raise

    def _ignored(self, message: bytes) -> bool:
        if self._conversation.observed:
            # where the server has come further than what it has said so far, it doesn't
            self._out.append(message)
        return True

    def _refused(self, kind: int, refusal: Refusal) -> None:
        if self._conversation.observed:
            raise ProtocolError(refusal.message.removeprefix("lockgate: "))
        super()._refused(kind, refusal)


class ObservedSession(PassingOn, Session):
    """Like `Session`, but for what can't be read. `passing`: clients' TLS is the server's affair, and not read.

    `wants_raw` once the I/O is to connect upstream in plain, whatever the datastore's TLS (in its TLS where the client
    is inside ours), and say `connected`. `wants_upstream` may follow, when the server declined encryption: then that
    connection is still as new. `tls_declined` says that it did. `bound` says that the
    client was refused because it and the server would bind authentication to TLS that isn't one.
    """

    _conversation: Conversation
    _half = ObservedFrontend
    _frontend: ObservedFrontend

    def __init__(
        self,
        gate: ObservingGate,
        rows: RowKernel,
        *,
        message_bytes: int,
        row_bytes: int,
        tls: bool = False,
        passing: bool = False,
    ) -> None:
        super().__init__(gate, rows, message_bytes=message_bytes, row_bytes=row_bytes, tls=tls)
        self._look(gate, passing=passing)
        self._asked: int | None = None
        """The request for encryption that the server has, or is about to have."""
        self.wants_raw = False

    # what the I/O calls

    def enforce(self) -> None:
        """From here on like a `Session`. One that `evades` that has to be closed instead."""
        self._conversation.observed = self._passing = False

    @property
    def evades(self) -> bool:
        """Whether what the client says is not read, or may come not to be by what was said already."""
        return self.unread is not None or self._later is not None or self._asked is not None

    def give_up(self, why: str) -> bool:
        """Read no more from here on. False where that can't be: the house has to be between the two."""
        conversation = self._conversation
        if self.closing or self.unread is not None or not conversation.observed:
            return False
        if conversation.authentication is not None:
            return False  # the server was answered in the client's place: the two have never spoken
        if not self._upstream and self.wants_upstream:
            self._later = self._later or why
            return True
        self._early[:0] = self._packet
        self._packet = b""
        self._stop_reading(why)
        if self._upstream:
            self._pass_on()
        else:
            self._client = self._waiting
            self.wants_raw = True
        return True

    def server_data(self, data: Bytes) -> None:
        """See `Session.server_data`."""
        if self.closing:
            return
        if self.unread is not None:
            self._to_client.append(bytes(data))
        elif self._asked is not None:
            self._answered(self._asked, bytes(data))
        else:
            super().server_data(data)

    def connected(self, channel_binding: bytes | None = None, login: Login | None = None) -> None:
        """See `Session.connected`; also the answer to `wants_raw`."""
        self._upstream = True
        if self.wants_upstream:
            self._packet = b""
            super().connected(channel_binding, login)
        elif self._asked is not None:
            self._ask()
        else:
            self._pass_on()

    def failed(self, refusal: Refusal) -> None:
        """See `Session.failed`."""
        if refusal is BOUND and self._conversation.observed:
            self.bound = True
            refusal = replace(
                refusal, hint="Lockgate only observes here: `client_tls: pass` lets the two have their TLS."
            )
        super().failed(refusal)

    def resume(self, ruling: Ruling) -> None:
        """See `Session.resume`."""
        if self.unread is None or self.closing:
            super().resume(ruling)
            return
        self._frontend.let_go(ruling)
        self._pass_on()

    def notice(self, message: str, hint: str | None = None) -> None:
        """See `Session.notice`: nothing is said in the middle of what isn't read."""
        if self.unread is None:
            super().notice(message, hint)

    def client_gone(self) -> None:
        """See `Session.client_gone`."""
        self._left = True
        super().client_gone()

    @property
    def ready(self) -> bool:
        """See `Session.ready`."""
        return self.unread is not None or super().ready

    @property
    def awaits_run(self) -> bool:
        """See `Session.awaits_run`: it may, where that isn't read."""
        return self.unread is not None or super().awaits_run

    @property
    def ended_well(self) -> bool:
        """See `Session.ended_well`: a goodbye that isn't read can't be told from none."""
        return super().ended_well or (self.unread is not None and self._left)

    @property
    def idle(self) -> bool:
        """See `Session.idle`."""
        return self.unread is None and super().idle

    # states

    def _starting(self, data: Bytes) -> None:
        if self._passing and not self._early and not self._offered and data[:1] == TLS_HANDSHAKE:
            self._early += data
            self.give_up("tls")
            return
        super()._starting(data)

    def _encrypt(self, code: int) -> bool:
        if not self._passing:
            return super()._encrypt(code)
        self._offered.add(code)
        self._asked = code
        self._client = self._waiting
        if self._upstream:
            self._ask()
        else:
            self.wants_raw = True
        return False

    def _ask(self) -> None:
        self._to_server.append(self._packet)
        self._packet = b""

    def _answered(self, code: int, answer: bytes) -> None:
        """What the server says to a request for encryption."""
        self._asked = None
        self._to_client.append(answer)
        if answer != b"N":
            self._stop_reading(ENCRYPTED[code])
            self._pass_on()
            return
        self.tls_declined = self.tls_declined or code == frames.SSL_REQUEST
        self._client = self._starting
        early, self._early = bytes(self._early), bytearray()
        if early:
            self.client_data(early)

    def _greet(self, code: int, body: bytes) -> None:
        super()._greet(code, body)
        self._upstream = False  # it may be connected anew

    def _admit(self, parameters: Mapping[str, str]) -> Refusal | None:
        if not self._conversation.observed:
            return super()._admit(parameters)
        refusal, found = self._gate.open(parameters), unsupported(parameters)
        self._later = self._watcher.blind if found is None else found.message.removeprefix("lockgate: ")
        return refusal

    def _run(self) -> None:
        if self._later is None or not self._conversation.ready:
            super()._run()
            return
        self._running = True
        self._conversation.authentication = None
        self._stop_reading(self._later)
        self._pass_on()

    # what they share

    def _fail(self, error: ProtocolError) -> None:
        if not self.give_up(str(error)):
            super()._fail(error)

    def _fatal(self, refusal: Refusal) -> None:
        if self.unread is None:
            super()._fatal(refusal)

    def _kept_of_server(self) -> bytes:
        return self._backend.take()

    def _kept_of_client(self) -> bytes | None:
        return None if self._frontend.parked else self._frontend.take()
