"""What both halves of a session share: the answers that are owed, in order, and what has become of the connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from lockgate.wire.gate import ProtocolError, Ruling, Run
from lockgate.wire.redis.gate import Args, CommandGate, Ear, Execution, Followed, Login

if TYPE_CHECKING:
    from lockgate.wire.redis.pubsub import Subscriptions

PIPELINE: Final = 16_384
"""Answers that may be owed: what stands behind so many commands waits. redis-benchmark's and clients' pipelines have
up to ten thousand."""


class Awaited:
    """An answer that is owed and not just passed on. `run` is settled with it, where there is one."""

    __slots__ = ("run",)

    def __init__(self, run: Run | None = None) -> None:
        self.run = run

    def take(self, conversation: Conversation, reply: bytes) -> bytes:
        """The server's whole reply has come: what goes to the client in its place. Raises ProtocolError."""
        raise NotImplementedError


class Said(Awaited):
    """An answer of our own, whose turn comes when all before it has been answered; with `ends`, the last one."""

    __slots__ = ("ends", "reply")

    def __init__(self, reply: bytes, ends: str | None = None) -> None:
        super().__init__()
        self.reply = reply
        self.ends = ends


class Alike:
    """Answers to commands that passed together under one ruling: `left` of them are owed, to the last of them."""

    __slots__ = ("_commands", "left", "ruling")

    def __init__(self, commands: Sequence[Args], ruling: Ruling) -> None:
        self._commands = commands
        self.ruling = ruling
        self.left = len(commands)

    def first(self, gate: CommandGate) -> Run:
        """The one whose answer is due."""
        return Run(gate.understand(self._commands[-self.left]), self.ruling)

    def runs(self, gate: CommandGate) -> list[Run]:
        """Each of those whose answers are owed."""
        return [Run(gate.understand(args), self.ruling) for args in self._commands[-self.left :]]


