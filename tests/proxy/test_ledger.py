"""When records reach the disk: before what goes forward, and together with others when something has happened."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.audit._forms import Form
from lockgate.audit.errors import SpoolError
from lockgate.audit.record import decode
from lockgate.audit.spool import Spool, Write
from lockgate.config import SpoolSettings
from lockgate.identity.keys import HostKey
from lockgate.metrics import Metrics
from lockgate.proxy.ledger import Ledger
from tests.audit.spooling import on_disk

END = {"type": "statement", "phase": "end", "id": "c-1", "outcome": "completed", "duration_us": 1}
BEGIN = {"type": "statement", "phase": "begin", "id": "c-2", "statement": "SELECT 1"}


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    key = HostKey.load_or_create(tmp_path / "keys" / "host.key")
    opened = Spool(tmp_path / "spool", "host-1", key, SpoolSettings(fsync="never"))
    yield opened
    opened.close()


def lost(metrics: Metrics) -> int:
    line = next((x for x in metrics.text().decode().splitlines() if 'reason="end-not-recorded"' in x), "x 0")
    return int(float(line.rpartition(" ")[2]))


def test_what_goes_forward_is_written_at_once(spool: Spool) -> None:
    assert Ledger(spool, Metrics([])).now(BEGIN) is None
    assert spool.head.seq == 1


def test_what_has_happened_is_written_soon_whether_or_not_anything_begins(spool: Spool) -> None:
    async def soon() -> tuple[int, int, list[dict[str, Any]]]:
        ledger = Ledger(spool, Metrics([]))
        ledger.soon(END)
        ledger.completed("c-9", 5, 77)
        during = spool.head.seq
        written = asyncio.Event()
        spool.watch(written.set)
        await asyncio.wait_for(written.wait(), 10)
        return during, spool.head.seq, records(spool)

    before, after, told = asyncio.run(soon())
    assert (before, after) == (0, 2)
    last = {key: told[-1][key] for key in ("type", "phase", "outcome", "id", "rows", "bytes", "duration_us")}
    assert last == {"type": "statement", "phase": "end", "outcome": "completed", "id": "c-9", "rows": 0, "bytes": 5,
                    "duration_us": 77}  # fmt: skip


def test_it_is_written_when_the_agent_says_so(spool: Spool) -> None:
    async def stop() -> int:
        ledger = Ledger(spool, Metrics([]))
        ledger.soon(END)
        ledger.flush()
        return spool.head.seq

    assert asyncio.run(stop()) == 1


def test_it_is_written_with_the_next_beginning_and_before_it(spool: Spool) -> None:
    async def turn() -> int:
        ledger = Ledger(spool, Metrics([]))
        ledger.soon(END)
        assert ledger.now(BEGIN) is None
        return spool.head.seq

    assert asyncio.run(turn()) == 2


def test_a_disk_that_takes_nothing_refuses_the_one_and_counts_the_other(spool: Spool) -> None:
    metrics = Metrics([])

    async def turn() -> None:
        ledger = Ledger(spool, metrics)
        ledger.soon(END)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
        try:
            refusal = ledger.now(BEGIN)
            assert refusal is not None
            assert "can't be recorded" in refusal.message
            assert lost(metrics) == 1
            ledger.soon(END)
            ledger.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert lost(metrics) == 2
        assert ledger.now(BEGIN) is None

    asyncio.run(turn())
    assert spool.head.seq == 1


def test_text_that_nothing_can_encode_is_refused(spool: Spool) -> None:
    assert Ledger(spool, Metrics([])).now(BEGIN | {"statement": "\ud800"}) is not None
    assert spool.head.seq == 0


# what is observed goes on without a record


def missed(metrics: Metrics) -> int:
    line = next(x for x in metrics.text().decode().splitlines() if x.startswith("lockgate_unrecorded_total"))
    return int(float(line.rpartition(" ")[2]))


def records(spool: Spool) -> list[dict[str, Any]]:
    return [decode(raw) for raw in on_disk(spool.folder)]


def test_what_goes_on_without_a_record_is_owned_up_to_once(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics([])
    ledger = Ledger(spool, metrics)
    assert ledger.try_now(BEGIN)
    for _ in range(3):
        assert not ledger.try_now(BEGIN | {"statement": "\ud800"})
    assert missed(metrics) == 3
    assert len([r for r in caplog.records if "without being recorded" in r.getMessage()]) == 1
    assert ledger.try_now(BEGIN)
    assert [r.get("count") for r in records(spool)] == [None, None, 3]
    told = records(spool)[2]
    assert (told["type"], told["event"]) == ("agent", "unrecorded")
    assert "surrogates not allowed" in told["detail"]
    ledger.own_up()
    assert ledger.try_now(BEGIN)
    assert len(records(spool)) == 4, "there is nothing more to own up to"


def test_a_spool_without_room_is_not_filled_with_owning_up(tmp_path: Path) -> None:
    key = HostKey.load_or_create(tmp_path / "keys" / "host.key")
    opened = Spool(
        tmp_path / "full", "host-1", key, SpoolSettings(fsync="never", max_bytes=60_000, segment_bytes=9_000)
    )
    ledger = Ledger(opened, Metrics([]))
    long = BEGIN | {"statement": "x" * 4000}
    while ledger.try_now(long):
        pass
    assert not opened.roomy
    before = opened.head.seq
    assert ledger.try_now(BEGIN), "what is short may still fit"
    ledger.own_up()
    assert opened.head.seq == before + 1
    opened.release(opened.head.seq)
    assert opened.roomy
    ledger.own_up()
    assert records(opened)[-1]["count"] == 1
    opened.close()


def beginning(ledger: Ledger) -> Form:
    """That of records like BEGIN, which differ in their statement."""
    return ledger.form({key: value for key, value in BEGIN.items() if key != "statement"}, ("statement",))


def full(*_: object) -> None:
    raise SpoolError("no space left")


def staged(ledger: Ledger, text: str) -> Write:
    write = ledger.stage(beginning(ledger), (text,))
    assert isinstance(write, Write)
    return write


def test_what_is_staged_shares_one_write_that_comes_before_it_is_sent(spool: Spool) -> None:
    ledger = Ledger(spool, Metrics([]))
    write, *others = [staged(ledger, "SELECT 1") for _ in range(16)]
    assert all(other is write for other in others)
    assert spool.head.seq == 0
    assert ledger.written(write) is None
    assert spool.head.seq == 16
    assert [record["id"] for record in records(spool)] == ["c-2"] * 16


def test_what_was_staged_for_a_write_that_failed_is_not_sent(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever's write it was: a refusal between two commands of a pipeline is written at once."""
    metrics = Metrics([])
    ledger = Ledger(spool, metrics)
    write = staged(ledger, "SELECT 1")
    with monkeypatch.context() as patched:
        patched.setattr(spool._journal, "write", full)
        assert ledger.now(BEGIN) is not None
    refusal = ledger.written(write)
    assert refusal is not None
    assert "can't be recorded, so it is not sent" in refusal.message
    write = staged(ledger, "SELECT 1")
    with monkeypatch.context() as patched:
        patched.setattr(spool._journal, "write", full)
        assert "no space left" in str(ledger.written(write))
    assert spool.head.seq == 0
    write = staged(ledger, "SELECT 1")
    assert ledger.written(write) is None, "and it goes on once there is space"
    assert spool.head.seq == 1


