-- How far the log is in Kafka, acknowledged: one row, made by the first relay. Written over the session that holds the
-- relay's advisory lock, and only ever forward. A row of another epoch is of another log: the relay begins anew.
CREATE TABLE relay (
    single          boolean     PRIMARY KEY DEFAULT true CHECK (single),
    epoch           uuid        NOT NULL,
    position        bigint      NOT NULL DEFAULT 0,
    acknowledged_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 10);
