-- 0009_mails: messages that came by e-mail and belong nowhere yet.

CREATE TABLE mails (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL UNIQUE,
    address    text NOT NULL,
    waiting    boolean NOT NULL,
    bytes      bigint NOT NULL CHECK (bytes >= 0),
    body       json NOT NULL,
    content    bytea
);
CREATE INDEX mails_waiting ON mails (seq) WHERE waiting;
CREATE INDEX mails_from ON mails (address);
