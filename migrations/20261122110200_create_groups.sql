-- Read model: groups.
CREATE TABLE groups (
    id               uuid        PRIMARY KEY,
    version          bigint      NOT NULL,
    name             text        NOT NULL,
    description      text        NOT NULL,
    created_position bigint      NOT NULL,
    created_at       timestamptz NOT NULL,
    changed_at       timestamptz NOT NULL
);
CREATE INDEX groups_newest ON groups (created_position);
