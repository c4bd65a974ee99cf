-- 0002_records: master data under the callers' ids, and every version of it.

-- `body` NULL: deleted. `search`: id and title in lower case.
CREATE TABLE records (
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    version    INTEGER NOT NULL CHECK (version >= 1),
    body       TEXT,
    search     TEXT,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL, -- the actor, as JSON
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
-- What each record that is there refers to.
CREATE TABLE record_refs (
    kind    TEXT NOT NULL,
    id      TEXT NOT NULL,
    to_kind TEXT NOT NULL,
    to_id   TEXT NOT NULL,
    PRIMARY KEY (kind, id, to_kind, to_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_refs_to ON record_refs (to_kind, to_id, kind, id);
-- The newest versions of each record, the one that is there included. Not append-only: a person is erased from them.
CREATE TABLE record_versions (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    kind    TEXT NOT NULL,
    id      TEXT NOT NULL,
    version INTEGER NOT NULL,
    action  TEXT NOT NULL CHECK (action IN ('put', 'delete', 'erase')),
    body    TEXT,
    at      INTEGER NOT NULL,
    by      TEXT NOT NULL, -- the actor, as JSON
    UNIQUE (kind, id, version)
) STRICT;
