-- 0002_records: master data under the callers' ids, and every version of it.

-- `body` NULL: deleted. `search`: id and title in lower case.
CREATE TABLE records (
    kind       text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    version    bigint NOT NULL CHECK (version >= 1),
    body       jsonb,
    search     text,
    updated_at timestamptz NOT NULL,
    updated_by jsonb NOT NULL, -- the actor
    PRIMARY KEY (kind, id)
);
-- What each record that is there refers to.
CREATE TABLE record_refs (
    kind    text COLLATE "C" NOT NULL,
    id      text COLLATE "C" NOT NULL,
    to_kind text COLLATE "C" NOT NULL,
    to_id   text COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, id, to_kind, to_id)
);
CREATE INDEX record_refs_to ON record_refs (to_kind, to_id, kind, id);
-- The newest versions of each record, the one that is there included. Not append-only: a person is erased from them.
CREATE TABLE record_versions (
    seq     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind    text COLLATE "C" NOT NULL,
    id      text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    action  text NOT NULL CHECK (action IN ('put', 'delete', 'erase')),
    body    jsonb,
    at      timestamptz NOT NULL,
    by      jsonb NOT NULL, -- the actor
    UNIQUE (kind, id, version)
);
