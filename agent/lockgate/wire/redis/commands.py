"""The client's half: commands are read, asked about in their order, and sent as they were understood, or refused.

A command that is refused is answered in its place. One that waits for a ruling keeps what stands behind it; what was
sent before it goes on being answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from lockgate.values.statement import Request
from lockgate.wire.gate import ProtocolError, Refusal, Ruling, Run
from lockgate.wire.redis import authentication, errors, frames, pubsub, transaction
from lockgate.wire.redis._resp import CommandReader, encode_command
from lockgate.wire.redis.conversation import PIPELINE, Awaited, Conversation
from lockgate.wire.redis.gate import NOT_YET, Ear
from lockgate.wire.session import Bytes

Args: TypeAlias = tuple[bytes, ...]
Make: TypeAlias = Callable[[Run], Run | Awaited]

SHOWN: Final = 128
"""Characters of a name that a refusal repeats: Redis's own bound (server.c, `commandCheckExistence`)."""


_CONFINED: Final = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"


@dataclass(slots=True)
class _Question:
    """A command that waits for its ruling."""

    args: Args
    request: Request
    make: Make | None
    barrier: bool
    refused: Callable[[bytes], None]
    queued: bool = False
    """Whether it is about to be queued inside MULTI."""


class Commands:
    """Reads the client. `message_bytes` bounds one command, `queue_bytes` what is queued inside MULTI.

    `closed` is True once the client has said goodbye, or something behind which Redis doesn't listen any more.
    """

    __slots__ = ("_at", "_batch", "_batch_bytes", "_parked", "_queue_bytes", "_reader", "_unread", "closed",
                 "conversation")  # fmt: skip

    def __init__(self, conversation: Conversation, message_bytes: int, queue_bytes: int) -> None:
        self.conversation = conversation
        self._reader = CommandReader(message_bytes)
        self._queue_bytes = queue_bytes
        self._batch: list[Args] = []
        """Commands that have been read, those from `_at` on not looked at yet."""
        self._at = 0
        self._batch_bytes = 0
        self._unread = bytearray()
        """What came while something waited."""
        self._parked: _Question | None = None
        self.closed = False

    @property
    def parked(self) -> bool:
        return self._parked is not None

    @property
    def blocked(self) -> bool:
        """Whether the next command can't be looked at yet."""
        conversation = self.conversation
        return (
            self._parked is not None
            or conversation.barrier is not None
            or len(conversation.pending) >= PIPELINE
            or not conversation.ready
        )

    @property
    def waits(self) -> bool:
        """Whether there is something to look at, once that can be."""
        unread = self._unread or (self._reader.error is not None and not self.closed)
        return self._at < len(self._batch) or bool(unread)

    @property
    def waiting_bytes(self) -> int:
        """How much of what the client sent waits: not more is known of a batch that was begun."""
        return len(self._unread) + (self._batch_bytes if self._at < len(self._batch) else 0)

    @property
    def held(self) -> int:
        """How much has come of a command that isn't whole."""
        return self._reader.held

    def feed(self, data: Bytes) -> None:
        """Bytes from the client."""
        if self.closed:
            return
        if self._unread or self._at < len(self._batch) or self.blocked:
            self._unread += data
            return
        self._read(data)
        self.pump()

    def _read(self, data: Bytes) -> None:
        self._batch, self._at, self._batch_bytes = self._reader.feed(data), 0, len(data)

    def pump(self) -> None:
        """Go on as far as it goes."""
        conversation = self.conversation
        pending, to_server, gate = conversation.pending, conversation.to_server, conversation.gate
        understand, run, special_of = gate.understand, gate.run, SPECIAL.get
        while not (self.closed or self.blocked):
            batch, at = self._batch, self._at
            count, room, watching, stopped = len(batch), PIPELINE - len(pending), conversation.watching, True
            try:
                while at < count:
                    args = batch[at]
                    name = args[0].upper()
                    special = special_of(name)
                    if special is not None or conversation.unusual or b"\0" in name:
                        self._handle(name, special, args)
                        at += 1
                        break
                    request = understand(args)
                    ruling = run(request, in_transaction=watching)
                    at += 1
                    if ruling is None:
                        self._parked = _Question(args, request, None, False, conversation.say)
                        break
                    if ruling.refusal is not None:
                        conversation.say(errors.error_reply(ruling.refusal))
                    else:
                        entry = Run(request, ruling)
                        to_server.append(encode_command(args))
                        pending.append(entry)
                        if ruling.barrier:
                            conversation.barrier = entry
                            break
                    room -= 1
                    if room <= 0:
                        break
                else:
                    stopped = False
            finally:
                if batch is self._batch:
                    self._at = at
            if stopped and (at < count or self.closed or self.blocked):
                continue
            if self._reader.error is not None:
                self.refused(self._reader.error)
            elif self._unread:
                unread, self._unread = bytes(self._unread), bytearray()
                self._read(unread)
            else:
                return

    def refused(self, why: str) -> None:
        """What comes now can't be read. Raises ProtocolError where nothing may be refused."""
        if self.conversation.observed:
            raise ProtocolError(why)
        self.close(errors.protocol_error(why), "broken")

    def _handle(self, name: bytes, special: Special | None, args: Args) -> None:
        """A command that isn't an ordinary one, or one in a state in which none is."""
        conversation = self.conversation
        if b"\0" in name:
            # Redis finds a command by a hash of the whole name, but compares it as a C string
            self.refuse("unknown command: there is a NUL in its name")
        elif conversation.monitoring and name not in (b"QUIT", b"RESET"):
            self.refuse("lockgate: only QUIT and RESET are allowed while MONITOR tells of every command")
        elif conversation.confined and name not in pubsub.CONFINED:
            # EXEC fails in the words that it has where nothing can be executed (server.c, `rejectCommand`)
            opening = "EXECABORT Transaction discarded because of: " if name == b"EXEC" else "ERR "
            shown = args[0].decode("ascii", "replace").lower()[:SHOWN]
            self.refuse(f"Can't execute '{shown}': {_CONFINED}", opening=opening)
        elif special is not None:
            special(self, args)
        elif conversation.queue is not None:
            self.enqueue(args)
        else:
            self.ask(args)

    # what special commands are made of

    def refuse(self, why: str, *, aborts: bool = True, opening: str = "ERR ") -> None:
        """A refusal that policy has no part in. Inside MULTI, EXEC is refused with it, as in Redis.

        Raises ProtocolError where nothing may be refused.
        """
        conversation = self.conversation
        if conversation.observed:
            raise ProtocolError(why.removeprefix("lockgate: "))
        if conversation.queue is not None and aborts:
            conversation.aborted = True
        conversation.say(frames.error(opening + why))

    def ask(
        self,
        args: Args,
        make: Make | None = None,
        *,
        barrier: bool = False,
        request: Request | None = None,
        refused: Callable[[bytes], None] | None = None,
    ) -> None:
        """Ask whether the command may run. If so it is sent, and what `make` makes of its run is awaited.

        `request` is what it does, where the gate is not to be asked that. `refused` takes the error if it may not.
        """
        conversation = self.conversation
        if request is None:
            request = conversation.gate.understand(args)
        question = _Question(args, request, make, barrier, refused or conversation.say)
        ruling = conversation.gate.run(request, in_transaction=conversation.in_transaction)
        if ruling is None:
            self._parked = question
        else:
            self._rule(question, ruling)

    def _rule(self, question: _Question, ruling: Ruling) -> None:
        if question.queued:
            request = self.conversation.gate.understand(question.args)
            self._enqueued(question.args, request, ruling.refusal)
            return
        if ruling.refusal is not None:
            question.refused(errors.error_reply(ruling.refusal))
            return
        run = Run(question.request, ruling)
        awaited = run if question.make is None else question.make(run)
        self.conversation.send(encode_command(question.args), awaited, barrier=question.barrier or ruling.barrier)

    def enqueue(self, args: Args) -> None:
        """A command inside MULTI."""
        conversation = self.conversation
        queue = conversation.queue
        if queue is None:
            raise RuntimeError("there is no transaction")
        conversation.queued_bytes += sum(map(len, args)) + transaction.ARGUMENT_BYTES * len(args)
        if len(queue.requests) >= transaction.QUEUED or conversation.queued_bytes > self._queue_bytes:
            self.refuse(f"lockgate: more than {transaction.QUEUED} commands are queued, or {self._queue_bytes} bytes")
            return
        request = conversation.gate.understand(args)
        refusal = conversation.gate.queue(request)
        if refusal is NOT_YET:
            self._parked = _Question(args, request, None, False, conversation.say, queued=True)
        else:
            self._enqueued(args, request, refusal)

    def _enqueued(self, args: Args, request: Request, refusal: Refusal | None) -> None:
        conversation = self.conversation
        if refusal is not None:
            conversation.aborted = True
            conversation.say(errors.error_reply(refusal))
            return
        if conversation.queue is None:
            raise RuntimeError("there is no transaction")
        conversation.queue.requests.append(request)
        conversation.send(encode_command(args), transaction.Queued())

    def close(self, reply: bytes, how: str) -> None:
        """The last that the client is told, in its turn. Nothing more is read."""
        self.closed = True
        self._batch, self._at = [], 0
        self._unread.clear()
        self.conversation.say(reply, how)

    # what waits

    def resume(self, ruling: Ruling) -> None:
        """The ruling on the command that waits."""
        question, self._parked = self._parked, None
        if question is None:
            raise RuntimeError("nothing waits for a ruling")
        self._rule(question, ruling)
        self.pump()

    def take(self) -> bytes:
        """What has come and was not sent on, taken: of a command that waits, and of all behind it."""
        parked = [] if self._parked is None else [self._parked.args]
        rest = [encode_command(args) for args in (*parked, *self._batch[self._at :])]
        self._batch, self._at = [], 0
        kept = b"".join(rest) + self._reader.take() + bytes(self._unread)
        self._unread.clear()
        return kept

    def drop(self, ruling: Ruling, outcome: str = "disconnected") -> None:
        """The ruling came when nothing is sent any more that hangs on one: what it lets run ends with `outcome`."""
        question, self._parked = self._parked, None
        if question is not None and not question.queued and ruling.refusal is None:
            self.conversation.settle(Run(question.request, ruling), outcome)


