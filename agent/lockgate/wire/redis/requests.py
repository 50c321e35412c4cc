"""The reader of commands, as it was thought: `_resp.pyx` is the one that runs, and tests hold it to this one.

Whatever Redis refuses is refused, in its words. Besides, what it would take: lengths without CR LF behind them, a bulk
that is longer than it says, NUL in an inline command (which it reads no further than), more than our limits.
"""

from __future__ import annotations

from typing import Final

from lockgate.wire.redis.frames import ARGUMENTS, INLINE_BYTES, LINE_BYTES, integer, split_inline, unexpected

_MOST: Final = 0x7FFFFFFF


class _Refused(Exception):
    pass


class _Incomplete(Exception):
    pass


class CommandReader:
    """Bytes in, whole commands out; nothing is allocated for what is only announced.

    `message_bytes` bounds one command as it is sent. `error` is why nothing more is read, as Redis says it behind
    `Protocol error: `: it comes after the commands that stood before it. `held` is how many bytes of a command that
    isn't whole have come.
    """

    def __init__(self, message_bytes: int) -> None:
        self.error: str | None = None
        self._message_bytes = message_bytes
        self._rest = bytearray()

    @property
    def held(self) -> int:
        return len(self._rest)

    def feed(self, data: bytes | memoryview) -> list[tuple[bytes, ...]]:
        """The commands that are whole with `data`, none of which is kept."""
        commands: list[tuple[bytes, ...]] = []
        if self.error is not None:
            return commands
        self._rest += data
        buf, pos = bytes(self._rest), 0
        try:
            while pos < len(buf):
                args, pos = self._multibulk(buf, pos) if buf[pos] == ord("*") else self._inline(buf, pos)
                if args:
                    commands.append(tuple(args))
        except _Incomplete:
            pass
        except _Refused as error:
            self.error = str(error)
        del self._rest[:pos]
        return commands

    def take(self) -> bytes:
        """What was fed and not handed over, as it was sent, taken."""
        taken = bytes(self._rest)
        self._rest.clear()
        return taken

    def _inline(self, buf: bytes, pos: int) -> tuple[list[bytes], int]:
        newline = buf.find(b"\n", pos)
        end = len(buf) if newline < 0 else newline
        if 0 in buf[pos : min(end, pos + INLINE_BYTES)]:
            raise _Refused("NUL in an inline request")
        if end - pos > INLINE_BYTES:
            raise _Refused("too big inline request")
        if newline < 0:
            raise _Incomplete
        args = split_inline(buf[pos:end].removesuffix(b"\r"))
        if args is None:
            raise _Refused("unbalanced quotes in request")
        return args, end + 1

    def _multibulk(self, buf: bytes, pos: int) -> tuple[list[bytes], int]:
        count, at = _number(buf, pos + 1, "mbulk", "multibulk")
        if count > _MOST:
            raise _Refused("invalid multibulk length")
        if count > ARGUMENTS:
            raise _Refused(f"more than {ARGUMENTS} arguments")
        used, args = at - pos, []
        for _ in range(count):
            if at == len(buf):
                raise _Incomplete
            if buf[at] != ord("$"):
                raise _Refused(unexpected(buf[at]))
            size, after = _number(buf, at + 1, "bulk", "bulk")
            if size < 0:
                raise _Refused("invalid bulk length")
            used += after - at + size + 2
            if used > self._message_bytes:
                raise _Refused(f"a command of more than {self._message_bytes} bytes")
            if len(buf) < after + size + 2:
                raise _Incomplete
            if buf[after + size : after + size + 2] != b"\r\n":
                raise _Refused("a bulk is longer than it says")
            args.append(buf[after : after + size])
            at = after + size + 2
        return args, at


def _number(buf: bytes, at: int, line: str, name: str) -> tuple[int, int]:
    """The number at `at`, and the offset behind its CR LF."""
    end = buf.find(b"\r", at, at + LINE_BYTES)
    if end < 0 and len(buf) - at >= LINE_BYTES:
        raise _Refused(f"too big {line} count string")
    if end < 0 or end + 1 >= len(buf):
        raise _Incomplete
    number = integer(buf[at:end]) if buf[end + 1] == ord("\n") else None
    if number is None:
        raise _Refused(f"invalid {name} length")
    return number, end + 2


def encode_command(args: tuple[bytes, ...]) -> bytes:
    """One command as an array of bulks: what a server is sent."""
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)
