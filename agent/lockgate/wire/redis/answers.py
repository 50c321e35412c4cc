"""The server's half: replies are cut, each is matched with what was asked, and passed on or masked.

A reply that nothing is done to passes as it comes. One that is masked, or that the session has to read itself, is held
until it is whole, up to `row_bytes`; a longer one that is masked is withheld, and an error stands in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from lockgate.wire.gate import MaskingError, ProtocolError, Refusal, Run
from lockgate.wire.redis import errors, frames, pubsub, redirection, transaction
from lockgate.wire.redis._resp import ReplyScanner, ordinary
from lockgate.wire.redis.conversation import Alike, Awaited, Conversation
from lockgate.wire.redis.gate import Ear, ReplyMask
from lockgate.wire.redis.pubsub import Subscribing
from lockgate.wire.session import Bytes

RECONSIDERED: Final = 1024
"""Subscriptions of one connection that are asked about at once: some 20 us each, while nobody else is served."""

_ERRORS: Final = (ord("-"), ord("!"))
_HEAD_BYTES: Final = 65_536
"""How much of a message is looked at before it is held whole: channels that have longer names are none to stream."""
_PUSH: Final = ord(">")
_STATUS: Final = ord("+")
_ARRAY: Final = ord("*")
_UNQUEUED: Final = "the server queued what was not sent inside MULTI"
_INVALIDATE: Final = b"invalidate"
_UNASKED: Final = frozenset((_INVALIDATE, b"tracking-redir-broken"))


class Answers:
    """Reads the server. `freed` is called when an answer has come that commands waited for."""

    __slots__ = (
        "_conversation",
        "_data",
        "_dealt",
        "_dropping",
        "_freed",
        "_held",
        "_passing",
        "_row_bytes",
        "_run",
        "_scanner",
    )

    def __init__(self, conversation: Conversation, row_bytes: int, freed: Callable[[], None]) -> None:
        self._freed = freed
        self._conversation = conversation
        self._row_bytes = row_bytes
        self._scanner = ReplyScanner()
        self._held = bytearray()
        """What has come of a reply that isn't whole and is not passed on."""
        self._data = b""
        self._dealt = 0
        """Up to where what is being read has been dealt with."""
        self._passing = False
        """Whether the reply that isn't whole is passed on as it comes."""
        self._run: Run | None = None
        """Whose it is, where it isn't a push."""
        self._dropping = False
        """Whether the rest of it is left out: the client was told why."""

    @property
    def held(self) -> int:
        return len(self._held)

    def take(self) -> bytes:
        """What has come and was not passed on, taken."""
        rest = bytes(self._held) + self._data[self._dealt :]
        self._held.clear()
        self._data, self._dealt = b"", 0
        return rest

    def feed(self, data: Bytes) -> None:
        """Bytes from the server. Raises ProtocolError."""
        whole = self._data = bytes(data)
        self._dealt, size = 0, len(whole)
        stops = self._scanner.scan(whole, 0, size)
        if self._passing or self._dropping or self._held:
            self._continue(whole, stops)
            del stops[:1]
        if stops and self._conversation.over is None:
            self._complete(whole, stops, self._dealt)
        if self._conversation.over is not None:
            return
        broken = self._scanner.broken
        if broken is not None:
            raise ProtocolError(f"the server's reply can't be read: {broken}")
        if self._dealt < size:
            self._held += whole[self._dealt :]
            self._dealt = size
            self._decide()
        self._data = b""

    def reconsider(self) -> None:
        """Ask again about what comes without being asked for. What isn't asked about here is once something comes."""
        conversation = self._conversation
        told = [ear for ear in (conversation.monitor, conversation.tracking) if ear is not None]
        for ear in (*told, *islice(conversation.subscriptions, RECONSIDERED)):
            self._heard(ear, None)
            if conversation.over is not None:
                return

    # replies that are whole

    def _complete(self, data: bytes, stops: list[int], at: int) -> None:
        """The replies from `at` on."""
        conversation = self._conversation
        pending, to_client = conversation.pending, conversation.to_client
        settle = conversation.gate.settle
        usual, barrier = self._usual, conversation.barrier
        passed = at
        try:
            index = 0
            while index < len(stops):
                count, due = 0, pending[0] if usual and pending else None
                if type(due) is Alike:
                    count, stop = ordinary(data, at, stops, index, due.left)
                    if count:
                        conversation.passed(due, count)
                        conversation.gate.settle_followed(due.ruling, count, stop - at)
                elif (
                    type(due) is Run
                    and due is not barrier
                    and due.ruling.masking is None
                    and due.ruling.rehearsal is None
                ):
                    count, stop = ordinary(data, at, stops, index, 1)
                    if count:
                        pending.popleft()
                        due.bytes = stop - at
                        due.outcome = "completed"
                        due.settled = True
                        settle(due)
                if count:
                    index += count
                    at = stop
                    if conversation.said:
                        to_client.append(data[passed:at])
                        passed = at
                        conversation.speak()
                        if conversation.over is not None:
                            return
                    continue
                stop, first = stops[index] >> 8, stops[index] & 255
                index += 1
                if at > passed:
                    to_client.append(data[passed:at])
                    passed = at
                self._one(data[at:stop], first)
                passed = at = stop
                conversation.speak()
                if conversation.over is not None:
                    return
                if barrier is not None and conversation.barrier is None:
                    self._freed()
                usual, barrier = self._usual, conversation.barrier
        finally:
            if at > passed:
                to_client.append(data[passed:at])
            self._dealt = at

    @property
    def _usual(self) -> bool:
        """Whether a reply that isn't a push is the answer to what is due."""
        conversation = self._conversation
        return not (conversation.unusual or conversation.subscriptions.sharded)

    def _one(self, reply: bytes, first: int) -> None:
        """A whole reply: what of it the client sees is said."""
        conversation = self._conversation
        first &= ~frames.ATTRIBUTES
        if first == _PUSH:
            self._push(reply)
        elif first == _ARRAY and (conversation.confined or self._confirming):
            self._confined(reply)
        elif conversation.monitoring and first == _STATUS and reply[1:2].isdigit():
            self._told(reply, conversation.monitor)
        else:
            self._answer(reply, first)

    @property
    def _confirming(self) -> bool:
        """Whether an array may be the answer to a subscription."""
        conversation = self._conversation
        return conversation.resp == 2 and bool(conversation.pending) and type(conversation.pending[0]) is Subscribing

    def _shown(self, reply: bytes) -> None:
        if reply:
            self._conversation.to_client.append(reply)

    def _answer(self, reply: bytes, first: int) -> None:
        conversation = self._conversation
        if not conversation.pending and first in _ERRORS and not conversation.observed:
            # Redis says so of itself before it closes: too many clients, protected mode
            self._shown(reply)
            conversation.over = "disconnected"
            return
        awaited = conversation.next()
        text = errors.text_of(reply)
        if text is None and first in _ERRORS:
            raise ProtocolError("the server's error has attributes")
        if isinstance(awaited, Awaited):
            shown = awaited.take(conversation, reply)
            if text is not None and shown is reply and redirection.is_redirection(text):
                shown = self._redirected(reply, text)
            run = awaited.run
        else:
            shown, run = self._passable(awaited, reply, text), awaited
        conversation.answered()
        if run is not None:
            if run is conversation.executing:
                transaction.executed(conversation, text)
            run.bytes += len(reply)
            self._end(run, text)
        self._shown(shown)

    def _passable(self, run: Run, reply: bytes, text: bytes | None) -> bytes:
        """The reply to an ordinary command, as it may be shown. `text` is that of an error."""
        if reply == frames.QUEUED:
            raise ProtocolError(_UNQUEUED)
        if self._conversation.subscriptions.sharded and pubsub.may_be_taken_away(reply):
            raise ProtocolError("the server's reply may be one too many")
        if text is not None and redirection.is_redirection(text):
            return self._redirected(reply, text)
        if run.ruling.masking is not None:
            return self._masked(run, run.ruling.masking, reply)
        if run.ruling.rehearsal is not None:
            self._rehearse(run, run.ruling.rehearsal, reply)
        return reply

    def _end(self, run: Run, text: bytes | None) -> None:
        if text is not None:
            run.error = errors.code_of(text)
        self._conversation.settle(run, "completed" if run.error is None else "error")

    def _redirected(self, reply: bytes, text: bytes) -> bytes:
        found = redirection.address(text)
        if self._conversation.observed:
            return reply
        if found is not None and self._conversation.gate.intercepted(*found):
            return reply
        return redirection.elsewhere(found)

    def _masked(self, run: Run, masking: ReplyMask, reply: bytes) -> bytes:
        try:
            if len(reply) > self._row_bytes:
                raise MaskingError(self._longer)
            shown, cells, found = masking.mask(reply, resp3=self._conversation.resp == 3)
        except MaskingError as error:
            run.error = errors.DENIED
            return withheld(str(error))
        run.masked_cells += cells
        for kind, count in found.items():
            run.detected[kind] = run.detected.get(kind, 0) + count
        return shown

    def _rehearse(self, run: Run, masking: ReplyMask, reply: bytes) -> None:
        try:
            if len(reply) > self._row_bytes:
                raise MaskingError(self._longer)
            masking.mask(reply, resp3=self._conversation.resp == 3)
        except MaskingError as error:
            run.withheld = str(error)

    def _told(self, push: bytes, ear: Ear | None, channel: bytes | None = None) -> None:
        """What nobody asked for at this moment is said as it may be shown: nothing of it where that can't be told."""
        masking = None if ear is None else self._heard(ear, channel)
        if self._conversation.over is not None:
            return
        if masking is not None:
            try:
                push = masking.mask(push, resp3=self._conversation.resp == 3)[0]
            except MaskingError:
                return
        self._shown(push)

    def _heard(self, ear: Ear, channel: bytes | None) -> ReplyMask | None:
        """What masks something that comes because of `ear`. Where it may not come any more, the connection is over.

        Without a word, as a server does it whose access list has changed (acl.c, `ACLKillPubsubClientsIfNeeded`):
        where no answer is owed many clients can't read an error. Who subscribes anew is told.
        """
        conversation = self._conversation
        found = conversation.gate.heard(ear, channel)
        if isinstance(found, Refusal):
            conversation.over = "disconnected"
            return None
        return found

    # pushes, and what takes their place in RESP2

    def _head(self, reply: bytes) -> tuple[bytes, bytes | None]:
        try:
            found = frames.head(reply, self._row_bytes)
        except ValueError as error:
            raise ProtocolError(f"the server's push can't be read: {error}") from None
        if found is None:
            raise ProtocolError("the server's push can't be read")
        return found

    def _push(self, push: bytes) -> None:
        conversation = self._conversation
        if conversation.resp == 2:
            raise ProtocolError("the server sent a push in RESP2")
        if push.startswith((b">2\r\n$10\r\ninvalidate\r\n", b">1\r\n")):
            # the second element is no name, or there is none
            word, name = _INVALIDATE if push[:2] == b">2" else push[4:].split(b"\r\n")[1], None
        else:
            word, name = self._head(push)
        if word in _UNASKED:
            self._told(push, conversation.tracking)
        elif word in pubsub.MESSAGES:
            self._published(push, word, name)
        elif word in pubsub.CONFIRMS:
            self._confirmed(push, word, name)
        else:
            raise ProtocolError("the server sent an unknown push")

    def _published(self, push: bytes, word: bytes, name: bytes | None) -> None:
        """A message, because of a subscription to `name`."""
        ear = self._conversation.subscriptions.ear(pubsub.MESSAGES[word], name)
        channel = name
        if word == pubsub.BY_PATTERN:
            try:
                channel = frames.third(push, self._row_bytes)
            except ValueError as error:
                raise ProtocolError(f"the server's push can't be read: {error}") from None
        if channel is None:
            raise ProtocolError("the server's push can't be read")
        self._told(push, ear, channel)

    def _confined(self, reply: bytes) -> None:
        """An array in RESP2 while there are subscriptions: a message, or the answer to what may be sent then."""
        conversation = self._conversation
        word, name = self._head(reply)
        if word in pubsub.MESSAGES and conversation.subscriptions.unasked(pubsub.MESSAGES[word], name):
            return
        if word in pubsub.MESSAGES:
            self._published(reply, word, name)
        elif word in pubsub.CONFIRMS:
            self._confirmed(reply, word, name)
        elif word == b"pong" and type(conversation.next()) is Run:
            self._answer(reply, _ARRAY)
        else:
            raise ProtocolError("the server answered something else than a subscribed client can ask")

    def _confirmed(self, reply: bytes, word: bytes, name: bytes | None) -> None:
        conversation = self._conversation
        subscriptions = conversation.subscriptions
        awaited = conversation.pending[0] if conversation.pending else None
        if pubsub.taken_away(word, awaited, name):
            subscriptions.gone(word, name)
        elif not isinstance(awaited, Subscribing) or awaited.word != word or awaited.run is None:
            raise ProtocolError("the server confirmed a subscription that nobody asked for")
        else:
            awaited.run.bytes += len(reply)
            if awaited.confirmed(subscriptions, word, name):
                conversation.answered()
                self._end(awaited.run, None)
        conversation.weigh()
        self._shown(reply)

    # replies that aren't whole

    def _continue(self, data: bytes, stops: list[int]) -> None:
        """More of the reply that wasn't whole."""
        conversation = self._conversation
        end = stops[0] >> 8 if stops else len(data)
        if not stops and self._scanner.broken is not None:
            return
        if self._passing:
            conversation.to_client.append(data[:end])
            if self._run is not None:
                self._run.bytes += end
        elif not self._dropping:
            self._held += data[:end]
        self._dealt = end
        if not stops:
            if not self._passing and not self._dropping:
                self._decide()
            return
        barrier = conversation.barrier
        if self._passing or self._dropping:
            self._passed()
        else:
            self._one(bytes(self._held), stops[0] & 255)
            self._held.clear()
        conversation.speak()
        if barrier is not None and conversation.barrier is None:
            self._freed()

    def _passed(self) -> None:
        """The last of a reply that was passed on, or left out, as it came."""
        conversation = self._conversation
        run, self._run = self._run, None
        self._passing = self._dropping = conversation.midway = False
        if run is not None:
            conversation.answered()
            if run is conversation.executing:
                transaction.executed(conversation, None)
            self._end(run, None)

    def _decide(self) -> None:
        """A part of a reply has come: is it passed on, or held until it is whole?"""
        conversation, first = self._conversation, self._scanner.first
        run = self._passes(first) if first else None
        if run is not None or (first and self._is_plain_message(first)):
            self._run, self._passing, conversation.midway = run, True, True
            conversation.to_client.append(bytes(self._held))
            if run is not None:
                run.bytes += len(self._held)
            self._held.clear()
        elif len(self._held) > self._row_bytes:
            self._too_long(first)

    def _passes(self, first: int) -> Run | None:
        """The run whose reply of this type goes on as it comes."""
        conversation = self._conversation
        if first in (*_ERRORS, _PUSH, _STATUS) or (first == _ARRAY and conversation.confined):
            return None
        awaited = conversation.next()
        if type(awaited) is not Run or awaited.ruling.masking is not None:
            return None
        if conversation.subscriptions.sharded and pubsub.may_be_taken_away(self._held):
            return None
        if awaited.ruling.rehearsal is not None:
            if len(self._held) <= self._row_bytes:
                return None
            awaited.withheld = self._longer
        return awaited

    def _is_plain_message(self, first: int) -> bool:
        """Whether it is a message that nothing masks."""
        conversation = self._conversation
        if not ((first == _PUSH and conversation.resp == 3) or (first == _ARRAY and conversation.confined)):
            return False
        begun = bytes(self._held[:_HEAD_BYTES])
        try:
            found = frames.head(begun, self._row_bytes)
            if found is None or found[0] not in pubsub.MESSAGES:
                return False
            channel = frames.third(begun, self._row_bytes) if found[0] == pubsub.BY_PATTERN else found[1]
        except ValueError:
            return False  # it may be one of another kind: `_push` looks at it once it is whole
        kind, name = pubsub.MESSAGES[found[0]], found[1]
        if channel is None or conversation.subscriptions.unasked(kind, name):
            return False
        masking = self._heard(conversation.subscriptions.ear(kind, name), channel)
        return masking is None and conversation.over is None

    @property
    def _longer(self) -> str:
        return f"the reply is longer than {self._row_bytes} bytes"

    def _too_long(self, first: int) -> None:
        """A reply that had to be held whole can't be."""
        conversation = self._conversation
        awaited = conversation.pending[0] if conversation.pending else None
        push = first in (0, _PUSH) or (first == _ARRAY and conversation.confined) or conversation.monitoring
        if push or type(awaited) is not Run or first in _ERRORS or awaited.ruling.masking is None:
            raise ProtocolError("the server's reply is too long to be read")
        awaited.error = errors.DENIED
        awaited.bytes += len(self._held)
        self._held.clear()
        self._shown(withheld(self._longer))
        self._run, self._dropping = awaited, True


def withheld(why: str) -> bytes:
    """What stands in place of a reply that can't be masked."""
    return frames.error(f"{errors.DENIED} lockgate: the reply is withheld: {why[: errors.MESSAGE]}")
