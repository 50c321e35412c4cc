"""Reading the store: search, one statement in full, and verification from the first record. Never writes.

The command line uses it on the collector's own file, also while the collector is down.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from lockgate.audit import chain
from lockgate.audit.record import decode
from lockgate.collector.store import VERSION, StoreError

LIMIT = 1000
"""Records in one answer."""
ALARMS = 1000
"""Alarms of one host in one answer."""
WORDS = 32
"""Words of a search text that are looked for."""
SUMMED = 1_000_000
"""Statements that one summary counts, the newest: a second or two."""
GROUPS = 10_000
"""Decisions, policies and principals that it tells apart."""
NAMED = 20
"""Principals that it names for one decision of one policy."""


class NotUnique(Exception):
    """A prefix that fits several ids."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; None is anything. Times are nanoseconds since the epoch, `since` inclusive, `until` not.

    All words of `text` must occur in the statement or in the names of its objects; a word ending in `*` is a prefix.
    `would` and `shadow` are what enforcing, and a bundle that is only tried, would have done: deny, hold, mask, and for
    `shadow` allow.
    """

    text: str | None = None
    principal: str | None = None
    person: str | None = None
    datastore: str | None = None
    verdict: str | None = None
    host: str | None = None
    connection: str | None = None
    would: str | None = None
    shadow: str | None = None
    since: int | None = None
    until: int | None = None
    limit: int = 100


class Reader:
    """A read-only view of the store, for one thread. Raises StoreError when there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error
        try:
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            self._db.close()
            raise StoreError(f"{path}: {error}") from error
        if found != VERSION:
            self._db.close()
            raise StoreError(f"{path}: made by another version of Lockgate (schema {found}, this one is {VERSION})")

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def search(self, query: Query) -> list[dict[str, Any]]:
        """The `query.limit` (at most LIMIT) statements, connections and events that fit and arrived last, newest first.

        Each is its first record's fields, with the fields of its end as `end` (None while it runs). By arrival, not by
        time, because that is the order the store is in: a page is read and the rest left alone, however large it is.
        """
        source, order = "records AS r", "r.rowid"
        parts, values = list[str](), list[str | int]()
        if query.host is not None:
            # the chain of one host is itself in the order of arrival
            source, order = "records AS r INDEXED BY records_chain", "r.seq"
        if query.text is not None:
            words = _match(query.text)
            if not words:
                return []
            source, order = "words JOIN records AS r ON r.rowid = words.rowid", "words.rowid"
            parts.append("words MATCH ?")
            values.append(words)
        otherwise = [(name, wanted) for name in ("would", "shadow") if (wanted := getattr(query, name)) is not None]
        if otherwise:
            self._has_otherwise()
            if query.text is None:
                source, order = "otherwise AS o JOIN records AS r ON r.rowid = o.record", "o.record"
            else:
                source += " JOIN otherwise AS o ON o.record = r.rowid"
            parts += [f"o.{name} = ?" for name, _ in otherwise]
            values += [wanted for _, wanted in otherwise]
        for column in ("principal", "person", "datastore", "verdict", "host", "connection"):
            wanted = getattr(query, column)
            if wanted is not None:
                parts.append(f"r.{column} = ?")
                values.append(wanted)
        for compare, moment in ((">=", query.since), ("<", query.until)):
            if moment is not None:
                parts.append(f"r.time {compare} ?")
                values.append(moment)
        parts += ["r.conflict = 0", "r.type != 'seal'", "(r.phase IS NULL OR r.phase = 'begin')"]
        rows = self._db.execute(
            f"SELECT r.time, r.host, r.id, r.type, r.phase, r.hash, r.raw FROM {source} WHERE {' AND '.join(parts)}"
            f" ORDER BY {order} DESC LIMIT ?",
            (*values, max(0, min(query.limit, LIMIT))),
        ).fetchall()
        rows.sort(key=itemgetter(0), reverse=True)
        return [
            {**_plain(raw, digest), "end": self._end(host, identifier, kind) if phase else None}
            for _, host, identifier, kind, phase, digest, raw in rows
        ]

    def otherwise(
        self, since: int | None = None, host: str | None = None, datastore: str | None = None
    ) -> list[dict[str, Any]]:
        """What enforcing, and a bundle that is only tried, would have done otherwise, for who decides on either.

        One entry for each of these (`kind` is would or shadow), datastore, decision and policy, the most frequent
        first: the `statements`, of how many `principals`, the first NAMED of them as `names`, and as `example` the id
        of the one that came last. Of the newest SUMMED statements since `since`; the first entry of a summary that
        leaves any out has `more`.
        """
        self._has_otherwise()
        counted, more = list[dict[str, Any]](), False
        for kind, policy in (("would", "policy"), ("shadow", "shadow_policy")):
            rows = self._db.execute(
                "SELECT datastore, decision, policy, principal, count(*), max(record) FROM ("
                f"SELECT r.datastore, o.{kind} AS decision, o.{policy} AS policy, r.principal, o.record"
                f" FROM otherwise AS o JOIN records AS r ON r.rowid = o.record WHERE o.{kind} IS NOT NULL"
                " AND r.conflict = 0 AND (?1 IS NULL OR o.time >= ?1) AND (?2 IS NULL OR r.host = ?2)"
                " AND (?3 IS NULL OR r.datastore = ?3) ORDER BY o.record DESC LIMIT ?4"
                ") GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC LIMIT ?5",
                (since, host, datastore, SUMMED + 1, GROUPS),
            ).fetchall()
            more = more or len(rows) == GROUPS or sum(row[4] for row in rows) > SUMMED
            counted += self._together(kind, rows)
        counted.sort(key=itemgetter("statements"), reverse=True)
        if more and counted:
            counted[0]["more"] = True
        return counted

    def _together(self, kind: str, rows: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for datastore, decision, policy, principal, count, last in rows:
            entry = found.setdefault(
                (datastore, decision, policy),
                {"kind": kind, "datastore": datastore, "decision": decision, "policy": policy, "statements": 0,
                 "principals": 0, "names": [], "example": 0},
            )  # fmt: skip
            entry["statements"] += count
            entry["principals"] += 1
            entry["example"] = max(entry["example"], last)
            if len(entry["names"]) < NAMED:
                entry["names"].append(principal)
        for entry in found.values():
            (entry["example"],) = self._db.execute(
                "SELECT id FROM records WHERE rowid = ?", (entry["example"],)
            ).fetchone()
        return list(found.values())

    def _has_otherwise(self) -> None:
        if self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'otherwise'").fetchone() is None:
            raise StoreError(f"{self._path}: written by the version before: this is told once the collector has run")

    def show(self, identifier: str, host: str | None = None) -> list[dict[str, Any]]:
        """All records of the one id that begins with `identifier`, in the order of the chain; [] when there is none.

        A record whose number another holds has `conflict` True. Raises NotUnique.
        """
        exact = "SELECT DISTINCT id FROM records WHERE id = ? AND (? IS NULL OR host = ?)"
        found = self._db.execute(exact, (identifier, host, host)).fetchall()
        if not found:
            found = self._db.execute(
                "SELECT DISTINCT id FROM records WHERE id >= ? AND id < ? AND (? IS NULL OR host = ?) LIMIT 2",
                (identifier, identifier + "\U0010ffff", host, host),
            ).fetchall()
        if len(found) > 1:
            raise NotUnique(f"{identifier!r} fits several ids, {found[0][0]!r} and {found[1][0]!r} among them")
        if not found:
            return []
        rows = self._db.execute(
            "SELECT conflict, hash, raw FROM records WHERE id = ? AND (? IS NULL OR host = ?)"
            " ORDER BY host, seq, conflict",
            (found[0][0], host, host),
        ).fetchall()
        return [{**_plain(raw, digest), "conflict": bool(conflict)} for conflict, digest, raw in rows]

    def hosts(self) -> list[str]:
        """Every host that has a key or a record."""
        rows = self._db.execute("SELECT name FROM hosts UNION SELECT DISTINCT host FROM records ORDER BY 1").fetchall()
        return [name for (name,) in rows]

    def verify(self, host: str) -> dict[str, Any]:
        """The chain of `host` verified again from its first record, up to what was verified when it arrived.

        `ok` says whether the chain is whole and its seals are signed by the host's key; `alarms` are what was noticed
        as it came (a record under a number that was taken, another key), which an intact chain can have too.
        """
        self._db.execute("BEGIN")
        try:
            return self._verify(host)
        finally:
            self._db.execute("ROLLBACK")

    def _verify(self, host: str) -> dict[str, Any]:
        key = self._db.execute("SELECT kid, jwks FROM hosts WHERE name = ?", (host,)).fetchone()
        head = self._db.execute("SELECT seq, hash, sealed FROM heads WHERE host = ?", (host,)).fetchone()
        alarms = [
            {"seq": seq, "flaw": flaw, "text": text, "found": found}
            for seq, flaw, text, found in self._db.execute(
                "SELECT seq, flaw, text, found FROM problems WHERE host = ? ORDER BY found, seq LIMIT ?", (host, ALARMS)
            )
        ]
        answer: dict[str, Any] = {"host": host, "ok": False, "key": key[0] if key else None, "alarms": alarms}
        if key is None:
            text = "no key of this host is known: its seals can't be checked"
            return {**answer, "problems": [{"seq": 0, "flaw": "key", "text": text}]}
        rows = self._db.execute("SELECT raw FROM records WHERE host = ? AND conflict = 0 ORDER BY seq", (host,))
        found = chain.verify(
            host,
            (raw for (raw,) in rows),
            msgspec.json.decode(key[1], type=dict[str, object]),
            until=chain.Head(*head) if head else None,
        )
        return {
            **answer,
            "ok": found.ok,
            "records": found.records,
            "first": found.first,
            "last": found.last,
            "sealed": found.sealed,
            "unsealed": found.unsealed,
            "gaps": [list(gap) for gap in found.gaps],
            "problems": [{"seq": p.seq, "flaw": str(p.flaw), "text": p.text} for p in found.problems],
            "found": found.found,
        }

    def _end(self, host: str, identifier: str | None, kind: str) -> dict[str, Any] | None:
        row = self._db.execute(
            "SELECT hash, raw FROM records WHERE id = ? AND host = ? AND type = ? AND phase = 'end' AND conflict = 0",
            (identifier, host, kind),
        ).fetchone()
        return _plain(row[1], row[0]) if row else None


def _plain(raw: bytes, digest: bytes) -> dict[str, Any]:
    """A record's fields for JSON: bytes as hex; `hash` is the record's own (in a seal `sealed` is the one it signs)."""
    fields = decode(raw)
    if "hash" in fields:
        fields["sealed"] = fields["hash"]
    fields["hash"] = digest
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}


def _match(text: str) -> str:
    """An FTS5 query for all words of `text`. Every word is quoted: nothing in it is syntax."""
    words = re.findall(r"\w+\*?", text)[:WORDS]
    return " AND ".join('"' + word.rstrip("*") + '"' + ("*" if word.endswith("*") else "") for word in words)
