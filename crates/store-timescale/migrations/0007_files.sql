-- 0007_files: documents of machines and articles, each once, by what is in it.

CREATE TABLE files (
    sha256     text PRIMARY KEY,
    name       text NOT NULL,
    media_type text NOT NULL,
    bytes      bigint NOT NULL CHECK (bytes > 0),
    content    bytea NOT NULL
);
