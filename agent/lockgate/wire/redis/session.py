"""One Redis connection, sans-IO: bytes in from both sides, bytes out to both sides, questions to the gate.

The life of a connection is the handler that client bytes are fed to:

    starting  -> a TLS handshake: `securing`; anything else: the client is there
    securing  -> waits for the I/O to put TLS in between (`wants_tls`, then `secured`); then starting again
    waiting   -> for the I/O to connect upstream (`wants_upstream`, then `connected` or `failed`)
    running   -> commands.py and answers.py; with a `Login`, authentication.py has the first word
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from lockgate.wire.gate import ProtocolError, Refusal, Ruling
from lockgate.wire.redis import authentication, errors
from lockgate.wire.redis.answers import Answers
from lockgate.wire.redis.authentication import AuthenticationError
from lockgate.wire.redis.commands import Commands
from lockgate.wire.redis.conversation import Conversation
from lockgate.wire.redis.gate import CommandGate, Login
from lockgate.wire.redis.pubsub import Subscriptions
from lockgate.wire.session import TLS_HANDSHAKE, Bytes, WantsTls, WireSession

NO_TLS: Final = "this is TLS, which is not offered here"


class Session(WireSession):
    """See `lockgate.wire.session.WireSession`."""

    _half: ClassVar[type[Commands]] = Commands
    """What reads the client."""

    __slots__ = (
        "_answers",
        "_client",
        "_commands",
        "_conversation",
        "_early",
        "_gate",
        "_tls",
        "closing",
        "to_client",
        "to_server",
        "wants_raw",
        "wants_tls",
        "wants_upstream",
    )  # fmt: skip

    def __init__(self, gate: CommandGate, *, message_bytes: int, row_bytes: int, tls: bool = False) -> None:
        """`message_bytes` bounds a command, `row_bytes` a reply that is held whole and what is queued inside MULTI.

        `tls` says that the I/O can put TLS between itself and the client.
        """
        self._gate = gate
        self._conversation = Conversation(gate, Subscriptions())
        self.to_client = self._conversation.to_client
        self.to_server = self._conversation.to_server
        self._commands = self._half(self._conversation, message_bytes, row_bytes)
        self._answers = Answers(self._conversation, row_bytes, self._commands.pump)
        self._client: Callable[[Bytes], None] = self._starting
        self._early = bytearray()
        self._tls = tls
        self.wants_tls: WantsTls | None = None
        self.wants_upstream = False
        self.wants_raw = False
        self.closing = False

    # what the I/O calls

    def client_data(self, data: Bytes) -> None:
        """See `WireSession`."""
        if self.closing:
            return
        try:
            self._client(data)
        except ProtocolError as error:
            self._fail(error)
        if self._conversation.over is not None:
            self._end(self._conversation.over)

    def server_data(self, data: Bytes) -> None:
        """See `WireSession`."""
        if self.closing:
            return
        try:
            self._answers.feed(data)
            if self._conversation.over is None and self._commands.waits and not self._commands.blocked:
                self._commands.pump()
        except ProtocolError as error:
            self._fail(error)
        except AuthenticationError as error:
            self.failed(error.refusal)
        if self._conversation.over is not None:
            self._end(self._conversation.over)

    def connected(self, channel_binding: bytes | None = None, login: Login | None = None) -> None:
        """See `WireSession`. Nothing in Redis is bound to TLS. `login` is whom the agent authenticates as."""
        conversation = self._conversation
        self._client = self._commands.feed
        if login is None:
            conversation.ready = True
        else:
            conversation.login = login
            authentication.log_in(conversation, login)
        self._go_on()

    def _go_on(self) -> None:
        """What came before there was somebody to read it."""
        early, self._early = bytes(self._early), bytearray()
        if early:
            self.client_data(early)

    def secured(self) -> None:
        """See `WireSession`."""
        self.wants_tls = None
        self._tls = False
        self._client = self._starting

    def failed(self, refusal: Refusal) -> None:
        """See `WireSession`."""
        self._tell(errors.error_reply(refusal))
        self._end("disconnected")

    def resume(self, ruling: Ruling) -> None:
        """See `WireSession`."""
        if self.closing:
            self._commands.drop(ruling)
            return
        self._commands.resume(ruling)
        if self._conversation.over is not None:
            self._end(self._conversation.over)

    def reconsider(self) -> None:
        """See `WireSession`: subscriptions, MONITOR and client tracking."""
        if not self.closing:
            self._answers.reconsider()
            if self._conversation.over is not None:
                self._end(self._conversation.over)

    def notice(self, message: str, hint: str | None = None) -> None:
        """See `WireSession`: Redis has no way to say anything beside an answer that clients would understand."""

    def client_gone(self) -> None:
        """See `WireSession`."""
        self._end("disconnected")

    def server_gone(self) -> None:
        """See `WireSession`."""
        self._end("disconnected")

    def enforce(self) -> None:
        """See `WireSession`."""
        self._conversation.enforce()

    @property
    def evades(self) -> bool:
        """See `WireSession`."""
        return self._conversation.overtaken

    @property
    def parked(self) -> bool:
        """See `WireSession`."""
        return self._commands.parked

    @property
    def awaits_run(self) -> bool:
        """See `WireSession`."""
        return bool(self._conversation.pending)

    @property
    def ready(self) -> bool:
        """See `WireSession`."""
        return self._conversation.ready

    @property
    def ended_well(self) -> bool:
        """See `WireSession`: QUIT is out of use, so clients just go."""
        return self._commands.closed or self.idle

    @property
    def heard_out(self) -> bool | None:
        """See `WireSession`: Redis answers who has closed its half (networking.c, `readQueryFromClient`). What is held
        is held for nobody then."""
        if self.parked or not (self.wants_upstream or self.wants_raw):
            return None
        return self._conversation.ready and not (self._commands.waits or self._early)

    @property
    def waiting_bytes(self) -> int:
        """See `WireSession`."""
        return self._commands.waiting_bytes + len(self._early)

    @property
    def idle(self) -> bool:
        """See `WireSession`. Subscribed clients are: they connect again."""
        conversation, commands = self._conversation, self._commands
        busy = conversation.pending or conversation.in_transaction or conversation.midway
        return conversation.ready and not (busy or commands.parked or commands.waits or commands.held)

    # states

    def _starting(self, data: Bytes) -> None:
        if self._tls and bytes(data[:1]) == TLS_HANDSHAKE:
            self._client = self._securing
            self.wants_tls = WantsTls.DIRECT
            return
        self._early += data
        if self._early[:1] == TLS_HANDSHAKE:
            raise ProtocolError(NO_TLS)
        refusal = self._gate.open({"user": authentication.DEFAULT, "database": "0"})
        if refusal is not None:
            self.failed(refusal)
            return
        self._client = self._waiting
        self.wants_upstream = True

    def _securing(self, data: Bytes) -> None:
        raise ProtocolError("bytes came before TLS was there")

    def _waiting(self, data: Bytes) -> None:
        # no bound: the I/O doesn't read on from who has too much waiting
        self._early += data

    # what they share

    def _fail(self, error: ProtocolError) -> None:
        self._tell(errors.protocol_error(f"lockgate: {error}"))
        self._end("broken")

    def _tell(self, reply: bytes) -> None:
        """The last word, where it would not be taken for the rest of a reply."""
        if not self._conversation.midway:
            self.to_client.append(reply)

    def _end(self, outcome: str) -> None:
        """Nothing more will be said; runs that have not ended end with `outcome`."""
        if not self.closing:
            self.closing = True
            self._conversation.settle_all(outcome)
