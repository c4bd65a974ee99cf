-- 0003_tickets: tickets that no alarm opened, and what people put to a ticket.

DROP INDEX tickets_one_open;
-- What only one open ticket of an asset may be about; NULL: there may be several.
ALTER TABLE tickets ADD COLUMN opening_key text;
UPDATE tickets SET opening_key = 'mode:' || mode;
ALTER TABLE tickets ALTER COLUMN mode DROP NOT NULL;
CREATE UNIQUE INDEX tickets_one_open ON tickets (asset, opening_key) WHERE open AND opening_key IS NOT NULL;
CREATE INDEX tickets_of_key ON tickets (asset, opening_key, id) WHERE opening_key IS NOT NULL;
-- The ticket it is a part of, or follows.
ALTER TABLE tickets ADD COLUMN parent bigint;
CREATE INDEX tickets_of_parent ON tickets (parent, id) WHERE parent IS NOT NULL;

-- Notes, time spent, attachments: nothing is changed or taken back.
CREATE TABLE ticket_entries (
    seq       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket    bigint NOT NULL REFERENCES tickets,
    bytes     bigint NOT NULL CHECK (bytes >= 0), -- of its file
    body      json NOT NULL
);
CREATE INDEX ticket_entries_of ON ticket_entries (ticket, seq);
CREATE TABLE attachments (
    entry   bigint PRIMARY KEY REFERENCES ticket_entries,
    content bytea NOT NULL
);
