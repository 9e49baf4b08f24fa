-- The log of what happened, and what orders it. See ARCHITECTURE.md, "Event store".

-- postgres-es's table with JSONB and two columns more.
CREATE TABLE events (
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    sequence       bigint      NOT NULL CHECK (sequence > 0),
    event_type     text        NOT NULL,
    event_version  text        NOT NULL,
    payload        jsonb       NOT NULL,
    metadata       jsonb       NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    append_id      bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    CONSTRAINT events_stream_sequence PRIMARY KEY (aggregate_type, aggregate_id, sequence),
    CONSTRAINT events_append_id UNIQUE (append_id)
);

-- The unit of order, of parallelism and of checkpoints is (aggregate type, slot). The slot is stored with each log
-- entry, so this function may be replaced without moving what was written.
CREATE FUNCTION stream_slot(aggregate_type text, aggregate_id text) RETURNS smallint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT (get_byte(decode(md5(aggregate_type || ':' || aggregate_id), 'hex'), 0) % 64)::smallint $$;

-- Events that have no position yet. Filled by a trigger, emptied by the sequencer.
CREATE TABLE pending (
    append_id      bigint   PRIMARY KEY,
    aggregate_type text     NOT NULL,
    slot           smallint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

CREATE FUNCTION events_to_pending() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending (append_id, aggregate_type, slot)
    SELECT append_id, aggregate_type, stream_slot(aggregate_type, aggregate_id) FROM appended;
    RETURN NULL;
END $$;

CREATE TRIGGER events_to_pending AFTER INSERT ON events
    REFERENCING NEW TABLE AS appended FOR EACH STATEMENT EXECUTE FUNCTION events_to_pending();

-- What was recorded is not edited. (A superuser still can; the proofs over the log are what shows it.)
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The order: dense, gapless positions.
CREATE TABLE log (
    position       bigint      PRIMARY KEY,
    aggregate_type text        NOT NULL,
    slot           smallint    NOT NULL,
    append_id      bigint      NOT NULL,
    sequenced_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT log_append_id UNIQUE (append_id)
);
CREATE INDEX log_by_slot ON log (aggregate_type, slot, position);
CREATE TRIGGER log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- One row: sequencers take turns by locking it. Every append_id up to `low_water` is sequenced or will never come.
CREATE TABLE log_head (
    single    boolean PRIMARY KEY DEFAULT true CHECK (single),
    epoch     uuid    NOT NULL,
    position  bigint  NOT NULL DEFAULT 0,
    low_water bigint  NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO log_head (epoch) VALUES (gen_random_uuid());

-- Keys of the people whom personal data is about, wrapped by a key that is not in this database.
-- Erasure empties `wrapped_key` and keeps the row.
CREATE TABLE subject_keys (
    subject_id    uuid PRIMARY KEY,
    master_key_id text NOT NULL,
    wrapped_key   bytea,
    destroyed_at  timestamptz,
    CHECK ((wrapped_key IS NULL) = (destroyed_at IS NOT NULL))
);

-- Secrets that all processes share (link tokens), wrapped likewise.
CREATE TABLE service_keys (
    purpose       text        NOT NULL,
    kid           text        NOT NULL,
    master_key_id text        NOT NULL,
    wrapped_key   bytea       NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (purpose, kid)
);
