-- 0001_first: everything but the telemetry tables, which are made per asset class from the catalogue.
-- Times are epoch milliseconds. A `body` is the JSON of the domain type; its columns beside it are what is
-- searched by, or what outlives a change of the body.

-- Registry.
CREATE TABLE classes (
    class_no INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE metrics (
    metric_no INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE
) STRICT;
-- Column m<column_no> of telemetry_<class_no> holds this metric.
CREATE TABLE class_columns (
    class_no  INTEGER NOT NULL REFERENCES classes,
    column_no INTEGER NOT NULL,
    metric_no INTEGER NOT NULL REFERENCES metrics,
    PRIMARY KEY (class_no, column_no),
    UNIQUE (class_no, metric_no)
) STRICT, WITHOUT ROWID;
CREATE TABLE devices (
    device_no INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    class_no  INTEGER NOT NULL REFERENCES classes
) STRICT;
CREATE TABLE assets (
    id            TEXT PRIMARY KEY,
    device        TEXT NOT NULL UNIQUE REFERENCES devices (name),
    class         TEXT NOT NULL,
    name          TEXT NOT NULL,
    site          TEXT NOT NULL,
    depot         TEXT,
    registered_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE credentials (
    username      TEXT PRIMARY KEY,
    role          TEXT NOT NULL,
    secret_sha256 TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE maintenance_windows (
    device  TEXT NOT NULL,
    from_ts INTEGER NOT NULL,
    to_ts   INTEGER NOT NULL,
    why     TEXT NOT NULL,
    PRIMARY KEY (to_ts, from_ts, device, why)
) STRICT, WITHOUT ROWID;

-- What devices send beside the columns of their class.
CREATE TABLE overflow (
    device_no INTEGER NOT NULL,
    ts        INTEGER NOT NULL,
    metric_no INTEGER NOT NULL,
    value     REAL NOT NULL,
    PRIMARY KEY (device_no, ts, metric_no)
) STRICT, WITHOUT ROWID;
CREATE TABLE conflicts (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    device  TEXT NOT NULL,
    metric  TEXT NOT NULL,
    ts      INTEGER NOT NULL,
    stored  REAL NOT NULL,
    refused REAL NOT NULL,
    UNIQUE (device, ts, metric, refused)
) STRICT;
CREATE TABLE events (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    device    TEXT NOT NULL,
    ts        INTEGER NOT NULL,
    code      TEXT NOT NULL,
    component TEXT NOT NULL, -- '' where the device names none
    severity  TEXT NOT NULL,
    message   TEXT NOT NULL,
    UNIQUE (device, ts, code, component)
) STRICT;
CREATE INDEX events_of_device ON events (device, seq);
CREATE TABLE statuses (
    device TEXT PRIMARY KEY,
    online INTEGER NOT NULL,
    at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE dead_letters (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    received_at   INTEGER NOT NULL,
    topic         TEXT NOT NULL,
    reason        TEXT NOT NULL,
    detail        TEXT NOT NULL,
    payload       BLOB NOT NULL,
    payload_bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX dead_letters_of_reason ON dead_letters (reason, seq);
-- Counts outlive the letters, of which only the newest are kept.
CREATE TABLE rejection_counts (
    reason TEXT PRIMARY KEY,
    n      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The detectors' side.
CREATE TABLE checkpoints (
    device    TEXT PRIMARY KEY,
    watermark INTEGER NOT NULL,
    state     BLOB NOT NULL
) STRICT;
CREATE TABLE alarms (
    seq             INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    device          TEXT NOT NULL,
    active          INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    acknowledged_by TEXT,
    acknowledged_at INTEGER,
    body            TEXT NOT NULL
) STRICT;
CREATE INDEX alarms_of_device ON alarms (device, seq);
CREATE INDEX alarms_active ON alarms (seq) WHERE active = 1;
CREATE TABLE health (
    device TEXT PRIMARY KEY,
    at     INTEGER NOT NULL,
    body   TEXT NOT NULL
) STRICT;

-- The care desk's side. AUTOINCREMENT: a task's number is never used again, so a task that is gone was done.
CREATE TABLE care_tasks (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    body TEXT NOT NULL
) STRICT;
CREATE TABLE care_outcomes (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    idempotency_key TEXT NOT NULL UNIQUE,
    body            TEXT NOT NULL
) STRICT;
CREATE TABLE tickets (
    id      INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    asset   TEXT NOT NULL,
    mode    TEXT NOT NULL,
    open    INTEGER NOT NULL,
    -- Time changes nothing any more: closed or cancelled.
    finished INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX tickets_one_open ON tickets (asset, mode) WHERE open = 1;
CREATE INDEX tickets_of_asset ON tickets (asset, id);
CREATE INDEX tickets_open ON tickets (id) WHERE open = 1;
CREATE INDEX tickets_unfinished ON tickets (id) WHERE finished = 0;
CREATE TABLE reservations (
    id           INTEGER PRIMARY KEY,
    ticket       INTEGER NOT NULL REFERENCES tickets,
    priority     INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 4),
    part         TEXT NOT NULL,
    quantity     INTEGER NOT NULL CHECK (quantity >= 1),
    used         INTEGER NOT NULL CHECK (used BETWEEN 0 AND quantity),
    state        TEXT NOT NULL,
    live         INTEGER NOT NULL,
    supply       TEXT NOT NULL CHECK (supply IN ('stock', 'transfer', 'back_order')),
    depot        TEXT NOT NULL, -- where the parts lie, or are to arrive
    transfer_to  TEXT CHECK ((transfer_to IS NOT NULL) = (supply = 'transfer')),
    reserved_at  INTEGER NOT NULL,
    needed_at    INTEGER NOT NULL,
    available_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX reservations_of_ticket ON reservations (ticket, id);
CREATE INDEX reservations_in_order ON reservations (id) WHERE live = 1;
CREATE INDEX reservations_live ON reservations (part, depot) WHERE live = 1;
CREATE TABLE stock (
    part    TEXT NOT NULL,
    depot   TEXT NOT NULL,
    on_hand INTEGER NOT NULL CHECK (on_hand >= 0),
    PRIMARY KEY (part, depot)
) STRICT, WITHOUT ROWID;
CREATE TABLE ledger (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    at              INTEGER NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('receipt', 'consumed', 'scrap', 'transfer_out', 'transfer_in')),
    part            TEXT NOT NULL,
    depot           TEXT NOT NULL,
    delta           INTEGER NOT NULL,
    ticket          INTEGER REFERENCES tickets,
    by              TEXT NOT NULL, -- JSON of the actor
    idempotency_key TEXT UNIQUE
) STRICT;
CREATE TRIGGER ledger_keeps_lines BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'the stock ledger is append-only'); END;
CREATE TRIGGER ledger_keeps_text BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'the stock ledger is append-only'); END;
CREATE TABLE labels (
    seq  INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;
CREATE TABLE decisions (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL,
    body   TEXT NOT NULL
) STRICT;
CREATE INDEX decisions_of_device ON decisions (device, seq);
