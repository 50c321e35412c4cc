"""What a PostgreSQL session asks of the house beside what every session asks, and how its rows are masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lockgate.values.statement import Request
from lockgate.wire.gate import Gate, Refusal


class Masking(Protocol):
    """How the result of one request is to be masked."""

    def plan(self, statement: int, fields: Sequence[Any], *, utf8: bool) -> Any:
        """A row plan for the result of the request's `statement`-th statement; None when nothing needs masking.

        `utf8` says that text is known to come in that encoding.
        Raises MaskingError when it can't be told what a column holds.
        """

    def copy(self, statement: int, columns: int, found: dict[str, int], *, binary: bool) -> CopyMask | None:
        """Masks what the request's `statement`-th statement copies out, in `columns`; None when nothing needs masking.

        Adds to `found` how much of each kind is masked in values that nobody classified. Raises MaskingError as `plan`
        does.
        """

    def said(self, text: str) -> str | None:
        """A text that the server says of the request, in an error or a notice, as it may be shown.

        None, whatever the text, when it could quote what is masked: it is then withheld whole.
        """
        return None


class CopyMask(Protocol):
    """Masks the messages of one COPY TO STDOUT on their way."""

    @property
    def held(self) -> int:
        """Bytes taken of a row that isn't whole yet."""

    def feed(self, buffer: Any, start: int, end: int) -> tuple[bytes, int, int]:
        """Take the complete messages of copied data from `start` on.

        Returns what goes in their place, the offset of the first byte that is not part of one, and the cells masked.
        Raises ValueError for what no server sends.
        """

    def finish(self) -> tuple[bytes, int]:
        """All was sent: what is left, and the cells masked in it. Raises ValueError when it is cut."""


class Watch(Protocol):
    """A look at each result: is it of the columns that the request was judged by?"""

    def check(self, description: bytes) -> None:
        """Raises MaskingError when a result with this RowDescription (its payload) has what wasn't judged."""


class RowKernel(Protocol):
    """Walks rows in bytes. `start` is a message boundary; both stop at the first byte that is not a complete row."""

    def skip_rows(self, buf: Any, start: int, end: int) -> tuple[int, int]:
        """The offset reached and the rows passed. Raises ValueError on lengths that make no sense."""

    def mask_rows(self, buf: Any, start: int, end: int, plan: Any) -> tuple[bytes, int, int, int, Mapping[str, int]]:
        """The rewritten rows, the offset reached, the rows, the cells masked, and how much of each kind was found in
        values that nobody classified. Raises ValueError likewise.
        """


class StatementGate(Gate, Protocol):
    """`lockgate.wire.gate.Gate` for statements. A ruling's `masking` is a `Masking`, its `watch` a `Watch`."""

    def understand(self, text: str) -> Request:
        """What the text would do. Never raises for any text: what can't be judged is a request with a refusal."""

    def prepare(self, request: Request, name: str) -> Refusal | None:
        """The request is about to be sent to be parsed, not run. Records it."""

    def key(self, process: int, secret: bytes) -> bytes:
        """The upstream gave this connection its cancellation key. The secret that the client is given in its place.

        It has the length of `secret`: the client may only know keys of that.
        """

    def cancel(self, process: int, secret: bytes) -> bool:
        """This connection is nothing but a request to cancel what the connection with that key runs.

        True: it is on its way, and `Session.cancelled` will tell when it was taken. The client waits for the end of the
        connection: what it runs next must not be cancelled.
        """
