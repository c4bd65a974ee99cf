-- 0001_first: everything but the telemetry tables, which are made per asset class from the catalogue.
-- Run with search_path set to Forecare's schema. A `body` is the JSON of the domain type; its columns beside
-- it are what is searched by, or what outlives a change of the body.

-- Registry.
CREATE TABLE classes (
    class_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name     text NOT NULL UNIQUE
);
CREATE TABLE metrics (
    metric_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name      text NOT NULL UNIQUE
);
-- Column m<column_no> of telemetry_<class_no> holds this metric. Columns added together share a generation,
-- and a set of continuous aggregates.
CREATE TABLE class_columns (
    class_no   integer NOT NULL REFERENCES classes,
    column_no  integer NOT NULL,
    metric_no  integer NOT NULL REFERENCES metrics,
    generation integer NOT NULL,
    PRIMARY KEY (class_no, column_no),
    UNIQUE (class_no, metric_no)
);
CREATE TABLE devices (
    device_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name      text NOT NULL UNIQUE,
    class_no  integer NOT NULL REFERENCES classes
);
CREATE TABLE assets (
    id            text PRIMARY KEY,
    device        text NOT NULL UNIQUE REFERENCES devices (name),
    class         text NOT NULL,
    name          text NOT NULL,
    site          text NOT NULL,
    depot         text,
    registered_at timestamptz NOT NULL
);
CREATE TABLE credentials (
    username      text PRIMARY KEY,
    role          text NOT NULL,
    secret_sha256 text NOT NULL
);
CREATE TABLE settings (
    key   text PRIMARY KEY,
    value text NOT NULL
);
-- A transaction whose COMMIT was not answered is found, or not found, by its mark. Only the newest are kept.
CREATE TABLE commit_marks (
    mark uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    at   timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE maintenance_windows (
    device  text NOT NULL,
    from_ts timestamptz NOT NULL,
    to_ts   timestamptz NOT NULL,
    why     text NOT NULL,
    PRIMARY KEY (to_ts, from_ts, device, why)
);

-- What devices send beside the columns of their class: made a hypertable by the program.
CREATE TABLE overflow (
    device_no integer NOT NULL,
    ts        timestamptz NOT NULL,
    metric_no integer NOT NULL,
    value     double precision NOT NULL,
    UNIQUE (device_no, ts, metric_no)
);
CREATE TABLE conflicts (
    seq     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device  text NOT NULL,
    metric  text NOT NULL,
    ts      timestamptz NOT NULL,
    stored  double precision NOT NULL,
    refused double precision NOT NULL,
    UNIQUE (device, ts, metric, refused)
);
CREATE TABLE events (
    seq       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device    text NOT NULL,
    ts        timestamptz NOT NULL,
    code      text NOT NULL,
    component text NOT NULL, -- '' where the device names none
    severity  text NOT NULL,
    message   text NOT NULL,
    UNIQUE (device, ts, code, component)
);
CREATE INDEX events_of_device ON events (device, seq);
CREATE TABLE statuses (
    device text PRIMARY KEY,
    online boolean NOT NULL,
    at     timestamptz NOT NULL
);
CREATE TABLE dead_letters (
    seq           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at   timestamptz NOT NULL,
    topic         text NOT NULL,
    reason        text NOT NULL,
    detail        text NOT NULL,
    payload       bytea NOT NULL,
    payload_bytes bigint NOT NULL
);
CREATE INDEX dead_letters_of_reason ON dead_letters (reason, seq);
-- Counts outlive the letters, of which only the newest are kept.
CREATE TABLE rejection_counts (
    reason text PRIMARY KEY,
    n      bigint NOT NULL
);

-- The newest row of every device; kept by the batch that stores it. Its watermark tells rows in order from
-- late ones. Updated all the time: room on the page keeps the updates off the index.
CREATE TABLE latest (
    device_no integer PRIMARY KEY,
    ts        timestamptz NOT NULL,
    health    double precision,
    readings  double precision[] NOT NULL -- one per column of the class; NULL where not reported
) WITH (fillfactor = 50);

-- The detectors' side.
CREATE TABLE checkpoints (
    device    text PRIMARY KEY,
    watermark timestamptz NOT NULL,
    state     bytea NOT NULL
) WITH (fillfactor = 50);
ALTER TABLE checkpoints ALTER COLUMN state SET STORAGE EXTERNAL;
CREATE TABLE alarms (
    seq             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              text NOT NULL UNIQUE,
    device          text NOT NULL,
    active          boolean NOT NULL,
    raised_at       timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    cleared_at      timestamptz,
    acknowledged_by text,
    acknowledged_at timestamptz,
    body            json NOT NULL
);
CREATE INDEX alarms_of_device ON alarms (device, seq);
CREATE INDEX alarms_active ON alarms (seq) WHERE active;
CREATE INDEX alarms_raised ON alarms (raised_at);
CREATE TABLE health (
    device text PRIMARY KEY,
    at     timestamptz NOT NULL,
    body   json NOT NULL
) WITH (fillfactor = 50);

-- The care desk's side. A task's number is never used again, so a task that is gone was done.
CREATE TABLE care_tasks (
    seq  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body json NOT NULL
);
CREATE TABLE care_outcomes (
    seq             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    idempotency_key text NOT NULL UNIQUE,
    body            json NOT NULL
);
CREATE TABLE tickets (
    id       bigint PRIMARY KEY,
    version  bigint NOT NULL,
    asset    text NOT NULL,
    mode     text NOT NULL,
    open     boolean NOT NULL,
    -- Time changes nothing any more: closed or cancelled.
    finished boolean NOT NULL,
    opened_at timestamptz NOT NULL,
    due_at    timestamptz NOT NULL,
    body     json NOT NULL
);
CREATE INDEX tickets_opened ON tickets (opened_at);
CREATE UNIQUE INDEX tickets_one_open ON tickets (asset, mode) WHERE open;
CREATE INDEX tickets_of_asset ON tickets (asset, id);
CREATE INDEX tickets_open ON tickets (id) WHERE open;
CREATE INDEX tickets_unfinished ON tickets (id) WHERE NOT finished;
CREATE TABLE reservations (
    id           bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    ticket       bigint NOT NULL REFERENCES tickets,
    priority     integer NOT NULL CHECK (priority BETWEEN 1 AND 4),
    part         text NOT NULL,
    quantity     bigint NOT NULL CHECK (quantity >= 1),
    used         bigint NOT NULL CHECK (used BETWEEN 0 AND quantity),
    state        text NOT NULL,
    live         boolean NOT NULL,
    supply       text NOT NULL CHECK (supply IN ('stock', 'transfer', 'back_order')),
    depot        text NOT NULL, -- where the parts lie, or are to arrive
    transfer_to  text CHECK ((transfer_to IS NOT NULL) = (supply = 'transfer')),
    reserved_at  timestamptz NOT NULL,
    needed_at    timestamptz NOT NULL,
    available_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX reservations_of_ticket ON reservations (ticket, id);
CREATE INDEX reservations_in_order ON reservations (id) WHERE live;
CREATE INDEX reservations_live ON reservations (part, depot) WHERE live;
CREATE TABLE stock (
    part    text NOT NULL,
    depot   text NOT NULL,
    on_hand bigint NOT NULL CHECK (on_hand >= 0),
    PRIMARY KEY (part, depot)
);
CREATE TABLE ledger (
    seq             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              timestamptz NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('receipt', 'consumed', 'scrap', 'transfer_out', 'transfer_in')),
    part            text NOT NULL,
    depot           text NOT NULL,
    delta           bigint NOT NULL,
    ticket          bigint REFERENCES tickets,
    by              json NOT NULL, -- the actor
    idempotency_key text UNIQUE
);
CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the stock ledger is append-only'; END $$;
CREATE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE ON ledger
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change();
CREATE TABLE labels (
    seq  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body json NOT NULL
);
CREATE TABLE decisions (
    seq    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device text NOT NULL,
    body   json NOT NULL
);
CREATE INDEX decisions_of_device ON decisions (device, seq);
