-- 0006_units: parts that stand in for others, and pieces of parts that are told apart.

-- The part that was asked for, where another one is held in its place.
ALTER TABLE reservations ADD COLUMN instead_of text;
-- Which pieces a line moves; NULL where they are not told apart.
ALTER TABLE ledger ADD COLUMN units json;
-- Where they are: what the lines of the ledger come to. '' is no batch, or no serial number.
CREATE TABLE units (
    part     text COLLATE "C" NOT NULL,
    serial   text COLLATE "C" NOT NULL,
    batch    text COLLATE "C" NOT NULL,
    place    text COLLATE "C" NOT NULL, -- kind and name: shelf:main, ticket:7
    quantity bigint NOT NULL CHECK (quantity >= 0),
    since    timestamptz NOT NULL,
    PRIMARY KEY (part, serial, batch, place)
);
CREATE INDEX units_at ON units (part, place);
CREATE INDEX units_of_serial ON units (serial) WHERE serial <> '';
CREATE INDEX units_of_batch ON units (batch) WHERE batch <> '';
