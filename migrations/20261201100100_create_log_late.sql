-- Events that got their positions behind later ones of their streams, by `postledger log repair`: see eventstore/src/lost.rs. Read
-- models that are filled anew put these streams aside, and take them in their own order.
CREATE TABLE log_late (
    append_id      bigint      PRIMARY KEY,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    repaired_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
