"""Transactions: what is queued is asked about twice, when it is queued and, all of it together, at EXEC.

Whether the server is inside MULTI decides how a command is judged, so its answer to MULTI, EXEC and DISCARD is waited
for. Commands that are refused here never reach the server: EXEC then discards what did, and answers as Redis does when
something could not be queued (multi.c, `execCommandAbort`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from lockgate.wire.gate import ProtocolError, Run
from lockgate.wire.redis import errors, frames
from lockgate.wire.redis._resp import encode_command
from lockgate.wire.redis.conversation import Awaited, Conversation
from lockgate.wire.redis.gate import Execution

if TYPE_CHECKING:
    from lockgate.wire.redis.commands import Commands

QUEUED: Final = 65_536
"""Commands that may be queued: all of them are judged at once."""

ARGUMENT_BYTES: Final = 128
"""What an argument that is queued counts for beside its own bytes: it may be a key, and empty, and there may be as many
in each command as there may be commands."""

DISCARD: Final = encode_command((b"DISCARD",))
ABORTED: Final = frames.error("EXECABORT Transaction discarded because of previous errors.")

_WITHOUT: Final = b"ERR DISCARD without MULTI"
_ENDED: Final = frozenset(("EXECABORT", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "CROSSSLOT"))
"""Errors of EXEC behind which there is no transaction any more (multi.c; server.c, `processCommand`)."""


class Begun(Awaited):
    """MULTI."""

    __slots__ = ()

    def take(self, conversation: Conversation, reply: bytes) -> bytes:
        if reply == frames.OK:
            conversation.queue = Execution()
            conversation.queued_bytes = 0
            conversation.aborted = False
            conversation.weigh()
        elif errors.text_of(reply) is None:
            raise ProtocolError("the server answered MULTI with something else")
        return reply


class Queued(Awaited):
    """A command inside MULTI: it is queued or refused, and nothing else."""

    __slots__ = ()

    def take(self, conversation: Conversation, reply: bytes) -> bytes:
        if reply != frames.QUEUED:
            if errors.text_of(reply) is None:
                raise ProtocolError("the server did not queue what was sent inside MULTI")
            conversation.aborted = True
        return reply


class Discarded(Awaited):
    """DISCARD. With `answer` it is ours, and that is what the client is told."""

    __slots__ = ("_answer",)

    def __init__(self, run: Run | None = None, answer: bytes | None = None) -> None:
        super().__init__(run)
        self._answer = answer

    def take(self, conversation: Conversation, reply: bytes) -> bytes:
        text = errors.text_of(reply)
        if reply == frames.OK or text == _WITHOUT:
            over(conversation)
        elif text is None or self._answer is not None:
            raise ProtocolError("the server did not discard a transaction")
        return reply if self._answer is None else self._answer


def over(conversation: Conversation) -> None:
    """There is no transaction any more, and nothing is watched."""
    conversation.queue = None
    conversation.queued_bytes = 0
    conversation.aborted = conversation.watching = False
    conversation.weigh()


def executed(conversation: Conversation, text: bytes | None) -> None:
    """EXEC was answered; `text` is that of an error."""
    conversation.executing = None
    over(conversation)
    if text is not None and errors.code_of(text) not in _ENDED:
        # a server of before 6.2 stays inside MULTI where its ACL refuses EXEC
        conversation.send(DISCARD, Discarded(answer=b""), barrier=True)


# what the client sends


def multi(commands: Commands, args: tuple[bytes, ...]) -> None:
    if len(args) != 1:
        commands.refuse("wrong number of arguments for 'multi' command")
    elif commands.conversation.queue is not None:
        commands.refuse("MULTI calls can not be nested", aborts=False)
    else:
        commands.ask(args, Begun, barrier=True)


def watch(commands: Commands, args: tuple[bytes, ...]) -> None:
    conversation = commands.conversation
    if len(args) < 2:
        commands.refuse("wrong number of arguments for 'watch' command")
    elif conversation.queue is not None:
        commands.refuse("WATCH inside MULTI is not allowed", aborts=False)
    else:
        commands.ask(args, partial(_watching, conversation))


def _watching(conversation: Conversation, run: Run) -> Run:
    conversation.watching = True
    return run


def unwatch(commands: Commands, args: tuple[bytes, ...]) -> None:
    conversation = commands.conversation
    if conversation.queue is not None:
        commands.enqueue(args)
    elif len(args) != 1:
        commands.refuse("wrong number of arguments for 'unwatch' command")
    else:
        commands.ask(args, partial(_unwatching, conversation))


def _unwatching(conversation: Conversation, run: Run) -> Run:
    conversation.watching = False
    return run


def discard(commands: Commands, args: tuple[bytes, ...]) -> None:
    if len(args) != 1:
        commands.refuse("wrong number of arguments for 'discard' command")
    elif commands.conversation.queue is None:
        commands.refuse("DISCARD without MULTI")
    else:
        commands.ask(args, Discarded, barrier=True)


def execute(commands: Commands, args: tuple[bytes, ...]) -> None:
    conversation = commands.conversation
    queue = conversation.queue
    if len(args) != 1 and conversation.observed:
        commands.refuse("wrong number of arguments for 'exec' command")
    elif len(args) != 1:
        aborted = frames.error(
            "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command"
        )
        _abort(conversation, aborted)
    elif queue is None:
        commands.refuse("EXEC without MULTI")
    elif conversation.aborted and not conversation.observed:
        _abort(conversation, ABORTED)
    else:
        request = conversation.gate.whole(queue)
        commands.ask(args, partial(_executing, conversation), barrier=True, request=request,
                     refused=partial(_abort, conversation))  # fmt: skip


def _executing(conversation: Conversation, run: Run) -> Run:
    conversation.executing = run
    return run


def _abort(conversation: Conversation, answer: bytes) -> None:
    """EXEC is not sent: what was queued is discarded, and the client is told `answer`."""
    if conversation.queue is None:
        conversation.say(answer)
    else:
        conversation.send(DISCARD, Discarded(answer=answer), barrier=True)
