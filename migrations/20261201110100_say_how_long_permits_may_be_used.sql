-- Each permit says how long its calls may start, so that opt-outs rely on no setting of other processes; and who looks for open
-- permits passes no dead rows of the past, of which a dump keeps all.
ALTER TABLE permits
    -- The window and the margin: after somebody has seen the permit, calls by it start no longer than this. A binary of the version
    -- before does not say it: its settings allow 15 s and 10 s at the most.
    ADD COLUMN start_within_ms integer NOT NULL DEFAULT 25000,
    -- The transaction that opened it. 0: before there was this column.
    ADD COLUMN opened_in bigint NOT NULL DEFAULT 0;
-- A constant first and this then: nothing is rewritten.
ALTER TABLE permits ALTER COLUMN opened_in SET DEFAULT (pg_current_xact_id()::text::bigint);
CREATE INDEX permits_opened_in ON permits (opened_in);

-- The permits that are open, whoever they are for.
--
-- Under an old snapshot (a dump) dead rows stay, in the table and in each index: thousands, of which an opt-out would pass every one.
-- So a session remembers below which transaction none is open any more, and looks from there on: each dead row is passed once.
--
-- It is safe whatever clocks do. `xmin` of a snapshot is the oldest transaction that still runs: all before it have ended, so each permit
-- that they opened is seen by this snapshot or is closed for ever, and every later permit is opened by `xmin` or a later one.
-- The number is the session's and dies with it: a crash, a restore or a failover, after which a transaction's number may be drawn
-- again, ends every session. A transaction that is rolled back takes its step back, which repeats a part of the way.
CREATE FUNCTION open_permits() RETURNS SETOF permits LANGUAGE plpgsql ROWS 20
    SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    from_here bigint := coalesce(nullif(current_setting('postledger.permits_from', true), ''), '0')::bigint;
    running   bigint;
    oldest    bigint;
    open      permits[];
BEGIN
    -- One statement is one snapshot.
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, min(p.opened_in), array_agg(p)
        INTO running, oldest, open FROM permits p WHERE p.opened_in >= from_here;
    PERFORM set_config('postledger.permits_from', least(running, oldest)::text, false);
    RETURN QUERY SELECT * FROM unnest(open);
END $$;
