"""A spool to test with: small, its clock in the test's hand."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lockgate.audit import record
from lockgate.audit.chain import Verification, verify
from lockgate.audit.segment import ENTRY_PREFIX, SUFFIX, entries, read_header
from lockgate.audit.spool import Spool
from lockgate.config import SpoolSettings
from lockgate.identity.keys import HostKey

HOST = "host-1"
KEY = HostKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
"""The same in every process: some write in one and are verified in another."""
SMALL = SpoolSettings(max_bytes=64 * 1024, segment_bytes=4096)


class Clock:
    """Nanoseconds since the epoch, standing still until told."""

    def __init__(self) -> None:
        self.now = 1_790_000_000_000_000_000

    def __call__(self) -> int:
        return self.now


@contextmanager
def opened(folder: Path, settings: SpoolSettings = SMALL, clock: Clock | None = None) -> Iterator[Spool]:
    spool = Spool(folder, HOST, KEY, settings, clock or Clock())
    try:
        yield spool
    finally:
        spool.close()


@contextmanager
def files_no_larger_than(limit: int) -> Iterator[None]:
    """A write beyond `limit` bytes into a file is cut short, as on a disk that fills up in the middle of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def begin(number: int, text: str = "select 1") -> dict[str, Any]:
    return {"type": "statement", "phase": "begin", "id": f"c-{number}", "statement": text, "verdict": "allow"}


def end(number: int) -> dict[str, Any]:
    return {"type": "statement", "phase": "end", "id": f"c-{number}", "outcome": "completed", "duration_us": 5}


def put(spool: Spool, *many: dict[str, Any]) -> None:
    for fields in many:
        spool.append(fields)
    spool.commit()


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def on_disk(folder: Path) -> list[bytes]:
    """The records in the files, as someone without a spool would read them. Fails on anything not whole."""
    found = []
    for path in segments(folder):
        data = path.read_bytes()
        stop = read_header(data)[1]
        for start, stop in entries(data, stop):  # noqa: B020
            found.append(data[start + ENTRY_PREFIX : stop])
        assert stop == len(data), f"{path} has a torn end"
    return found


def verified(folder: Path) -> Verification:
    result = verify(HOST, on_disk(folder), KEY.jwks())
    assert result.ok, result.problems
    return result


def ids(records: list[bytes]) -> list[str]:
    """`c-1b` for a begin, `c-1e` for an end, `seal` for a seal."""
    return [
        fields["type"] if "id" not in fields else fields["id"] + fields["phase"][0]
        for fields in map(record.decode, records)
    ]
