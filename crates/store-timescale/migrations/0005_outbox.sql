-- 0005_outbox: what people are told of, whom it goes to, and what customers answer.

-- Written by the transaction that made it happen. `routed`: it is decided who gets it.
CREATE TABLE notices (
    seq    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id     text NOT NULL UNIQUE,
    routed boolean NOT NULL,
    body   json NOT NULL
);
CREATE INDEX notices_unrouted ON notices (seq) WHERE NOT routed;
CREATE TABLE deliveries (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    notice     bigint NOT NULL REFERENCES notices,
    ticket     bigint NOT NULL,
    channel    text NOT NULL,
    recipient  text NOT NULL,
    address    text NOT NULL,
    language   text NOT NULL,
    digest     boolean NOT NULL,
    customer   boolean NOT NULL,
    state      text NOT NULL CHECK (state IN ('waiting', 'delivered', 'dead', 'obsolete')),
    attempts   bigint NOT NULL CHECK (attempts >= 0),
    next_at    timestamptz NOT NULL,
    error      text,
    updated_at timestamptz NOT NULL,
    UNIQUE (notice, channel, address)
);
CREATE INDEX deliveries_due ON deliveries (next_at, id) WHERE state = 'waiting';
CREATE INDEX deliveries_in_state ON deliveries (state, id);
CREATE INDEX deliveries_of_ticket ON deliveries (ticket, id);
CREATE TABLE survey_answers (
    seq    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket bigint NOT NULL REFERENCES tickets,
    newest boolean NOT NULL,
    body   json NOT NULL
);
CREATE INDEX survey_answers_of_ticket ON survey_answers (ticket, seq);
CREATE UNIQUE INDEX survey_answers_that_count ON survey_answers (ticket) WHERE newest;
