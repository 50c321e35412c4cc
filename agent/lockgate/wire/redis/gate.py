"""What a Redis session asks of the house beside what every session asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final, Protocol

from lockgate.values.secret import Secret
from lockgate.values.statement import Request
from lockgate.wire.gate import Refusal, Ruling, Run


class ReplyMask(Protocol):
    """`Ruling.masking` of a command: masks its reply."""

    def mask(self, reply: bytes, *, resp3: bool) -> tuple[bytes, int, dict[str, int]]:
        """A whole reply as RESP has it (an error too), as it may be shown.

        Returns it, how many values are masked in it, and how much of each kind was found in values that nobody
        classified. Raises MaskingError when what it holds can't be told: it is then withheld.
        """


@dataclass(frozen=True, slots=True)
class Ear:
    """Why something comes without being asked for: a command that was let pass (a subscription to one name, MONITOR,
    CLIENT TRACKING), and `Ruling.standing` of what let it."""

    args: tuple[bytes, ...]
    standing: Any


@dataclass(frozen=True, slots=True)
class Login:
    """Whom the agent is upstream. `user` is an ACL user; None where the server has one password for everybody.

    `refused` is called when the server does not take it.
    """

    user: str | None
    password: Secret
    refused: Callable[[], object] = lambda: None


@dataclass(slots=True)
class Execution:
    """EXEC and what was queued before it, in order: they run together, and so are judged as one request.

    `requests` are those of the queued commands. The ruling's masking masks the whole reply.
    """

    requests: list[Request] = field(default_factory=list)


class NotYet(Enum):
    """An answer that takes time."""

    NOT_YET = auto()


NOT_YET: Final = NotYet.NOT_YET


class CommandGate(Protocol):
    """`lockgate.wire.gate.Gate` for commands. `open` is called with `user` (`default`) and `database` (`0`)."""

    def open(self, parameters: dict[str, str]) -> Refusal | None: ...

    def understand(self, args: tuple[bytes, ...]) -> Request:
        """What the command would do. Never raises for anything a client sends."""

    def queue(self, request: Request) -> Refusal | NotYet | None:
        """The command is about to be queued inside MULTI, and will be judged again at EXEC. Recorded as prepared.

        A refusal when it would be denied whatever stands around it. NOT_YET: wait for `Session.resume`, and then
        understand it anew.
        """

    def whole(self, execution: Execution) -> Request:
        """EXEC's request: the statements of all that was queued."""

    def run(self, request: Request, *, in_transaction: bool) -> Ruling | None:
        """The command (or EXEC) is about to run. None: wait for `Session.resume`. Without refusal it is recorded.

        `in_transaction` says that keys are watched or commands are queued. AUTH, HELLO and SELECT are asked about too,
        and so are MULTI, DISCARD and RESET; where the agent has a `Login`, AUTH is not, and HELLO comes without it.
        """

    def overtaken(self, run: Run) -> Ruling | None:
        """The datastore's mode has become enforce while the answer to `run` is owed: what that goes through, in the
        place of `run.ruling`. None where it would not be let pass now."""

    def heard(self, ear: Ear, channel: bytes | None) -> ReplyMask | Refusal | None:
        """Something has come because of `ear`; asked each time, since rules and who asks may be others by now.

        `channel` is the one that a message came on, whatever pattern it was subscribed to by; None for what is no
        message. What masks it (all of it, as it came), None where it passes. A refusal where the command would not be
        let pass any more: then nothing of it may be shown, and the connection ends.
        """

    def settle(self, run: Run) -> None:
        """As `lockgate.wire.gate.Gate.settle`; outcomes are completed, error, disconnected, broken, unread."""

    def became(self, *, user: str | None = None, database: int | None = None) -> None:
        """The server took AUTH, HELLO, SELECT or RESET: what comes next is asked by this user, in this database.

        None for what stays as it was. Also said of the agent's own user, where it has a `Login`.
        """

    def intercepted(self, host: str, port: int) -> bool:
        """Whether a connection that the client makes to there, as a redirection tells it, will come to the agent.

        `host` is a name or an address, as the server says it; empty for the one that this connection was made to.
        """
