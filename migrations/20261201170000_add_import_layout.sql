-- How a file was understood when it was uploaded, and what its uploader has to know of it. Null: an earlier release took it.
SET LOCAL lock_timeout = '5s';
ALTER TABLE imports ADD COLUMN layout jsonb, ADD COLUMN warnings jsonb,
    -- What an upload may write, counted against the quota of all before it is written.
    ADD COLUMN spool_bytes bigint NOT NULL DEFAULT 0;
