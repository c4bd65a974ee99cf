-- 0009_mails: messages that came by e-mail and belong nowhere yet.

CREATE TABLE mails (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL UNIQUE,
    address    TEXT NOT NULL,
    waiting    INTEGER NOT NULL CHECK (waiting IN (0, 1)),
    bytes      INTEGER NOT NULL CHECK (bytes >= 0),
    body       TEXT NOT NULL,
    content    BLOB
) STRICT;
CREATE INDEX mails_waiting ON mails (seq) WHERE waiting = 1;
CREATE INDEX mails_from ON mails (address);
