"""The Forward listener: what agents and relays send goes to the store, and is acknowledged once it is durable."""

from __future__ import annotations

import asyncio
import logging
import sqlite3

from lockgate.audit.record import RecordError
from lockgate.collector.forward import Decoder, Malformed, acknowledgement
from lockgate.collector.writer import Writer

CONNECTIONS = 10_000
"""Peers at once; a peer over it is closed at once and tries again."""
HELD_BYTES = 512 * 1024 * 1024
"""Of messages that have begun and not ended, of all peers together: sixteen of the largest. The peer that goes over it
is closed and tries again."""
READ_BYTES = 256 * 1024
STALL_SECONDS = 60.0
"""How long a peer may stop in the middle of a message. Between messages it may be silent for as long as it likes."""

log = logging.getLogger(__name__)


class Ingest:
    """`await start(host, port)`, then `await close()`. `rejected` counts connections closed for what they sent."""

    def __init__(self, writer: Writer, stall_seconds: float = STALL_SECONDS) -> None:
        self.rejected = 0
        self._writer = writer
        self._stall = stall_seconds
        self._held = 0
        self._peers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        return len(self._peers)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listens; returns the address. Raises OSError when it is taken."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=READ_BYTES)
        address = self._server.sockets[0].getsockname()
        return address[0], address[1]

    async def close(self) -> None:
        """Stops listening and ends the connections. What wasn't acknowledged is sent again by its sender."""
        if self._server is None:
            return
        self._server.close()
        for peer in self._peers:
            peer.cancel()
        await asyncio.gather(*self._peers, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._peers) >= CONNECTIONS:
            log.warning("peer %s refused: %d are connected", writer.get_extra_info("peername"), CONNECTIONS)
            writer.close()
            return
        # a task of our own: the one that asyncio makes for a coroutine complains when it is cancelled (3.11)
        peer = asyncio.create_task(self._guard(reader, writer))
        self._peers.add(peer)
        peer.add_done_callback(self._peers.discard)

    async def _guard(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = writer.get_extra_info("peername")
        try:
            await self._serve(reader, writer)
        except (Malformed, RecordError) as error:
            self.rejected += 1
            log.warning("peer %s closed: %s", name, error)
        except TimeoutError:
            self.rejected += 1
            log.warning("peer %s closed: it stopped in the middle of a message", name)
        except sqlite3.Error as error:
            # not acknowledged, so nothing is lost: the sender keeps it and comes again
            log.error("peer %s closed: the store failed: %s", name, error)
        except ConnectionError:
            log.info("peer %s went away", name)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = Decoder()
        held = 0
        try:
            while True:
                async with asyncio.timeout(self._stall if held else None):
                    data = await reader.read(READ_BYTES)
                if not data:
                    return
                batches = decoder.feed(data)
                self._held += decoder.held - held
                held = decoder.held
                if self._held > HELD_BYTES:
                    raise Malformed(f"messages under way have more than {HELD_BYTES} bytes together")
                for batch in batches:
                    await self._writer.ingest(batch.records)
                    if batch.chunk is not None:
                        writer.write(acknowledgement(batch.chunk))
                        async with asyncio.timeout(self._stall):
                            await writer.drain()
        finally:
            self._held -= held
