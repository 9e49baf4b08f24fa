-- Idempotency keys in one plain table, deleted by age in small batches. Making and dropping day partitions took ACCESS EXCLUSIVE,
-- which waits behind whoever reads (a dump, for hours), while all commands with a key wait behind it.
--
-- The version before goes on meanwhile: the table keeps its name, its columns and a unique key over (day, actor, route, key), so
-- that its statements, planned anew, do as before and both versions share their keys.
CREATE TABLE idempotency_keys_kept (
    -- Part of the key for the version before: of when there were partitions.
    day        date        NOT NULL,
    actor      text        NOT NULL,
    route      text        NOT NULL,
    key        text        NOT NULL,
    body_hmac  bytea       NOT NULL,
    answer     jsonb       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT idempotency_keys_key PRIMARY KEY (actor, route, key, day)
);
-- Most are copied while others write, so that the strong lock is held for the few that came meanwhile.
INSERT INTO idempotency_keys_kept (day, actor, route, key, body_hmac, answer, created_at)
    SELECT day, actor, route, key, body_hmac, answer, created_at FROM idempotency_keys
    WHERE created_at > now() - interval '25 hours';
CREATE INDEX idempotency_keys_old ON idempotency_keys_kept (created_at);

LOCK TABLE idempotency_keys IN ACCESS EXCLUSIVE MODE;
INSERT INTO idempotency_keys_kept (day, actor, route, key, body_hmac, answer, created_at)
    SELECT day, actor, route, key, body_hmac, answer, created_at FROM idempotency_keys
    WHERE created_at > now() - interval '1 hour'
    ON CONFLICT (day, actor, route, key) DO UPDATE
        SET body_hmac = excluded.body_hmac, answer = excluded.answer, created_at = excluded.created_at;
DROP TABLE idempotency_keys;
ALTER TABLE idempotency_keys_kept RENAME TO idempotency_keys;

-- The version before calls it each hour.
CREATE OR REPLACE FUNCTION rotate_idempotency_keys() RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
