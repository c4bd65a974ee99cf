-- 0005_outbox: what people are told of, whom it goes to, and what customers answer.

-- Written by the transaction that made it happen. `routed`: it is decided who gets it.
CREATE TABLE notices (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    id     TEXT NOT NULL UNIQUE,
    routed INTEGER NOT NULL CHECK (routed IN (0, 1)),
    body   TEXT NOT NULL
) STRICT;
CREATE INDEX notices_unrouted ON notices (seq) WHERE routed = 0;
CREATE TABLE deliveries (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    notice     INTEGER NOT NULL REFERENCES notices,
    ticket     INTEGER NOT NULL,
    channel    TEXT NOT NULL,
    recipient  TEXT NOT NULL,
    address    TEXT NOT NULL,
    language   TEXT NOT NULL,
    digest     INTEGER NOT NULL CHECK (digest IN (0, 1)),
    customer   INTEGER NOT NULL CHECK (customer IN (0, 1)),
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'dead', 'obsolete')),
    attempts   INTEGER NOT NULL CHECK (attempts >= 0),
    next_at    INTEGER NOT NULL,
    error      TEXT,
    updated_at INTEGER NOT NULL,
    UNIQUE (notice, channel, address)
) STRICT;
CREATE INDEX deliveries_due ON deliveries (next_at, id) WHERE state = 'waiting';
CREATE INDEX deliveries_in_state ON deliveries (state, id);
CREATE INDEX deliveries_of_ticket ON deliveries (ticket, id);
CREATE TABLE survey_answers (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    ticket INTEGER NOT NULL REFERENCES tickets,
    newest INTEGER NOT NULL CHECK (newest IN (0, 1)),
    body   TEXT NOT NULL
) STRICT;
CREATE INDEX survey_answers_of_ticket ON survey_answers (ticket, seq);
CREATE UNIQUE INDEX survey_answers_that_count ON survey_answers (ticket) WHERE newest = 1;
