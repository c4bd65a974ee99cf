-- 0007_files: documents of machines and articles, each once, by what is in it.

CREATE TABLE files (
    sha256     TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    media_type TEXT NOT NULL,
    bytes      INTEGER NOT NULL CHECK (bytes > 0),
    content    BLOB NOT NULL
) STRICT;
