"""Subscriptions: who listens to what, how many answers a command has, and which message is of which.

SUBSCRIBE has an answer for each channel; UNSUBSCRIBE without channels one for each that was subscribed to, or one of
nothing (pubsub.c). In RESP2 answers and messages are arrays among the replies, and what else may be sent is confined;
in RESP3 they are pushes. A shard channel may also be taken away by the server, when its slot moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from lockgate.wire.gate import ProtocolError, Run
from lockgate.wire.redis.conversation import Awaited, Conversation
from lockgate.wire.redis.gate import Ear

if TYPE_CHECKING:
    from lockgate.wire.redis.commands import Commands

SUBSCRIPTIONS: Final = 65_536
"""Channels and patterns that one connection may listen to."""
NAMES_BYTES: Final = 16 * 1024 * 1024
"""And their names together: as much as a command may have."""

CONFINED: Final = frozenset((b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE",
                             b"SUNSUBSCRIBE", b"PING", b"QUIT", b"RESET"))  # fmt: skip
"""What Redis takes in RESP2 while there are subscriptions (server.c, `processCommand`)."""

_SUBSCRIBED: Final = {b"subscribe": 0, b"psubscribe": 1, b"ssubscribe": 2}
_COMMANDS: Final = {word: word.upper() for word in _SUBSCRIBED}
_UNSUBSCRIBED: Final = {b"unsubscribe": 0, b"punsubscribe": 1, b"sunsubscribe": 2}
CONFIRMS: Final = {**_SUBSCRIBED, **_UNSUBSCRIBED}
"""First words of answers, and which kind of subscription they are about."""
MESSAGES: Final = {b"message": 0, b"pmessage": 1, b"smessage": 2}
BY_PATTERN: Final = b"pmessage"
"""Of these one that has the channel behind what was subscribed to."""
INVALIDATIONS: Final = b"__redis__:invalidate"
"""Where a RESP2 client that listens to anything is told which keys have changed, whether it listens to this or not:
any other may have it told so (CLIENT TRACKING REDIRECT)."""
_SHARDED: Final = b"sunsubscribe"
_TAKEN_AWAY: Final = b"*3\r\n$12\r\nsunsubscribe\r\n"


class Subscriptions:
    """What the server has confirmed: channels, patterns and shard channels, each with the command that has it come."""

    __slots__ = ("_kinds", "any", "bytes", "sharded")

    def __init__(self) -> None:
        self._kinds: tuple[dict[bytes, Ear], ...] = ({}, {}, {})
        self.any = False
        self.bytes = 0
        self.sharded = False
        """Whether there ever was a shard channel."""

    @property
    def count(self) -> int:
        return sum(map(len, self._kinds))

    def __iter__(self) -> Iterator[Ear]:
        return chain.from_iterable(kind.values() for kind in self._kinds)

    def has(self, kind: int) -> bool:
        return bool(self._kinds[kind])

    def unasked(self, kind: int, name: bytes | None) -> bool:
        """Whether it is a message that somebody else had the server send here."""
        return name == INVALIDATIONS and name not in self._kinds[kind]

    def ear(self, kind: int, name: bytes | None) -> Ear:
        """Because of what a message of it comes. Raises ProtocolError when nobody has subscribed to that."""
        if name is None or name not in self._kinds[kind]:
            raise ProtocolError("the server sent a message of a channel that nobody listens to")
        return self._kinds[kind][name]

    def confirm(self, word: bytes, name: bytes, standing: Any) -> None:
        """The server has answered `word` (`subscribe`, `psubscribe`, `ssubscribe`) about `name`, let pass by that."""
        kind = self._kinds[CONFIRMS[word]]
        if name not in kind:
            self.bytes += len(name)
        kind[name] = Ear((_COMMANDS[word], name), standing)
        self.sharded = self.sharded or word == b"ssubscribe"
        self.any = True

    def gone(self, word: bytes, name: bytes | None) -> None:
        """The same of `unsubscribe` and its like."""
        if name is not None and self._kinds[CONFIRMS[word]].pop(name, None) is not None:
            self.bytes -= len(name)
        self.any = any(self._kinds)

    def clear(self) -> None:
        """RESET: the server has forgotten them, and says nothing of each."""
        for kind in self._kinds:
            kind.clear()
        self.any = False
        self.bytes = 0


class Subscribing(Awaited):
    """A command of this family. `names` are those that are still to be confirmed, in order; None: all there are."""

    __slots__ = ("_standing", "names", "word")

    def __init__(self, run: Run, word: bytes, names: tuple[bytes, ...]) -> None:
        super().__init__(run)
        self._standing = run.ruling.standing
        self.word = word
        self.names = list(reversed(names)) if names else None

    def take(self, conversation: Conversation, reply: bytes) -> bytes:
        """Only a refusal is one reply like any."""
        if reply[:1] not in (b"-", b"!"):
            raise ProtocolError("the server answered a subscription with something else")
        return reply

    def confirmed(self, subscriptions: Subscriptions, word: bytes, name: bytes | None) -> bool:
        """One confirmation has come. Whether it was the last. Raises ProtocolError for one of something else."""
        if self.names is None:
            if word in _SUBSCRIBED:
                raise ProtocolError("the server confirmed a subscription that names nothing")
            subscriptions.gone(word, name)
            return name is None or not subscriptions.has(CONFIRMS[word])
        if name is None or name != self.names[-1]:
            raise ProtocolError("the server confirmed a subscription that was not asked for")
        if word in _SUBSCRIBED:
            subscriptions.confirm(word, name, self._standing)
        else:
            subscriptions.gone(word, name)
        self.names.pop()
        return not self.names

    def concerns(self, word: bytes, name: bytes | None) -> bool:
        """Whether a confirmation is of this one."""
        return word == self.word and (self.names is None or name == self.names[-1])


def subscribe(commands: Commands, args: tuple[bytes, ...]) -> None:
    """(P|S)SUBSCRIBE and (P|S)UNSUBSCRIBE: what comes behind waits for all the answers."""
    conversation = commands.conversation
    word, names = args[0].lower(), args[1:]
    if conversation.queue is not None:
        commands.refuse("lockgate: subscriptions can't change inside MULTI")
        return
    if word in _SUBSCRIBED:
        subscriptions = conversation.subscriptions
        weight = subscriptions.bytes + sum(map(len, names))
        if subscriptions.count + len(names) > SUBSCRIPTIONS or weight > NAMES_BYTES:
            commands.refuse(f"lockgate: more than {SUBSCRIPTIONS} subscriptions, or names of {NAMES_BYTES} bytes")
            return
        if not names:
            commands.refuse(f"wrong number of arguments for '{word.decode()}' command")
            return
    commands.ask(args, lambda run: Subscribing(run, word, names), barrier=True)


def taken_away(word: bytes, awaited: Run | Awaited | None, name: bytes | None) -> bool:
    """Whether a confirmation that isn't of what is awaited may be the server's own doing."""
    return word == _SHARDED and not (isinstance(awaited, Subscribing) and awaited.concerns(word, name))


def may_be_taken_away(reply: bytes | bytearray) -> bool:
    """Whether a reply, or what has come of it, looks like the server's own doing, late.

    Between an unasked confirmation and the one that was asked for there is no difference, so that one too many may
    come: with it, every reply behind it would be taken for that of another command.
    """
    return reply[: len(_TAKEN_AWAY)] == _TAKEN_AWAY[: len(reply)]
