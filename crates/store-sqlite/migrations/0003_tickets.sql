-- 0003_tickets: tickets that no alarm opened, and what people put to a ticket.

DROP INDEX tickets_one_open;
-- What only one open ticket of an asset may be about; NULL: there may be several.
ALTER TABLE tickets ADD COLUMN opening_key TEXT;
UPDATE tickets SET opening_key = 'mode:' || mode;
ALTER TABLE tickets DROP COLUMN mode;
CREATE UNIQUE INDEX tickets_one_open ON tickets (asset, opening_key) WHERE open = 1 AND opening_key IS NOT NULL;
CREATE INDEX tickets_of_key ON tickets (asset, opening_key, id) WHERE opening_key IS NOT NULL;
-- The ticket it is a part of, or follows.
ALTER TABLE tickets ADD COLUMN parent INTEGER;
CREATE INDEX tickets_of_parent ON tickets (parent, id) WHERE parent IS NOT NULL;

-- Notes, time spent, attachments: nothing is changed or taken back.
CREATE TABLE ticket_entries (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    ticket    INTEGER NOT NULL REFERENCES tickets,
    bytes     INTEGER NOT NULL CHECK (bytes >= 0), -- of its file
    body      TEXT NOT NULL
) STRICT;
CREATE INDEX ticket_entries_of ON ticket_entries (ticket, seq);
CREATE TABLE attachments (
    entry   INTEGER PRIMARY KEY REFERENCES ticket_entries,
    content BLOB NOT NULL
) STRICT;
