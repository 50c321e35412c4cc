"""What the server answers, message by message: matched with what it was asked, noted, and passed on or replaced."""

from __future__ import annotations

from typing import Final

from lockgate.wire.gate import MaskingError, ProtocolError, Refusal, Run
from lockgate.wire.postgresql import errors, frames
from lockgate.wire.postgresql.conversation import (
    BIND,
    CLOSE,
    DESCRIBE,
    ENDED_BY_READY,
    EXECUTE,
    PARSE,
    QUERY,
    REFUSED_QUERY,
    SYNC,
    UNREADABLE,
    Awaited,
    Conversation,
    Owed,
    veils,
)
from lockgate.wire.postgresql.frames import parse_error, parse_fields
from lockgate.wire.postgresql.gate import CopyMask

CANT_MASK: Final = "the result can't be masked"
_PROCESS_BYTES: Final = 4
"""What a NotificationResponse begins with: who notifies."""
NOT_UTF8: Final = "lockgate: masked columns are copied in client_encoding UTF8 only, set before the statement"
_NOTHING: Final = b""
_SASL: Final = b"\0\0\0\x0a"
_INVALID_AUTHORIZATION: Final = "28"
"""The SQLSTATE class of what is wrong with a role or its password."""
_STATES: Final = frozenset((b"I", b"T", b"E"))


