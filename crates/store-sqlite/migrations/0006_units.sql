-- 0006_units: parts that stand in for others, and pieces of parts that are told apart.

-- The part that was asked for, where another one is held in its place.
ALTER TABLE reservations ADD COLUMN instead_of TEXT;
-- Which pieces a line moves: JSON, NULL where they are not told apart.
ALTER TABLE ledger ADD COLUMN units TEXT;
-- Where they are: what the lines of the ledger come to. '' is no batch, or no serial number.
CREATE TABLE units (
    part     TEXT NOT NULL,
    serial   TEXT NOT NULL,
    batch    TEXT NOT NULL,
    place    TEXT NOT NULL, -- kind and name: shelf:main, ticket:7
    quantity INTEGER NOT NULL CHECK (quantity >= 0),
    since    INTEGER NOT NULL,
    PRIMARY KEY (part, serial, batch, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX units_at ON units (part, place);
CREATE INDEX units_of_serial ON units (serial) WHERE serial <> '';
CREATE INDEX units_of_batch ON units (batch) WHERE batch <> '';
