-- The collector's store. Times are nanoseconds since the epoch, but for holds, which keep the agent's seconds.

CREATE TABLE IF NOT EXISTS hosts (
    name TEXT PRIMARY KEY,
    kid TEXT NOT NULL,
    jwks TEXT NOT NULL,
    pinned INTEGER NOT NULL
) STRICT;

-- How far the chain of a host was verified as it came: chain.Head.
CREATE TABLE IF NOT EXISTS heads (
    host TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    sealed INTEGER NOT NULL
) STRICT;

-- `raw` is what was hashed; the other columns are taken from it to search by.
-- `conflict` is 1 for a record whose number another record holds: kept, never overwritten, not part of the chain.
CREATE TABLE IF NOT EXISTS records (
    rowid INTEGER PRIMARY KEY,
    host TEXT NOT NULL,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    conflict INTEGER NOT NULL,
    received INTEGER NOT NULL,
    time INTEGER NOT NULL,
    type TEXT NOT NULL,
    phase TEXT,
    id TEXT,
    connection TEXT,
    principal TEXT,
    person TEXT,
    datastore TEXT,
    verdict TEXT,
    raw BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS records_once ON records (host, seq, hash);
CREATE UNIQUE INDEX IF NOT EXISTS records_chain ON records (host, seq) WHERE conflict = 0;
CREATE INDEX IF NOT EXISTS records_conflicts ON records (host, seq) WHERE conflict = 1;
CREATE INDEX IF NOT EXISTS records_seals ON records (host, seq) WHERE type = 'seal';
CREATE INDEX IF NOT EXISTS records_id ON records (id) WHERE id IS NOT NULL;
CREATE INDEX IF NOT EXISTS records_time ON records (time);
-- Entries of one value are in the order of rowid: a search reads the newest of them and stops.
CREATE INDEX IF NOT EXISTS records_connection ON records (connection) WHERE connection IS NOT NULL;
CREATE INDEX IF NOT EXISTS records_principal ON records (principal) WHERE principal IS NOT NULL;
CREATE INDEX IF NOT EXISTS records_datastore ON records (datastore) WHERE datastore IS NOT NULL;
CREATE INDEX IF NOT EXISTS records_verdict ON records (verdict) WHERE verdict IS NOT NULL;

-- Statements that enforcing (`would`), or a bundle that is only tried (`shadow`), would not have let pass as they were:
-- deny, hold, mask, and allow for what only the tried one would. `record` is a rowid of `records`. Tables of their own,
-- so that the version before can use the store.
CREATE TABLE IF NOT EXISTS otherwise (
    record INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    would TEXT,
    policy TEXT,
    shadow TEXT,
    shadow_policy TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS otherwise_time ON otherwise (time);
CREATE INDEX IF NOT EXISTS otherwise_would ON otherwise (would) WHERE would IS NOT NULL;
CREATE INDEX IF NOT EXISTS otherwise_shadow ON otherwise (shadow) WHERE shadow IS NOT NULL;
-- Up to which record that was looked at: what another version took is caught up with.
CREATE TABLE IF NOT EXISTS otherwise_upto (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    record INTEGER NOT NULL
) STRICT;

-- Words of statements and of the objects they touch; an underscore belongs to a word, as it does in SQL.
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    statement, objects, content='', tokenize="unicode61 tokenchars '_'"
);

-- Alarms: forks, broken chains, bad seals, a second key for a host.
CREATE TABLE IF NOT EXISTS problems (
    host TEXT NOT NULL,
    seq INTEGER NOT NULL,
    flaw TEXT NOT NULL,
    text TEXT NOT NULL,
    found INTEGER NOT NULL,
    PRIMARY KEY (host, seq, flaw, text)
) STRICT;

CREATE TABLE IF NOT EXISTS holds (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'approved', 'denied', 'expired', 'cancelled')),
    expires REAL NOT NULL,
    hold TEXT NOT NULL,
    decided TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS holds_waiting ON holds (expires) WHERE state = 'waiting';

-- What the agent says of a hold beside it: what its transaction keeps locked, and what became of its approval.
CREATE TABLE IF NOT EXISTS hold_words (
    hold TEXT PRIMARY KEY,
    locks TEXT,
    became TEXT
) STRICT;

-- `claims` and `token` are the approver's, as verified when it was granted.
CREATE TABLE IF NOT EXISTS grants (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    until REAL NOT NULL,
    uses INTEGER NOT NULL,
    last_used REAL,
    revoked TEXT,
    granted TEXT NOT NULL,
    claims TEXT NOT NULL,
    token TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS grants_live ON grants (host, fingerprint) WHERE revoked IS NULL;
