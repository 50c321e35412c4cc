"""Ships the spool to the collector over Fluent Forward, at least once, in order.

Source: Forward-Protocol-Specification-v1 (fluent/fluentd wiki): PackedForward messages with the `chunk` option, each
sent again, under the same chunk, until its `ack` comes. One message is on its way at a time, so the records arrive in
the order of the chain. The shared-key handshake (HELO) is not spoken.

Nothing is sent before it is on the medium (unless `fsync: never`): a power cut could else take back records that the
collector has, and the chain, going on from before them, would look forked.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgpack
import msgspec

from lockgate.audit.errors import SpoolDamaged, SpoolError
from lockgate.audit.journal import Batch
from lockgate.audit.spool import Spool
from lockgate.config import split_address

BATCH_BYTES = 256 * 1024
"""About what one message carries: cutting it from the spool holds up the loop for a third of a millisecond. A larger
record goes alone. Fluent Bit's own chunks are up to 2 MiB."""

LINGER_SECONDS = 0.2
"""How long a record waits for company before it is synced and sent: at most five syncs a second."""

CONNECT_SECONDS = 5.0
ACK_SECONDS = 60.0
"""For sending a message and getting its ack. Fluentd's `ack_response_timeout` is 190 s; its acks wait for a flush."""

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 15.0
"""Between attempts the delay doubles from one to the other, less up to a half at random."""

ACK_BYTES = 4096
"""What may come back before it makes a whole answer: an ack has some 40 bytes."""

POSITION = "shipped"
"""The file beside the segments that says what the collector has. Lost, everything still here is sent again."""

_log = logging.getLogger(__name__)


class ForwardError(Exception):
    """The other side does not speak Forward as we need it. The message says what it did."""


class _Position(msgspec.Struct, frozen=True):
    seq: Annotated[int, msgspec.Meta(ge=1)]


