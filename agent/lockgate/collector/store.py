"""The collector's store: SQLite in WAL mode. This file writes; `lockgate.collector.search` reads.

Anyone who reaches the listener can send a record under a host's name, so which of two records with one number is the
host's is not told by which came first: the seal tells, whose signature covers the hash of everything before it. Until
it comes, the first holds the number and the other is kept as a conflict; both are an alarm.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import TracebackType

import msgspec

from lockgate.audit import chain
from lockgate.audit.record import RecordError, decode, envelope
from lockgate.collector.entry import Entry, Otherwise, parse
from lockgate.identity.keys import InvalidKeySet, public_keys

VERSION = 1
"""`PRAGMA user_version` of the schema."""


CATCH_UP = 1_000_000
"""Records of another version's taking that are looked at when the store is opened, the newest: some seconds."""

CATCH_UP_STEP = 10_000
"""In one transaction."""

_FIELDS = (b"\xa5would", b"\xa6shadow")
"""Keys of a record as msgpack has them: those that have neither need not be decoded."""


class StoreError(Exception):
    """The store can't be used. The message names the file."""


@dataclass(frozen=True, slots=True)
class PinnedKey:
    """`kid` is the RFC 7638 thumbprint, `jwks` the set as the host published it."""

    kid: str
    jwks: dict[str, object]


class KeyConflict(Exception):
    """A host showed another key than the one that is pinned."""


def database(state_dir: str | Path) -> Path:
    """Where the store of a collector with this state directory is."""
    return Path(state_dir) / "collector.sqlite"


