-- Read model: subscribers. Sealed text is the event's, verbatim.
CREATE TABLE subscribers (
    id               uuid        PRIMARY KEY,
    version          bigint      NOT NULL,
    address_hash     bytea       NOT NULL,
    hash_key_id      text        NOT NULL,
    address          text        NOT NULL,
    name             text,
    attributes       text,
    global_opt_out   boolean     NOT NULL,
    -- {group id: sequence of the consent event, or null after an opt-out}
    groups           jsonb       NOT NULL,
    status           text        NOT NULL
                     GENERATED ALWAYS AS (CASE WHEN global_opt_out THEN 'opted_out' ELSE 'active' END) STORED,
    created_position bigint      NOT NULL,
    created_at       timestamptz NOT NULL,
    changed_at       timestamptz NOT NULL
);
-- Not unique: slots are read at their own pace, so that a changed address may be seen at two readers for a moment.
CREATE INDEX subscribers_address ON subscribers (address_hash);
CREATE UNIQUE INDEX subscribers_newest ON subscribers (created_position);
CREATE INDEX subscribers_status ON subscribers (status, created_position);

-- The consents on record once more, so that a list of any group's subscribers, large or small, is read in its order.
CREATE TABLE subscribers_groups (
    group_id         uuid   NOT NULL,
    -- Names the subscriber: each begins at a position of its own.
    created_position bigint NOT NULL,
    PRIMARY KEY (group_id, created_position)
);
