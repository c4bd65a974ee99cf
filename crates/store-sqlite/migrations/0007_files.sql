-- 0007_files: documents of machines and articles, each once, by what is in it; who was written to, and time booked, by index.

CREATE TABLE files (
    sha256     TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    media_type TEXT NOT NULL,
    bytes      INTEGER NOT NULL CHECK (bytes > 0),
    content    BLOB NOT NULL
) STRICT;
CREATE INDEX deliveries_to ON deliveries (recipient, address);
CREATE INDEX ticket_entries_of_time ON ticket_entries (ticket) WHERE json_extract(body, '$.body.entry') = 'time';
