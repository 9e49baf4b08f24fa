-- What consumers of the log have done: the truth on every carrier.

CREATE TABLE checkpoints (
    projection     text     NOT NULL,
    aggregate_type text     NOT NULL,
    slot           smallint NOT NULL,
    epoch          uuid     NOT NULL,
    position       bigint   NOT NULL,
    PRIMARY KEY (projection, aggregate_type, slot)
) WITH (fillfactor = 50);

-- A stream that met an event its projection could not apply; its later events join the dead letters.
CREATE TABLE parked_streams (
    projection     text        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    parked_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, aggregate_type, aggregate_id)
);

CREATE TABLE dead_letters (
    projection     text        NOT NULL,
    position       bigint      NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    -- Why it was refused; null for events that only follow one in a parked stream.
    error          text,
    parked_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, position)
);
CREATE INDEX dead_letters_stream ON dead_letters (projection, aggregate_type, aggregate_id, position);
