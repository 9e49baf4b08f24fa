-- Where this history is: a database that was restored, copied or failed over to shows by it that it is not where it was.
-- Null: this Postgres does not say, and nothing is compared.
SET LOCAL lock_timeout = '5s';

ALTER TABLE log_epoch
    ADD COLUMN system_identifier bigint,
    ADD COLUMN timeline          integer,
    -- The epochs that this history had before restores.
    ADD COLUMN earlier           uuid[] NOT NULL DEFAULT '{}';

-- An ordinary role may call these (Postgres 15). What it may not call is not known.
CREATE FUNCTION this_cluster(OUT system_identifier bigint, OUT timeline integer) LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF has_function_privilege('pg_control_system()', 'EXECUTE') THEN
        SELECT c.system_identifier INTO system_identifier FROM pg_control_system() c;
    END IF;
    -- A file of the log that is written bears the timeline at once; the last checkpoint's may be an older one.
    IF NOT pg_is_in_recovery() AND has_function_privilege('pg_walfile_name(pg_lsn)', 'EXECUTE') THEN
        timeline := ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer;
    END IF;
END $$;

UPDATE log_epoch e SET system_identifier = c.system_identifier, timeline = c.timeline FROM this_cluster() c;

-- How this is not the place where the history was; null: it is.
CREATE FUNCTION log_moved() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT CASE WHEN e.system_identifier <> c.system_identifier THEN 'another_cluster'
                        WHEN e.timeline <> c.timeline THEN 'another_timeline' END
            FROM log_epoch e, this_cluster() c);
END $$;

-- Whether the log has this very event at this position.
CREATE FUNCTION log_has(at_position bigint, of_type text, of_id text, at_sequence bigint, at_time timestamptz)
    RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM log l JOIN events e USING (append_id)
        WHERE l.position = at_position AND e.aggregate_type = of_type AND e.aggregate_id = of_id
          AND e.sequence = at_sequence AND e.recorded_at = at_time);
END $$;

-- Whether the log goes on from what somebody outside of the database has seen of it, in this epoch or before a restore that
-- was marked. Null: nobody has seen anything.
CREATE FUNCTION log_follows(seen jsonb) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN seen IS NULL OR (
        SELECT (seen ->> 'epoch')::uuid = ANY (e.earlier) OR ((seen ->> 'epoch')::uuid = e.epoch
            AND EXISTS (
                SELECT FROM events v
                WHERE v.aggregate_type = seen ->> 'aggregate_type' AND v.aggregate_id = seen ->> 'aggregate_id'
                  AND v.sequence = (seen ->> 'sequence')::bigint AND v.recorded_at = (seen ->> 'recorded_at')::timestamptz))
        FROM log_epoch e);
END $$;

-- Where the log is comes first: what an operator said was said of the log as it was.
CREATE OR REPLACE FUNCTION sending_stopped_by() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce(log_moved(), (SELECT reason FROM sending));
END $$;