class Shipper:
    """`run` ships until cancelled. `seq` is the next record to ship: the collector has acknowledged all before it.

    `error` says why nothing is getting through, and is None while it does.
    """

    def __init__(self, spool: Spool, address: str) -> None:
        """`address` is HOST:PORT. Raises ValueError."""
        self._spool = spool
        self._host, self._port = split_address(address)
        self._tag = f"lockgate.{spool.host}"
        self._position = spool.folder / POSITION
        self._synced = 0
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._committed = asyncio.Event()
        self._acknowledged = asyncio.Event()
        self.error: str | None = None
        self.seq = min(_load(self._position) or spool.first, spool.head.seq + 1)

    @property
    def waiting(self) -> int:
        """Records that the collector has not acknowledged."""
        return self._spool.head.seq + 1 - self.seq

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def run(self) -> None:
        """Ship what is there and what comes, until cancelled."""
        try:
            while True:
                await self._wait_for_records()
                failures = 0
                while not await self._ship():
                    longest = min(FIRST_DELAY_SECONDS * 2.0**failures, LONGEST_DELAY_SECONDS)
                    failures = min(failures + 1, 32)
                    await asyncio.sleep(longest * random.uniform(0.5, 1.0))
        finally:
            await self._disconnect()

    async def drained(self) -> None:
        """Wait until the collector has everything committed before this call. `run` must be running."""
        goal = self._spool.head.seq
        while self.seq <= goal:
            self._acknowledged.clear()
            await self._acknowledged.wait()

    async def _wait_for_records(self) -> None:
        if not self.waiting:
            self._committed.clear()
            self._spool.watch(self._committed.set)
            await self._committed.wait()
        if self.seq > self._synced:
            # a sync runs in a thread, which takes the interpreter from the data path: few, each for many messages
            await asyncio.sleep(LINGER_SECONDS)

    async def _ship(self) -> bool:
        """Send one message and get its ack. False: it has to be tried again."""
        try:
            batch = self._spool.read(self.seq, BATCH_BYTES)
            if batch is None:
                return True
            if batch.last > self._synced:
                head = self._spool.head.seq
                await asyncio.to_thread(self._spool.sync)
                self._synced = head
            await self._send(batch)
        except SpoolDamaged as error:
            return self._skip(error)
        except (SpoolError, ForwardError, OSError) as error:
            await self._disconnect()
            self._fail(str(error) or type(error).__name__)
            return False
        if self.error is not None:
            _log.info("records reach the collector again (%s:%d)", self._host, self._port)
            self.error = None
        self._advance(batch.last + 1)
        return True

    def _skip(self, error: SpoolDamaged) -> bool:
        """What is damaged can't be shipped: the collector will see the gap. What is behind it must not wait for it."""
        _log.error("records are lost: %s; its file is set aside", error)
        try:
            self.seq = self._spool.skip(self.seq)
        except SpoolError as failure:
            self._fail(str(failure))
            return False
        return True

    def _fail(self, why: str) -> None:
        if why != self.error:
            _log.warning("records do not reach the collector (%s:%d): %s", self._host, self._port, why)
            self.error = why

    def _advance(self, seq: int) -> None:
        """The collector has all before `seq`. On a full disk the position can't be kept; deleting makes room again."""
        self.seq = seq
        self._acknowledged.set()
        try:
            self._spool.release(seq)
            _save(self._position, seq)
        except (SpoolError, OSError) as error:
            _log.warning("the spool can't be tidied, records may be sent twice: %s", error)

    # Forward

    async def _send(self, batch: Batch) -> None:
        """Raises ForwardError, OSError (also for a timeout)."""
        if self._connection is not None and self._connection[0].at_eof():
            await self._disconnect()
        if self._connection is None:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._connection = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._connection
        chunk = chunk_of(self._spool.host, batch)
        option = {"chunk": chunk, "size": batch.last - batch.first + 1}
        async with asyncio.timeout(ACK_SECONDS):
            writer.write(msgspec.msgpack.encode((self._tag, batch.entries, option)))
            await writer.drain()
            await _acknowledgement(reader, chunk)

    async def _disconnect(self) -> None:
        if self._connection is None:
            return
        _, writer = self._connection
        self._connection = None
        # not close(): it would wait for a peer that has stopped reading
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


def chunk_of(host: str, batch: Batch) -> str:
    """The name of a message: 128 bits in base64, as the specification has it.

    It follows from what is in the message, so it stays the same when the message is sent again, also after a restart.
    """
    name = f"{host}\0{batch.first}\0{batch.last}\0".encode() + batch.hash
    return base64.b64encode(hashlib.sha256(name).digest()[:16]).decode()


async def _acknowledgement(reader: asyncio.StreamReader, chunk: str) -> None:
    """Wait for the ack of `chunk`. Raises ForwardError for anything else, OSError."""
    unpacker = msgpack.Unpacker(max_buffer_size=ACK_BYTES)
    while True:
        data = await reader.read(ACK_BYTES)
        if not data:
            raise ForwardError("closed the connection instead of acknowledging")
        try:
            unpacker.feed(data)
            answer = next(unpacker, None)
        except (ValueError, msgpack.UnpackException) as error:
            raise ForwardError(f"answered with something else than Forward: {error}") from None
        if answer is None:
            continue
        if isinstance(answer, dict) and answer.get("ack") == chunk:
            return
        if isinstance(answer, list) and answer[:1] == ["HELO"]:
            raise ForwardError("asks for a shared key (HELO), which is not supported")
        raise ForwardError("acknowledged something else than what was sent")


def _load(path: Path) -> int | None:
    """The seq in the position file; None when there is none, or none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Position).seq
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.warning("%s: %s; everything in the spool is sent again", path, error)
        return None


def _save(path: Path, seq: int) -> None:
    """Replace the position file whole. Raises OSError. Not synced: an older position only means sending twice."""
    new = path.with_name(path.name + ".new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(msgspec.json.encode(_Position(seq)))
    os.replace(new, path)
