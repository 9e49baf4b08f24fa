-- Read model: group_members. Who could be written to by which group, between which positions of the log.
CREATE TABLE group_members (
    group_id        uuid   NOT NULL,
    subscriber_id   uuid   NOT NULL,
    -- In force from this position on ...
    joined_position bigint NOT NULL,
    -- ... and not any more from this one on.
    left_position   bigint,
    -- Freezing pages a group by subscriber_id along this key.
    PRIMARY KEY (group_id, subscriber_id, joined_position),
    CHECK (left_position > joined_position)
);
CREATE INDEX group_members_open ON group_members (subscriber_id) WHERE left_position IS NULL;

-- Who opted out of everything: their consents open no membership until that ends.
CREATE TABLE group_members_suppressed (
    subscriber_id uuid PRIMARY KEY
);

CREATE TABLE group_members_counts (
    group_id uuid   PRIMARY KEY,
    members  bigint NOT NULL
) WITH (fillfactor = 50);