class Conversation:
    """The state of one connection.

    `pending` has the answers that are owed, as the run of an ordinary command or what takes the place of one, or of
    several: `owed` counts them. `barrier`
    is the one of them that has to come before the next command is looked at. `resp` is the version that the server
    answers in. `queue` has what is queued since MULTI was answered, None outside; `aborted` says that EXEC won't run
    it. `watching` says that keys may be watched. `monitor` is set while the server tells of every command. `midway`
    says that the client has a part of a reply, so that nothing else may be said. `over` is how the connection ends once
    what is in `to_client` has been sent. `observed`: nothing is refused here, and redirections lead where they will.
    `overtaken`: the server has something to do yet, or to answer, that is not let pass any more.
    """

    __slots__ = ("_folded", "aborted", "barrier", "executing", "gate", "login", "midway", "monitor", "monitoring",
                 "observed", "over", "overtaken", "pending", "queue", "queued_bytes", "ready", "resp", "said",
                 "subscriptions", "to_client", "to_server", "tracking", "unusual", "watching")  # fmt: skip

    def __init__(self, gate: CommandGate, subscriptions: Subscriptions) -> None:
        self.gate = gate
        self.subscriptions = subscriptions
        self.pending: deque[Run | Awaited | Alike] = deque()
        self._folded = 0
        """How many more are owed than `pending` has elements."""
        self.to_client: list[bytes] = []
        self.to_server: list[bytes] = []
        self.barrier: Run | Awaited | None = None
        self.said = 0
        """How many answers of our own are pending."""
        self.observed = self.overtaken = False
        self.login: Login | None = None
        self.ready = False
        """Whether commands can be sent."""
        self.resp = 2
        self.queue: Execution | None = None
        self.queued_bytes = 0
        self.aborted = False
        self.executing: Run | None = None
        """EXEC, while it is answered."""
        self.watching = False
        self.monitoring = False
        self.monitor: Ear | None = None
        """MONITOR."""
        self.tracking: Ear | None = None
        """CLIENT TRACKING: of several the one that has the most told."""
        self.midway = False
        self.over: str | None = None
        self.unusual = False
        """Whether a command has to be looked at more closely than by its name: see `weigh`."""

    def weigh(self) -> None:
        """Something has changed of what commands may be sent now, and how."""
        self.unusual = self.queue is not None or self.confined or self.monitoring

    @property
    def confined(self) -> bool:
        """Whether, in RESP2, messages may come where answers do: the server then takes few commands."""
        return self.resp == 2 and self.subscriptions.any

    @property
    def in_transaction(self) -> bool:
        return self.watching or self.queue is not None

    def send(self, command: bytes, awaited: Run | Awaited, *, barrier: bool = False) -> None:
        """The server is sent a command, and owes an answer."""
        self.to_server.append(command)
        self.pending.append(awaited)
        if barrier:
            self.barrier = awaited

    def say(self, reply: bytes, ends: str | None = None) -> None:
        """An answer of our own, in its place; with `ends`, the last one and how it ends."""
        if self.pending or self.midway:
            self.pending.append(Said(reply, ends))
            self.said += 1
            return
        self.to_client.append(reply)
        self.over = self.over or ends

    @property
    def owed(self) -> int:
        """How many answers are."""
        return len(self.pending) + self._folded

    def follow(self, commands: Sequence[Args], followed: Followed) -> None:
        """The server is sent `commands`, of which each answer is passed on."""
        self.to_server.append(followed.sent)
        self.pending.append(Alike(commands, followed.ruling))
        self._folded += len(commands) - 1

    def passed(self, alike: Alike, count: int) -> None:
        """So many of the answers that are due first were passed on."""
        if alike.left == count:
            self._folded -= count - 1
            self.pending.popleft()
        else:
            alike.left -= count
            self._folded -= count

    def next(self) -> Run | Awaited:
        """The answer that is due. Raises ProtocolError when none is."""
        if not self.pending:
            raise ProtocolError("the server answered what nobody asked")
        first = self.pending[0]
        if not isinstance(first, Alike):
            return first
        run = first.first(self.gate)
        self.passed(first, 1)
        self.pending.appendleft(run)
        return run

    def answered(self) -> Run | Awaited:
        """The answer that was due has come."""
        awaited = self.next()
        self.pending.popleft()
        if awaited is self.barrier:
            self.barrier = None
        return awaited

    def speak(self) -> None:
        """Our own answers whose turn has come."""
        pending = self.pending
        while self.said and pending and type(pending[0]) is Said:
            said = pending.popleft()
            assert isinstance(said, Said)
            self.said -= 1
            if self.over is None:
                self.to_client.append(said.reply)
                self.over = said.ends

    def settle(self, run: Run, outcome: str) -> None:
        run.outcome = outcome
        run.settled = True
        self.gate.settle(run)

    def enforce(self) -> None:
        """The mode has become enforce. What the server has been sent is answered, and run, as late as it likes (BLPOP,
        CLIENT PAUSE): it is judged anew."""
        self.observed = False
        apart: list[Run | Awaited] = []
        for one in self.pending:
            apart += one.runs(self.gate) if isinstance(one, Alike) else (one,)
        self.pending.clear()
        self.pending.extend(apart)
        self._folded = 0
        for awaited in apart:
            run = awaited.run if isinstance(awaited, Awaited) else awaited
            if run is not None:
                ruling = self.gate.overtaken(run)
                self.overtaken = self.overtaken or ruling is None
                run.ruling = ruling or run.ruling

    def settle_all(self, outcome: str) -> None:
        """Nothing more will be answered."""
        self.barrier, self.said = None, 0
        while self.pending:
            alike = self.pending[0]
            if isinstance(alike, Alike):
                # to understand each of ten thousand would keep everybody else waiting, and nobody asks what it was
                request, left = alike.first(self.gate).request, alike.left
                self.passed(alike, left)
                for _ in range(left):
                    self.settle(Run(request, alike.ruling), outcome)
                continue
            awaited = self.answered()
            run = awaited.run if isinstance(awaited, Awaited) else awaited
            if run is not None:
                self.settle(run, outcome)
