-- 0007_files: documents of machines and articles, each once, by what is in it; who was written to, and time booked, by index.

CREATE TABLE files (
    sha256     text PRIMARY KEY,
    name       text NOT NULL,
    media_type text NOT NULL,
    bytes      bigint NOT NULL CHECK (bytes > 0),
    content    bytea NOT NULL
);
CREATE INDEX deliveries_to ON deliveries (recipient, address);
CREATE INDEX ticket_entries_of_time ON ticket_entries (ticket) WHERE body->'body'->>'entry' = 'time';