class Store:
    """The one writer. Every method is a transaction of its own, durable when it returns; call them from one thread."""

    def __init__(self, path: Path, clock: Callable[[], int] = time.time_ns) -> None:
        """Opens or makes the store, mode 0600. Raises StoreError."""
        self.path = path
        self._clock = clock
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: {error}") from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self.db.close()
            raise StoreError(f"{path}: {error}") from error
        except StoreError:
            self.db.close()
            raise

    def _prepare(self) -> None:
        (found,) = self.db.execute("PRAGMA user_version").fetchone()
        if found not in (0, VERSION):
            raise StoreError(
                f"{self.path}: made by another version of Lockgate (schema {found}, this one is {VERSION})"
            )
        self.db.execute("PRAGMA journal_mode = WAL")
        # a commit is acknowledged to the agent, which then deletes its copy: it has to survive a power cut
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.executescript(files(__package__).joinpath("schema.sql").read_text(encoding="utf-8"))
        self.db.execute(f"PRAGMA user_version = {VERSION}")
        self._catch_up()

    def close(self) -> None:
        self.db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ingest(self, batches: Sequence[Iterable[Entry]]) -> int:
        """Stores entries and verifies as far as seals now reach. Returns how many were new. Raises sqlite3.Error."""
        with Transaction(self.db):
            new = 0
            touched: set[str] = set()
            for batch in batches:
                for entry in batch:
                    if self._insert(entry):
                        new += 1
                        if entry.type == "seal":
                            touched.add(entry.host)
            if new:
                self._looked_at()
            # a record that fills a gap behind a seal is caught up with at the next seal
            for host in touched:
                self._advance(host)
        return new

    def pin(self, name: str, jwks: Mapping[str, object], required: str | None) -> bool:
        """Pins the key of a host; True when it is new. `required` is the thumbprint that the configuration names.

        Raises InvalidKeySet, or KeyConflict when it is neither the configured nor the pinned one (that is an alarm).
        """
        kids = list(public_keys(jwks))
        if len(kids) != 1:
            raise InvalidKeySet("a host has one key")
        kid = kids[0]
        with Transaction(self.db):
            known = self.key(name)
            expected = required or (known.kid if known else kid)
            if kid != expected:
                self._alarm(name, 0, "key", f"showed the key {kid}, but {expected} is pinned")
            elif known is None or known.kid != kid:
                self.db.execute(
                    "INSERT INTO hosts VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET kid = excluded.kid,"
                    " jwks = excluded.jwks, pinned = excluded.pinned",
                    (name, kid, msgspec.json.encode(jwks).decode(), self._clock()),
                )
                self._advance(name)
        if kid != expected:
            raise KeyConflict(f"another key is pinned for {name!r}: {expected}")
        return known is None

    def key(self, name: str) -> PinnedKey | None:
        """The key that is pinned for a host."""
        row = self.db.execute("SELECT kid, jwks FROM hosts WHERE name = ?", (name,)).fetchone()
        return PinnedKey(row[0], msgspec.json.decode(row[1], type=dict[str, object])) if row else None

    def _insert(self, entry: Entry) -> bool:
        rival = self.db.execute(
            "SELECT hash FROM records WHERE host = ? AND seq = ? AND conflict = 0", (entry.host, entry.seq)
        ).fetchone()
        if rival is not None and rival[0] == entry.hash:
            return False
        cursor = self.db.execute(
            "INSERT OR IGNORE INTO records (host, seq, hash, conflict, received, time, type, phase, id, connection,"
            " principal, person, datastore, verdict, raw) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(entry.host, entry.seq, entry.hash, int(rival is not None), self._clock(), entry.time, entry.type),
                *(entry.phase, entry.id, entry.connection, entry.principal, entry.person, entry.datastore),
                *(entry.verdict, entry.raw),
            ),
        )
        if not cursor.rowcount:
            return False
        if entry.statement is not None:
            self.db.execute(
                "INSERT INTO words (rowid, statement, objects) VALUES (?, ?, ?)",
                (cursor.lastrowid, entry.statement, " ".join(entry.objects)),
            )
        if entry.otherwise is not None and cursor.lastrowid is not None:
            self._otherwise(cursor.lastrowid, entry.time, entry.otherwise)
        if rival is not None:
            self._alarm(entry.host, entry.seq, chain.Flaw.FORKED, "two different records have this number")
        return True

    def _otherwise(self, record: int, time: int, found: Otherwise) -> None:
        self.db.execute(
            "INSERT OR IGNORE INTO otherwise VALUES (?, ?, ?, ?, ?, ?)",
            (record, time, found.would, found.policy, found.shadow, found.shadow_policy),
        )

    def _looked_at(self) -> None:
        self.db.execute(
            "INSERT INTO otherwise_upto SELECT 1, coalesce(max(rowid), 0) FROM records WHERE true"
            " ON CONFLICT (one) DO UPDATE SET record = excluded.record"
        )

    def _catch_up(self) -> None:
        """Looks at the newest records that this version has not taken itself for what would have been."""
        (newest,) = self.db.execute("SELECT coalesce(max(rowid), 0) FROM records").fetchone()
        row = self.db.execute("SELECT record FROM otherwise_upto").fetchone()
        start = max(row[0] if row else 0, newest - CATCH_UP)
        for lowest in range(start, newest, CATCH_UP_STEP):
            rows = self.db.execute(
                "SELECT rowid, raw FROM records WHERE rowid > ? AND rowid <= ? AND type = 'statement'"
                " AND phase = 'begin' AND (instr(raw, ?) OR instr(raw, ?))",
                (lowest, lowest + CATCH_UP_STEP, *_FIELDS),
            ).fetchall()
            with Transaction(self.db):
                for rowid, raw in rows:
                    try:
                        entry = parse(raw)
                    except RecordError:
                        continue  # the version before took it; it is shown, and counts for nothing
                    if entry.otherwise is not None:
                        self._otherwise(rowid, entry.time, entry.otherwise)
        with Transaction(self.db):
            self._looked_at()

    def _advance(self, host: str) -> None:
        """Moves the verified head of `host` from seal to seal, as far as the records between them are all here."""
        key = self.key(host)
        if key is None:
            return
        head = self._head(host)
        while (seal := self._next_seal(host, head, key.jwks)) is not None:
            last = envelope(seal).seq
            self._settle(host, head, seal)
            span = (host, head.seq, last)
            where = "FROM records WHERE host = ? AND seq > ? AND seq <= ? AND conflict = 0"
            (count,) = self.db.execute(f"SELECT count(*) {where}", span).fetchone()
            if count != last - head.seq:
                break
            verifier = chain.Verifier(host, key.jwks, head)
            for (raw,) in self.db.execute(f"SELECT raw {where} ORDER BY seq", span):
                for problem in verifier.feed(raw):
                    self._alarm(host, problem.seq, problem.flaw, problem.text)
            head = verifier.head
        self.db.execute(
            "INSERT INTO heads VALUES (?, ?, ?, ?) ON CONFLICT (host) DO UPDATE SET seq = excluded.seq,"
            " hash = excluded.hash, sealed = excluded.sealed",
            (host, head.seq, head.hash, head.sealed),
        )

    def _head(self, host: str) -> chain.Head:
        row = self.db.execute("SELECT seq, hash, sealed FROM heads WHERE host = ?", (host,)).fetchone()
        return chain.Head(*row) if row else chain.start(host)

    def _next_seal(self, host: str, head: chain.Head, jwks: Mapping[str, object]) -> bytes | None:
        """The first seal after `head` that the host's key signed; an alarm for every other on the way."""
        rows = self.db.execute(
            "SELECT raw FROM records WHERE host = ? AND seq > ? AND type = 'seal' ORDER BY seq", (host, head.seq)
        ).fetchall()
        for (raw,) in rows:
            flaw = _seal_flaw(host, raw, jwks)
            if flaw is None:
                return bytes(raw)
            self._alarm(host, flaw.seq, flaw.flaw, flaw.text)
        return None

    def _settle(self, host: str, head: chain.Head, seal: bytes) -> None:
        """Follows the hashes back from a seal and gives each number in conflict to the record that was sealed."""
        seq = envelope(seal).seq
        disputed = self.db.execute(
            "SELECT 1 FROM records WHERE host = ? AND seq > ? AND seq <= ? AND conflict = 1", (host, head.seq, seq)
        ).fetchone()
        wanted = chain.step(seal)
        while disputed is not None and seq > head.seq:
            row = self.db.execute(
                "SELECT rowid, conflict, raw FROM records WHERE host = ? AND seq = ? AND hash = ?", (host, seq, wanted)
            ).fetchone()
            if row is None:
                return
            rowid, conflict, record = row
            if conflict:
                self.db.execute(
                    "UPDATE records SET conflict = 1 WHERE host = ? AND seq = ? AND conflict = 0", (host, seq)
                )
                self.db.execute("UPDATE records SET conflict = 0 WHERE rowid = ?", (rowid,))
            wanted, seq = envelope(record).prev, seq - 1

    def _alarm(self, host: str, seq: int, flaw: str, text: str) -> None:
        self.db.execute(
            "INSERT OR IGNORE INTO problems VALUES (?, ?, ?, ?, ?)", (host, seq, str(flaw), text, self._clock())
        )


class Transaction:
    """BEGIN IMMEDIATE, then COMMIT, or ROLLBACK when something is raised."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._db.execute("COMMIT")
        elif self._db.in_transaction:
            # a full disk has already rolled back by itself
            self._db.execute("ROLLBACK")


def _seal_flaw(host: str, raw: bytes, jwks: Mapping[str, object]) -> chain.Problem | None:
    """What is wrong with a seal taken by itself: whether the host's key signed it over the record before it."""
    found = envelope(raw)
    first = decode(raw).get("first")
    sealed = first - 1 if type(first) is int else 0
    problems = chain.Verifier(host, jwks, chain.Head(found.seq - 1, found.prev, sealed)).feed(raw)
    return problems[0] if problems else None
