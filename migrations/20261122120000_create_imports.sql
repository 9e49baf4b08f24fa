-- Imports of subscribers: the body as it was uploaded, sealed, and how far it has been worked through.

CREATE TABLE imports (
    import_id      uuid        PRIMARY KEY,
    -- `spooling`: still being uploaded, and shown to nobody. Swept by age where its request died.
    status         text        NOT NULL CHECK (status IN ('spooling', 'queued', 'running', 'completed', 'failed')),
    -- Why it failed or waits.
    reason         text,
    name           text,
    group_id       uuid,
    imported_as    text        NOT NULL CHECK (imported_as IN ('active', 'opted_out')),
    consent_source text        NOT NULL,
    -- Written to each event: who uploaded it, by which request.
    metadata       jsonb       NOT NULL,
    -- Seals the chunks and the rejected values; wrapped by a key that is not in this database.
    master_key_id  text        NOT NULL,
    wrapped_key    bytea       NOT NULL,
    bytes_total    bigint      NOT NULL DEFAULT 0,
    rows_total     bigint      NOT NULL DEFAULT 0,
    -- Where the next row starts. Moves with the counts, in the transaction of the rows' events.
    next_byte      bigint      NOT NULL,
    next_line      bigint      NOT NULL,
    rows           bigint      NOT NULL DEFAULT 0,
    created        bigint      NOT NULL DEFAULT 0,
    updated        bigint      NOT NULL DEFAULT 0,
    unchanged      bigint      NOT NULL DEFAULT 0,
    kept_opted_out bigint      NOT NULL DEFAULT 0,
    rejected       bigint      NOT NULL DEFAULT 0,
    -- Work is claimed by SKIP LOCKED with a lease and a fencing number.
    fence          bigint      NOT NULL DEFAULT 0,
    leased_until   timestamptz,
    -- Failures in a row that were not the database's own.
    tries          integer     NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    touched_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at    timestamptz,
    CONSTRAINT imports_adds_up CHECK (rows = created + updated + unchanged + kept_opted_out + rejected),
    CONSTRAINT imports_finished CHECK ((finished_at IS NOT NULL) = (status IN ('completed', 'failed')))
) WITH (fillfactor = 50);
CREATE INDEX imports_open ON imports (import_id) WHERE status IN ('spooling', 'queued', 'running');

-- The body in pieces of one size, each sealed with its number. Deleted when the import ends.
CREATE TABLE import_chunks (
    import_id uuid    NOT NULL REFERENCES imports ON DELETE CASCADE,
    n         integer NOT NULL,
    sealed    bytea   NOT NULL,
    PRIMARY KEY (import_id, n)
);
-- Ciphertext does not compress.
ALTER TABLE import_chunks ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- Rows that could not be taken, by the line where each starts. `value` is the sealed address cell.
CREATE TABLE import_rejected (
    import_id uuid   NOT NULL REFERENCES imports ON DELETE CASCADE,
    line      bigint NOT NULL,
    value     bytea  NOT NULL,
    reason    text   NOT NULL,
    PRIMARY KEY (import_id, line)
);
