-- What has to be done about files in the object store, written in the transaction of the events that it follows from:
-- an upload that nobody completes expires, and the files of what was rejected, deleted or expired are removed.
CREATE TABLE media_files (
    media_id      uuid        PRIMARY KEY,
    key           text        NOT NULL,
    status        text        NOT NULL,
    -- An upload that was allowed may end as late as this: until then what was removed may come back.
    arrives_until timestamptz NOT NULL,
    removed_at    timestamptz
);
CREATE INDEX media_files_open ON media_files (arrives_until) WHERE status <> 'uploaded';