def test_a_write_that_the_agent_does_beside_it_is_seen(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seal's, or that of what the agent did: what was staged goes with it, and is lost with it."""
    ledger = Ledger(spool, Metrics([]))
    assert ledger.now(BEGIN) is None
    before, lost = staged(ledger, "SELECT 1"), None
    spool.seal()
    with monkeypatch.context() as patched:
        patched.setattr(spool._journal, "write", full)
        lost = staged(ledger, "SELECT 2")
        with pytest.raises(SpoolError):
            spool.commit()
    after = staged(ledger, "SELECT 3")
    assert ledger.written(before) is None
    refusal = ledger.written(before, lost, after)
    assert refusal is not None
    assert "no space left" in refusal.message
    assert ledger.written(after) is None
    assert [record.get("statement") for record in records(spool)] == ["SELECT 1", "SELECT 1", None, "SELECT 3"]


def test_what_does_not_fit_is_refused_when_it_is_staged(tmp_path: Path) -> None:
    key = HostKey.load_or_create(tmp_path / "keys" / "host.key")
    spool = Spool(tmp_path / "small", "host-1", key, SpoolSettings(fsync="never", max_bytes=4096, segment_bytes=4096))
    ledger = Ledger(spool, Metrics([]))
    form = beginning(ledger)
    told = [ledger.stage(form, ("x" * 1000,)) for _ in range(8)]
    kept = [write for write in told if isinstance(write, Write)]
    assert 0 < len(kept) < 8
    assert ledger.written(*kept) is None
    spool.close()


class Sender:
    """Stages a record and sends once it is written; `fails` says in which of both it raises."""

    def __init__(self, ledger: Ledger, name: str, log: list[str], fails: str = "") -> None:
        self.ledger, self.name, self.log, self.fails = ledger, name, log, fails
        self.write: Write | None = None

    def stage(self) -> None:
        if self.fails == "stage":
            self.fails = "over"
            raise RuntimeError(self.name)
        if self.write is None and self.fails != "over":
            self.write = staged(self.ledger, self.name)

    def send(self) -> None:
        if self.fails == "send":
            raise RuntimeError(self.name)
        if self.write is not None:
            how = "sent" if self.ledger.written(self.write) is None else "not sent"
            self.log.append(f"{self.name} {how} with {self.ledger._spool.head.seq}")


@pytest.mark.parametrize(("fails", "sent"), [
    ("", ["a sent with 3", "b sent with 3", "c sent with 3"]),
    ("stage", ["a sent with 2", "c sent with 2"]),
    ("send", ["a sent with 3", "c sent with 3"]),
])  # fmt: skip
def test_who_sends_in_one_turn_shares_a_write_that_comes_before(spool: Spool, fails: str, sent: list[str]) -> None:
    """Also where one of them fails: what the others send neither stays behind nor goes unrecorded."""

    async def turn() -> tuple[list[str], list[str]]:
        failed: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, said: failed.append(str(said["exception"])))
        ledger, log = Ledger(spool, Metrics([])), list[str]()
        for name in "abc":
            ledger.together(Sender(ledger, name, log, fails if name == "b" else ""))
        assert log == []
        for _ in range(4):
            await asyncio.sleep(0)
        return log, failed

    assert asyncio.run(turn()) == (sent, ["b"] if fails else [])
    assert [r["statement"] for r in records(spool)] == [name for name in "abc" if name != "b" or fails != "stage"]


def test_nobody_sends_what_one_write_for_all_could_not_record(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SpoolError("no space left")

    async def turn() -> list[str]:
        ledger, log = Ledger(spool, Metrics([])), list[str]()
        for name in "ab":
            ledger.together(Sender(ledger, name, log))
        with monkeypatch.context() as patched:
            patched.setattr(spool._journal, "write", full)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return log

    assert asyncio.run(turn()) == ["a not sent with 0", "b not sent with 0"]