Special: TypeAlias = Callable[[Commands, Args], None]


def _quit(commands: Commands, args: Args) -> None:
    """Its answer is the last, and the server needs not hear of it."""
    if commands.conversation.observed:
        commands.ask(args)
    else:
        commands.close(frames.OK, "disconnected")


def _foreign(commands: Commands, args: Args) -> None:
    """HTTP: a browser was made to talk to Redis. It hears nothing (networking.c, `securityWarningCommand`)."""
    if commands.conversation.observed:
        raise ProtocolError("this is HTTP")
    commands.close(b"", "broken")


def _replication(commands: Commands, args: Args) -> None:
    commands.refuse("lockgate: replication connections are refused")


def _client(commands: Commands, args: Args) -> None:
    """CLIENT: of its sub-commands REPLY would take answers away, and TRACKING make pushes come."""
    conversation = commands.conversation
    part = args[1].upper() if len(args) > 1 else b""
    if b"\0" in part:
        commands.refuse("unknown subcommand: there is a NUL in its name")
    elif part == b"REPLY" and [arg.upper() for arg in args[2:]] != [b"ON"]:
        commands.refuse("lockgate: CLIENT REPLY OFF and SKIP are refused: every command has to be answered")
    elif part == b"TRACKING":
        if conversation.queue is not None:
            commands.refuse("lockgate: CLIENT TRACKING is refused inside MULTI")
        elif len(args) > 2 and args[2].partition(b"\0")[0].upper() == b"OFF":
            commands.ask(args, _Untracking, barrier=True)
        else:
            commands.ask(args, lambda run: _tracking(conversation, args, run))
    elif conversation.queue is not None:
        commands.enqueue(args)
    else:
        commands.ask(args)


