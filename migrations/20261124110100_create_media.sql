-- Read model: media that are not deleted, each with what became of its upload.
CREATE TABLE media (
    id               uuid        PRIMARY KEY,
    version          bigint      NOT NULL,
    upload           jsonb       NOT NULL,
    phase            jsonb       NOT NULL,
    status           text        NOT NULL,
    created_position bigint      NOT NULL,
    created_at       timestamptz NOT NULL,
    changed_at       timestamptz NOT NULL
);
CREATE INDEX media_newest ON media (created_position);
