"""The smallest I/O around a session, in front of a real PostgreSQL: asyncio streams and a gate of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

from lockgate.masking import mask_rows, skip_rows
from lockgate.wire.postgresql.gate import StatementGate
from lockgate.wire.postgresql.session import Session

READ_BYTES = 65_536


class _Kernel:
    skip_rows = staticmethod(skip_rows)
    mask_rows = staticmethod(mask_rows)


async def _serve(
    gate: StatementGate,
    port: int,
    client: asyncio.StreamReader,
    to_client: asyncio.StreamWriter,
    sessions: list[Session],
) -> None:
    session = Session(gate, _Kernel, message_bytes=1 << 24, row_bytes=1 << 26)
    sessions.append(session)
    writers = [to_client]

    async def send() -> None:
        to_client.write(session.drain_client())
        if len(writers) > 1:
            writers[1].write(session.drain_server())
        await asyncio.gather(*(w.drain() for w in writers))

    async def pump(reader: asyncio.StreamReader, take: Callable[[bytes], None], gone: Callable[[], None]) -> None:
        while not session.closing and (data := await reader.read(READ_BYTES)):
            take(data)
            await send()
        gone()

    try:
        while not session.wants_upstream and not session.closing and (data := await client.read(READ_BYTES)):
            session.client_data(data)
            await send()
        if not session.wants_upstream:
            return
        server, to_server = await asyncio.open_connection("127.0.0.1", port)
        writers.append(to_server)
        session.connected()
        await send()
        pumps = {
            asyncio.ensure_future(pump(client, session.client_data, session.client_gone)),
            asyncio.ensure_future(pump(server, session.server_data, session.server_gone)),
        }
        done, rest = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for task in done:
            task.result()
    except ConnectionError:
        session.client_gone()
    finally:
        for writer in writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.contextmanager
def passing_proxy(port: int, gate: Callable[[], StatementGate]) -> Iterator[tuple[int, list[Session]]]:
    """A proxy to 127.0.0.1:`port`, in a thread of its own: its port, and the sessions it has served.

    An error in it is raised when the block ends.
    """
    sessions: list[Session] = []
    failures: list[BaseException] = []
    started = threading.Event()
    ports: list[int] = []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.ensure_future(_serve(gate(), port, reader, writer, sessions))
        await asyncio.wait([serving])
        failure = serving.exception()
        if failure is not None:
            failures.append(failure)

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        started.set()
        await stop.wait()
        server.close()
        await server.wait_closed()
        rest = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        if rest:
            await asyncio.wait(rest)

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        started.wait(10)
        yield ports[0], sessions
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()
    if failures:
        raise failures[0]
