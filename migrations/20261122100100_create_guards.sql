-- What must hold across streams, written in the transaction of the events that it follows from.
-- Lock order everywhere: idempotency key, campaign, gates by hash, permits, dispatch work, events.

-- Whether, and by which consent, an address may be written to. A missing row counts as suppressed.
CREATE TABLE gates (
    address_hash  bytea   NOT NULL CHECK (octet_length(address_hash) = 32),
    hash_key_id   text    NOT NULL,
    subscriber_id uuid    NOT NULL,
    suppressed    boolean NOT NULL,
    -- {group id: sequence of the consent event, or null after an opt-out}
    groups        jsonb   NOT NULL,
    -- The person has another address now.
    is_left       boolean NOT NULL DEFAULT false,
    CONSTRAINT gates_address PRIMARY KEY (address_hash)
) WITH (fillfactor = 85);

CREATE TABLE campaign_gates (
    campaign_id uuid PRIMARY KEY,
    template_id uuid NOT NULL,
    group_id    uuid NOT NULL,
    status      text NOT NULL,
    due_at      timestamptz
) WITH (fillfactor = 70);
CREATE INDEX campaign_gates_due ON campaign_gates (due_at) WHERE status = 'scheduled';
CREATE INDEX campaign_gates_active ON campaign_gates (status) WHERE status IN ('freezing', 'sending');
CREATE INDEX campaign_gates_template ON campaign_gates (template_id);
CREATE INDEX campaign_gates_group ON campaign_gates (group_id);

-- Work for senders: claimed by SKIP LOCKED with a lease and a fencing number.
CREATE TABLE dispatch_work (
    dispatch_id     uuid    PRIMARY KEY,
    campaign_id     uuid    NOT NULL,
    page            integer NOT NULL,
    last_subscriber uuid    NOT NULL,
    recipients      integer NOT NULL,
    pending         integer NOT NULL,
    fence           bigint  NOT NULL DEFAULT 0,
    leased_until    timestamptz,
    not_before      timestamptz,
    CONSTRAINT dispatch_work_page UNIQUE (campaign_id, page)
) WITH (fillfactor = 70);
CREATE INDEX dispatch_work_open ON dispatch_work (campaign_id, page) WHERE pending > 0;

-- Leave to call the provider for `readers` (the last eight bytes of each subscriber's id; a collision makes an opt-out
-- wait a little longer, never shorter). By person and not by address: an address that changes while a call is under
-- way must not hide the call. Deleted when what came of it is recorded.
CREATE TABLE permits (
    permit_id   uuid        PRIMARY KEY,
    campaign_id uuid        NOT NULL,
    dispatch_id uuid        NOT NULL,
    mailer      text        NOT NULL,
    readers     bigint[]    NOT NULL,
    opened_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Nobody may act in its worker's place before: the window, its margin and the call's time-out are over.
    expires_at  timestamptz NOT NULL
);
CREATE INDEX permits_campaign ON permits (campaign_id);

-- Answers to commands, kept for 24 hours in partitions by day that are dropped whole.
CREATE TABLE idempotency_keys (
    day        date        NOT NULL,
    actor      text        NOT NULL,
    route      text        NOT NULL,
    key        text        NOT NULL,
    body_hmac  bytea       NOT NULL,
    answer     jsonb       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (day, actor, route, key)
) PARTITION BY RANGE (day);

-- Makes the partitions of yesterday to the day after tomorrow and drops older ones. Called at start and hourly.
CREATE FUNCTION rotate_idempotency_keys() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    part  text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('rotate_idempotency_keys', 0));
    FOR offset_days IN -1..2 LOOP
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I PARTITION OF idempotency_keys FOR VALUES FROM (%L) TO (%L)',
            'idempotency_keys_' || to_char(today + offset_days, 'YYYYMMDD'), today + offset_days, today + offset_days + 1);
    END LOOP;
    FOR part IN SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'idempotency_keys'::regclass LOOP
        IF right(part, 8) < to_char(today - 1, 'YYYYMMDD') THEN
            EXECUTE format('DROP TABLE %s', part);
        END IF;
    END LOOP;
END $$;
SELECT rotate_idempotency_keys();
