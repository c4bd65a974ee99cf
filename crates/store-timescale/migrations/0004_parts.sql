-- 0004_parts: more kinds of movement, what a key was used for, bins, parts in repair, orders.

ALTER TABLE ledger DROP CONSTRAINT ledger_kind_check;
ALTER TABLE ledger ADD CONSTRAINT ledger_kind_check CHECK (kind IN ('receipt', 'issue', 'consumed', 'return', 'scrap', 'count', 'repair_out', 'repair_in',
        'transfer_out', 'transfer_in'));
ALTER TABLE ledger ADD COLUMN cost_centre text;
ALTER TABLE ledger ADD COLUMN reason text;
-- What the key was used for.
ALTER TABLE ledger ADD COLUMN command json;
CREATE INDEX ledger_of_cost_centre ON ledger (cost_centre, part) WHERE cost_centre IS NOT NULL;
ALTER TABLE stock ADD COLUMN in_repair bigint NOT NULL DEFAULT 0 CHECK (in_repair >= 0);
ALTER TABLE stock ADD COLUMN bin text;
-- Parts on order at suppliers, under the buyer's numbers.
CREATE TABLE purchase_orders (
    id        text COLLATE "C" PRIMARY KEY,
    part      text NOT NULL,
    depot     text NOT NULL,
    quantity  bigint NOT NULL CHECK (quantity >= 1),
    received  bigint NOT NULL CHECK (received >= 0),
    due_at    timestamptz NOT NULL,
    cancelled boolean NOT NULL,
    by        json NOT NULL, -- the actor
    at        timestamptz NOT NULL
);
