"""A server that answers what it is told to, for what no real one says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from lockgate.wire.redis._resp import CommandReader
from tests.support.postgres import free_port
from tests.support.redis_playbook import OK, array, bulk, number, status


def described(name: str, *flags: str, arity: int = -2, keys: tuple[int, int, int] = (1, 1, 1)) -> bytes:
    """One entry of COMMAND's answer, as servers gave it before 7.0."""
    return array(bulk(name), number(arity), array(*map(status, flags)), *map(number, keys))


class Scripted:
    """`async with Scripted(GET=bulk("1")) as server:` answers `server.port`: by the name of a command, or OK.

    What a name in `held` is asked is answered once `release` was called. `heard` has all that was asked, in order;
    `clients` counts connections.
    """

    def __init__(self, answers: Mapping[str, bytes] | None = None, *, held: frozenset[str] = frozenset()) -> None:
        self.port = free_port()
        self.answers = dict(answers or {})
        self.held = held
        self.heard: list[tuple[bytes, ...]] = []
        self.clients = 0
        self._released = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()
        self._writers: set[asyncio.StreamWriter] = set()

    def release(self) -> None:
        self._released.set()

    def asked(self, name: str) -> int:
        """How often."""
        return sum(args[0].upper() == name.encode() for args in self.heard)

    async def __aenter__(self) -> Self:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._stack.callback(self._end)
        self._stack.callback(server.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def _end(self) -> None:
        self._released.set()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        self._writers.add(writer)
        commands = CommandReader(1 << 20)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                for args in commands.feed(data):
                    self.heard.append(args)
                    name = args[0].decode().upper()
                    if name in self.held:
                        await self._released.wait()
                    writer.write(self.answers.get(name, OK))
        self._writers.discard(writer)
        writer.close()
