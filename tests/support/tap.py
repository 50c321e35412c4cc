"""Somebody on the wire: passes every byte on between whoever connects and a server, and keeps what was said."""

from __future__ import annotations

import asyncio
from types import TracebackType

from lockgate.values.identity import Endpoint


class Tap:
    """`async with Tap(server) as tap:` listens at `tap.endpoint`. `heard` is what each connection sent, in order.

    `answer` stands for the server's first answer where it is given: what somebody who strips TLS says.
    """

    def __init__(self, server: Endpoint, answer: bytes | None = None) -> None:
        self.heard: list[bytes] = []
        self._upstream = server
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Tap:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.endpoint = Endpoint("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = len(self.heard)
        self.heard.append(b"")
        onward = await asyncio.open_connection(self._upstream.host, self._upstream.port)
        self._writers += [writer, onward[1]]
        try:
            if self._answer is not None:
                self.heard[number] += await reader.read(65536)
                writer.write(self._answer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, onward[1], number))
                group.create_task(self._pump(onward[0], writer, None))
        except* ConnectionError:
            pass  # one of the two went
        finally:
            writer.close()
            onward[1].close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int | None) -> None:
        while data := await reader.read(65536):
            if number is not None:
                self.heard[number] += data
            writer.write(data)
            await writer.drain()
        writer.close()