class Answers:
    """The handlers of one connection: each takes a payload; None passes the message on, bytes go in its place.

    All raise ProtocolError for an answer to nothing that was asked.
    """

    __slots__ = ("_conversation",)

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def _head(self) -> Awaited | None:
        pending = self._conversation.pending
        return pending[0] if pending else None

    def _expect(self, *owed: Owed) -> Awaited:
        pending = self._conversation.pending
        head = pending[0] if pending else None
        if head is None or (head.owed is not owed[0] and head.owed not in owed):
            raise ProtocolError(f"the server answered {owed[0].name.lower()} where nothing of the kind was asked")
        return head

    def parse_complete(self, _: bytes) -> bytes | None:
        awaited = self._expect(PARSE)
        self._conversation.answered()
        if awaited.statement is not None:
            self._conversation.statements.confirm(awaited.statement)
        return None

    def bind_complete(self, _: bytes) -> bytes | None:
        self._replaced(self._expect(BIND))
        return None

    def close_complete(self, _: bytes) -> bytes | None:
        awaited = self._expect(CLOSE)
        if awaited.statement is not None:
            self._conversation.statements.confirm(awaited.statement)
        self._replaced(awaited)
        return None

    def _replaced(self, awaited: Awaited) -> None:
        """A portal was made or closed: whatever had its name is gone."""
        conversation = self._conversation
        conversation.answered()
        if awaited.portal is not None:
            for portal in conversation.portals.confirm(awaited.portal):
                conversation.close(portal.run)

    def parameter_description(self, _: bytes) -> bytes | None:
        self._expect(DESCRIBE)
        return None

    def row_description(self, payload: bytes) -> bytes | None:
        head = self._expect(DESCRIBE, QUERY)
        conversation = self._conversation
        if head.owed is DESCRIBE:
            conversation.answered()
        run = head.run
        if run is not None and run.ruling.watch is not None:
            try:
                run.ruling.watch.check(payload)
            except MaskingError as error:
                run.plan, run.planned, run.error = UNREADABLE, True, errors.INSUFFICIENT_PRIVILEGE
                return self.withhold(head, str(error))
        if run is not None and run.ruling.masking is not None:
            # a portal has one statement, also when it is described again after it has run
            run.planned = True
            number = run.statement if head.owed is QUERY else 0
            utf8 = conversation.utf8 and not conversation.encoding_moved
            try:
                run.plan = run.ruling.masking.plan(number, parse_fields(payload), utf8=utf8)
            except MaskingError as error:
                run.plan, run.error = UNREADABLE, errors.INSUFFICIENT_PRIVILEGE
                return self.withhold(head, str(error))
        if run is not None and run.ruling.rehearsal is not None:
            number = run.statement if head.owed is QUERY else 0
            try:
                run.ruling.rehearsal.plan(number, parse_fields(payload), utf8=conversation.utf8)
            except MaskingError as error:
                run.withheld = str(error)
        return _NOTHING if head.ours else None

    def withhold(self, head: Awaited, why: str, code: str = errors.INSUFFICIENT_PRIVILEGE) -> bytes:
        """The result that answers `head` can't be shown: an error in its place, and nothing more until it has ended."""
        conversation = self._conversation
        if head.owed is not QUERY:
            conversation.muted_to_sync = True
            conversation.discarding = conversation.discarding or not conversation.sync_awaited()
        if conversation.muted:
            return _NOTHING
        conversation.muted = True
        return errors.error_response(Refusal(code, why))

    def no_data(self, _: bytes) -> bytes | None:
        awaited = self._expect(DESCRIBE)
        self._conversation.answered()
        if awaited.run is not None:
            awaited.run.plan, awaited.run.planned = UNREADABLE, True
        return _NOTHING if awaited.ours else None

    def command_complete(self, payload: bytes) -> bytes | None:
        conversation = self._conversation
        head = conversation.pending[0] if conversation.pending else None
        if head is None or head.run is None or (head.owed is not QUERY and head.owed is not EXECUTE):
            raise ProtocolError("the server completed what was not run")
        run = head.run
        conversation.copying_in = conversation.copying_out = False
        run.tag = tag = payload[:-1].decode("utf-8", "replace")
        run.statement += 1
        if tag.startswith("COPY "):
            count = tag[5:]
            run.rows += int(count) if count.isascii() and count.isdigit() and len(count) < 20 else 0
        if head.owed is QUERY:
            run.planned = False
        else:
            self._executed(head, run, run.error)
        return None

    def _executed(self, head: Awaited, run: Run, error: str | None) -> None:
        conversation = self._conversation
        conversation.answered()
        for names, entry in head.makes:
            names.confirm(entry)
        conversation.settle(run, "error" if error else "completed")

    def empty_query(self, _: bytes) -> bytes | None:
        head = self._expect(QUERY, EXECUTE)
        if head.owed is EXECUTE and head.run is not None:
            self._executed(head, head.run, None)
        return None

    def portal_suspended(self, _: bytes) -> bytes | None:
        awaited = self._expect(EXECUTE)
        conversation = self._conversation
        conversation.answered()
        if awaited.run is not None:
            conversation.lift(awaited.run)
            if veils(awaited.run):
                conversation.veiled = True
        return None

    def error(self, payload: bytes) -> bytes | None:
        conversation = self._conversation
        if not conversation.ready:
            return self._not_let_in(payload)
        fields = parse_error(payload)
        head = self._head()
        if fields.get("V", fields.get("S")) in ("FATAL", "PANIC"):
            return self._shown(b"E", payload, head) or self._async(b"E", payload)
        if head is None:
            raise ProtocolError("the server sent an error that answers nothing")
        if head.refusal is not None:
            replacement: bytes | None = errors.error_response(head.refusal)
        else:
            replacement = self._shown(b"E", payload, head)
        conversation.copying_in = conversation.copying_out = False
        code = fields.get("C")
        if head.owed is QUERY or head.owed is REFUSED_QUERY:
            head.failed = True
            if head.run is not None:
                head.run.error = head.run.error or code
        elif head.owed is not SYNC:
            conversation.skip_to_sync(code)
        return _NOTHING if conversation.muted else replacement

    def _not_let_in(self, payload: bytes) -> bytes | None:
        """An error before the server is ready: about a role of ours it is not in the server's words, which name it."""
        own, fields = self._conversation.authentication, parse_error(payload)
        code = fields.get("C", "")
        if own is None or not code.startswith(_INVALID_AUTHORIZATION):
            return None
        return errors.error_response(own.refused(code, fields.get("M", "")), "FATAL")

    def _shown(self, kind: bytes, payload: bytes, head: Awaited | None) -> bytes | None:
        """An error or a notice in other words, None as it stands.

        It may quote masked columns, or what is looked for in every text. What is met while parsing quotes the client's
        own text only.
        """
        if head is not None and head.owed is PARSE:
            return None
        run = None if head is None else head.run
        if self._conversation.veiled or (run is not None and veils(run)):
            return errors.without_values(kind, payload)
        masking = None if run is None else run.ruling.masking
        return None if masking is None else errors.with_texts(kind, payload, masking.said)

    def ready(self, payload: bytes) -> bytes | None:
        conversation = self._conversation
        pending = conversation.pending
        if payload not in _STATES:
            raise ProtocolError("ReadyForQuery without a state that exists")
        if not conversation.authenticated:
            raise ProtocolError("the server was ready before authentication was over")
        muted = conversation.muted
        if conversation.ready:
            head = pending[0] if pending else None
            if head is None or head.owed not in ENDED_BY_READY:
                raise ProtocolError("the server was ready where nobody had asked it to be")
            conversation.answered()
            for names, entry in head.makes:
                # of several statements, some may have run before an error
                (names.doubt if head.failed else names.confirm)(entry)
            run = head.run
            if run is not None:
                conversation.settle(run, "error" if run.error else "completed")
            if muted and (head.owed is SYNC or not conversation.muted_to_sync):
                conversation.muted = conversation.muted_to_sync = False
        conversation.ready = True
        conversation.status = payload[0]
        conversation.copying_in = conversation.copying_out = False
        if conversation.unreported:
            conversation.unreported = conversation.barrier is not None
            conversation.weigh()
        if payload == b"I" and not pending and not conversation.segment_open:
            self._at_rest()
        return frames.ready_for_query(conversation.status) if muted and not conversation.muted else None

    def _at_rest(self) -> None:
        """No transaction is open and nothing is owed: every portal has ended with its transaction."""
        conversation = self._conversation
        conversation.veiled = False
        if len(conversation.portals):
            conversation.portals.clear()
        if conversation.open_runs:
            for run in list(conversation.open_runs.values()):
                conversation.close(run)

    # what may come at any time, also while the rest is muted

    def _async(self, kind: bytes, payload: bytes) -> bytes | None:
        return frames.frame(kind, payload) if self._conversation.muted else None

    def parameter_status(self, payload: bytes) -> bytes | None:
        if not self._conversation.authenticated:
            raise ProtocolError("the server reported a setting before authentication was over")
        name, _, value = payload.rstrip(b"\0").partition(b"\0")
        if name == b"standard_conforming_strings" and value != b"on":
            raise ProtocolError("standard_conforming_strings is off: statements would be read in two ways")
        if name == b"client_encoding":
            conversation = self._conversation
            conversation.utf8 = value.upper() == b"UTF8"
            conversation.encoding_moved = conversation.encoding_moved or not conversation.utf8
            conversation.weigh()
        return self._async(b"S", payload)

    def notice(self, payload: bytes) -> bytes | None:
        shown = self._shown(b"N", payload, self._head()) if self._conversation.ready else None
        return shown or self._async(b"N", payload)

    def notification(self, payload: bytes) -> bytes | None:
        if self._conversation.deaf:
            channel, ending, _ = payload[_PROCESS_BYTES:].partition(b"\0")
            return frames.frame(b"A", payload[:_PROCESS_BYTES] + channel + ending + b"\0")
        return self._async(b"A", payload)

    # start-up

    def authentication(self, payload: bytes) -> bytes | None:
        conversation = self._conversation
        if conversation.authenticated:
            raise ProtocolError("the server asked for authentication again")
        opening, passed = conversation.version.opening(), frames.frame(b"R", payload)
        own = conversation.authentication
        if own is not None:
            reply = own.answer(payload)
            if reply:
                conversation.to_server.append(reply)
            conversation.authenticated = own.accepted
            return opening + passed if own.accepted else opening
        conversation.authenticated = payload == b"\0\0\0\0"
        if payload.startswith(_SASL) and b"-PLUS\0" in payload:
            passed = _without_channel_binding(payload)
            conversation.binding_withheld = True
        return opening + passed

    def negotiated(self, payload: bytes) -> bytes | None:
        self._conversation.version.negotiated(payload)
        return _NOTHING

    def key(self, payload: bytes) -> bytes | None:
        conversation = self._conversation
        if conversation.ready or not conversation.authenticated or len(payload) < 4:
            raise ProtocolError("the server gave a cancellation key out of turn")
        process, secret = int.from_bytes(payload[:4], "big"), payload[4:]
        conversation.version.check_secret(secret)
        return frames.key_data(process, conversation.gate.key(process, secret))

    # copies

    def copy_in(self, _: bytes) -> bytes | None:
        head = self._expect(QUERY, EXECUTE)
        conversation = self._conversation
        if conversation.held is not head:
            # what stands behind it may have been read as part of the copy, or not
            raise ProtocolError("the server began a COPY FROM STDIN that nobody asked for")
        if conversation.muted:
            # the client was told of an error, and will never send data
            conversation.to_server.append(frames.copy_fail("lockgate: the result can't be shown"))
        else:
            conversation.copying_in = True
        return None

    def copy_out(self, payload: bytes) -> bytes | None:
        head = self._expect(QUERY, EXECUTE)
        conversation = self._conversation
        run = head.run
        if run is None or len(payload) < 3:
            raise ProtocolError("the server began to copy what nobody asked for")
        conversation.copying_out = True
        run.copy = None
        if run.ruling.rehearsal is not None:
            statement = run.statement if head.owed is QUERY else 0
            columns = int.from_bytes(payload[1:3], "big")
            try:
                run.ruling.rehearsal.copy(statement, columns, {}, binary=payload[0] != 0)
            except MaskingError as error:
                run.withheld = str(error)
        if run.ruling.masking is not None:
            columns = int.from_bytes(payload[1:3], "big")
            try:
                if conversation.wary or (run.ruling.barrier and run.statement):
                    # also what ran before it in one text may have changed that, and the server has not said so yet
                    raise MaskingError(NOT_UTF8)
                statement = run.statement if head.owed is QUERY else 0
                run.copy = run.ruling.masking.copy(statement, columns, run.detected, binary=payload[0] != 0)
            except MaskingError as error:
                run.error = errors.INSUFFICIENT_PRIVILEGE
                return self.withhold(head, str(error))
        return None

    def copy_done(self, _: bytes) -> bytes | None:
        conversation = self._conversation
        if not conversation.copying_out:
            raise ProtocolError("the server ended a copy that it had not begun")
        conversation.copying_out = False
        run = conversation.pending[0].run
        if run is None or run.copy is None or conversation.muted:
            return None
        try:
            copy: CopyMask = run.copy
            rest, cells = copy.finish()
        except ValueError as error:
            raise ProtocolError(f"the server sent what can't be masked: {error}") from None
        run.masked_cells += cells
        return rest + frames.frame(b"c")


