-- States of long streams at a sequence: derived, and free to be deleted at any time. What is personal in them is sealed as it is
-- in the events.
CREATE TABLE snapshots (
    aggregate_type text    NOT NULL,
    aggregate_id   text    NOT NULL,
    -- Of the aggregate's state: one of another format is passed over.
    format         integer NOT NULL CHECK (format > 0),
    sequence       bigint  NOT NULL CHECK (sequence > 0),
    state          jsonb   NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id)
) WITH (fillfactor = 70);