def _tracking(conversation: Conversation, args: Args, run: Run) -> Run:
    # options are compared as C strings; whether the server takes it is not known yet
    if conversation.tracking is None or any(arg.partition(b"\0")[0].upper() == b"BCAST" for arg in args):
        conversation.tracking = Ear(args, run.ruling.standing)
    return run


class _Untracking(Awaited):
    """CLIENT TRACKING OFF."""

    __slots__ = ()

    def take(self, conversation: Conversation, reply: bytes) -> bytes:
        if reply == frames.OK:
            conversation.tracking = None
        return reply


class _Monitoring(Awaited):
    __slots__ = ()

    def take(self, conversation: Conversation, reply: bytes) -> bytes:
        if reply == frames.OK and self.run is not None:
            conversation.monitoring = True
            conversation.monitor = Ear((b"MONITOR",), self.run.ruling.standing)
            conversation.weigh()
        elif errors.text_of(reply) is None:
            raise ProtocolError("the server answered MONITOR with something else")
        return reply


def _monitor(commands: Commands, args: Args) -> None:
    if commands.conversation.queue is not None:
        commands.refuse("lockgate: MONITOR is refused inside MULTI")
    else:
        commands.ask(args, _Monitoring, barrier=True)


SPECIAL: Final[Mapping[bytes, Special]] = MappingProxyType({
    b"MULTI": transaction.multi,
    b"EXEC": transaction.execute,
    b"DISCARD": transaction.discard,
    b"WATCH": transaction.watch,
    b"UNWATCH": transaction.unwatch,
    b"AUTH": authentication.auth,
    b"HELLO": authentication.hello,
    b"SELECT": authentication.select,
    b"RESET": authentication.reset,
    b"SUBSCRIBE": pubsub.subscribe,
    b"PSUBSCRIBE": pubsub.subscribe,
    b"SSUBSCRIBE": pubsub.subscribe,
    b"UNSUBSCRIBE": pubsub.subscribe,
    b"PUNSUBSCRIBE": pubsub.subscribe,
    b"SUNSUBSCRIBE": pubsub.subscribe,
    b"MONITOR": _monitor,
    b"CLIENT": _client,
    b"QUIT": _quit,
    b"SYNC": _replication,
    b"PSYNC": _replication,
    b"REPLCONF": _replication,
    b"POST": _foreign,
    b"HOST:": _foreign,
})  # fmt: skip
"""Commands that change how others are read, judged or answered."""