def _without_channel_binding(payload: bytes) -> bytes:
    """AuthenticationSASL as a server without TLS sends it: SCRAM bound to the server's TLS is not for a client that has
    none of its own, and libpq gives up where it is offered (fe-auth.c, pg_SASL_init). Raises ProtocolError."""
    mechanisms = [name for name in payload[4:].split(b"\0") if name and not name.endswith(b"-PLUS")]
    if not mechanisms:
        raise ProtocolError("the server offers no authentication but one that is bound to its TLS")
    return frames.frame(b"R", _SASL + b"".join(name + b"\0" for name in mechanisms) + b"\0")


HANDLERS: Final = {
    ord("R"): Answers.authentication,
    ord("K"): Answers.key,
    ord("v"): Answers.negotiated,
    ord("1"): Answers.parse_complete,
    ord("2"): Answers.bind_complete,
    ord("3"): Answers.close_complete,
    ord("t"): Answers.parameter_description,
    ord("T"): Answers.row_description,
    ord("n"): Answers.no_data,
    ord("C"): Answers.command_complete,
    ord("I"): Answers.empty_query,
    ord("s"): Answers.portal_suspended,
    ord("E"): Answers.error,
    ord("Z"): Answers.ready,
    ord("S"): Answers.parameter_status,
    ord("N"): Answers.notice,
    ord("A"): Answers.notification,
    ord("G"): Answers.copy_in,
    ord("H"): Answers.copy_out,
    ord("c"): Answers.copy_done,
}
