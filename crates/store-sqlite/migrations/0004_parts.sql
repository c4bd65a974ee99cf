-- 0004_parts: more kinds of movement, what a key was used for, bins, parts in repair, orders.

-- A CHECK cannot be changed: the ledger is copied, numbers and keys included.
CREATE TABLE ledger_of_more_kinds (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    at              INTEGER NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('receipt', 'issue', 'consumed', 'return', 'scrap', 'count', 'repair_out', 'repair_in',
        'transfer_out', 'transfer_in')),
    part            TEXT NOT NULL,
    depot           TEXT NOT NULL,
    delta           INTEGER NOT NULL,
    ticket          INTEGER REFERENCES tickets,
    cost_centre     TEXT,
    reason          TEXT,
    by              TEXT NOT NULL, -- JSON of the actor
    idempotency_key TEXT UNIQUE,
    command         TEXT -- JSON of what the key was used for
) STRICT;
INSERT INTO ledger_of_more_kinds (seq, at, kind, part, depot, delta, ticket, by, idempotency_key)
    SELECT seq, at, kind, part, depot, delta, ticket, by, idempotency_key FROM ledger ORDER BY seq;
DROP TABLE ledger;
ALTER TABLE ledger_of_more_kinds RENAME TO ledger;
CREATE TRIGGER ledger_keeps_lines BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'the stock ledger is append-only'); END;
CREATE TRIGGER ledger_keeps_text BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'the stock ledger is append-only'); END;
CREATE INDEX ledger_of_cost_centre ON ledger (cost_centre, part) WHERE cost_centre IS NOT NULL;
ALTER TABLE stock ADD COLUMN in_repair INTEGER NOT NULL DEFAULT 0 CHECK (in_repair >= 0);
ALTER TABLE stock ADD COLUMN bin TEXT;
-- Parts on order at suppliers, under the buyer's numbers.
CREATE TABLE purchase_orders (
    id        TEXT PRIMARY KEY,
    part      TEXT NOT NULL,
    depot     TEXT NOT NULL,
    quantity  INTEGER NOT NULL CHECK (quantity >= 1),
    received  INTEGER NOT NULL CHECK (received >= 0),
    due_at    INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    by        TEXT NOT NULL, -- JSON of the actor
    at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
