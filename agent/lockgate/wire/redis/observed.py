"""A connection that is only looked at: what can't be read is passed on as it is, both ways, from there to the end.

Where `session.py` refuses or ends, an `ObservedSession` says once why it reads no more (`ObservingGate.unread`), sends
on, in order, what it has kept of both directions, and from then on passes bytes:

    starting -> TLS that isn't ours to end: `wants_raw`, then passing
    waiting  -> passing, once the server is connected, for what was known before (`ObservingGate.blind`)
    running  -> passing; behind the command that waits for a ruling, if one does

Only a session made for a datastore in mode observe is of this class. Once its `enforce` was called it is like any.
"""

from __future__ import annotations

from typing import Protocol

from lockgate.wire.gate import ProtocolError, Ruling
from lockgate.wire.observed import PassingOn, Watcher
from lockgate.wire.redis.authentication import LoggingIn
from lockgate.wire.redis.conversation import Conversation, Said
from lockgate.wire.redis.gate import CommandGate, Login
from lockgate.wire.redis.session import Session
from lockgate.wire.session import TLS_HANDSHAKE, Bytes


class ObservingGate(CommandGate, Watcher, Protocol):
    """The house, as a connection that is only looked at sees it."""


class ObservedSession(PassingOn, Session):
    """Like `Session`, but for what can't be read. `passing`: clients' TLS is the server's affair, and not read."""

    _conversation: Conversation

    def __init__(
        self, gate: ObservingGate, *, message_bytes: int, row_bytes: int, tls: bool = False, passing: bool = False
    ) -> None:
        super().__init__(gate, message_bytes=message_bytes, row_bytes=row_bytes, tls=tls)
        self._look(gate, passing=passing)

    # what the I/O calls

    def enforce(self) -> None:
        """From here on like a `Session`. One that `evades` that has to be closed instead."""
        self._passing = False
        super().enforce()

    @property
    def evades(self) -> bool:
        """Whether what the client says is not read, or will come not to be."""
        return self.unread is not None or self._later is not None or super().evades

    def give_up(self, why: str) -> bool:
        """Read no more from here on. False where that can't be: the server owes answers that aren't the client's, or
        the client some that aren't the server's."""
        conversation = self._conversation
        if self.closing or self.unread is not None or not conversation.observed:
            return False
        if any(isinstance(awaited, Said | LoggingIn) for awaited in conversation.pending):
            return False
        if not self._upstream and self.wants_upstream:
            self._later = self._later or why
            return True
        self._stop_reading(why)
        if self._upstream:
            self._pass_on()
        else:
            self._client = self._waiting
            self.wants_raw = True
        return True

    def server_data(self, data: Bytes) -> None:
        """See `WireSession`."""
        if self.closing:
            return
        if self.unread is not None:
            self._to_client.append(bytes(data))
            return
        super().server_data(data)
        self._see()

    def connected(self, channel_binding: bytes | None = None, login: Login | None = None) -> None:
        """See `WireSession`; also the answer to `wants_raw`."""
        self._upstream = True
        if self.unread is not None:
            self._pass_on()
            return
        super().connected(channel_binding, login)
        if self._later is not None:
            self._client = self._waiting
        self._see()

    def resume(self, ruling: Ruling) -> None:
        """See `WireSession`."""
        if self.unread is not None and not self.closing:
            kept = self._commands.take()
            self._commands.drop(ruling, "unread")
            self._early[:0] = kept
            self._pass_on()
            return
        try:
            super().resume(ruling)
        except ProtocolError as error:
            self._fail(error)

    def client_gone(self) -> None:
        """See `WireSession`."""
        self._left = True
        super().client_gone()

    @property
    def ready(self) -> bool:
        """See `WireSession`."""
        return self.unread is not None or super().ready

    @property
    def awaits_run(self) -> bool:
        """See `WireSession`: it may, where that isn't read."""
        return self.unread is not None or super().awaits_run

    @property
    def ended_well(self) -> bool:
        """See `WireSession`: a goodbye that isn't read can't be told from none."""
        return super().ended_well or (self.unread is not None and self._left)

    @property
    def heard_out(self) -> bool | None:
        """See `WireSession`."""
        if self.unread is None or self.parked:
            return super().heard_out
        return self._upstream

    @property
    def idle(self) -> bool:
        """See `WireSession`."""
        return self.unread is None and super().idle

    # states

    def _starting(self, data: Bytes) -> None:
        if self._passing and bytes(data[:1]) == TLS_HANDSHAKE:
            self._early += data
            self.give_up("tls")
            return
        super()._starting(data)
        if self.wants_upstream and self._conversation.observed:
            self._later = self._watcher.blind

    def _go_on(self) -> None:
        if self._later is None:
            super()._go_on()

    def _see(self) -> None:
        """What was known before becomes so once the server takes commands."""
        if self._later is not None and self._conversation.ready and self.unread is None and not self.closing:
            self._stop_reading(self._later)
            self._pass_on()

    # what they share

    def _fail(self, error: ProtocolError) -> None:
        if not self.give_up(str(error)):
            super()._fail(error)

    def _tell(self, reply: bytes) -> None:
        if self.unread is None:
            super()._tell(reply)

    def _kept_of_server(self) -> bytes:
        return self._answers.take()

    def _kept_of_client(self) -> bytes | None:
        return None if self._commands.parked else self._commands.take()
