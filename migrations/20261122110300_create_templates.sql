-- Read model: templates, each in its last version.
CREATE TABLE templates (
    id               uuid        PRIMARY KEY,
    version          bigint      NOT NULL,
    content          jsonb       NOT NULL,
    created_position bigint      NOT NULL,
    created_at       timestamptz NOT NULL,
    changed_at       timestamptz NOT NULL
);
CREATE INDEX templates_newest ON templates (created_position);
