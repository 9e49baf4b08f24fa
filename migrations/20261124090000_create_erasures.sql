-- Erased people of whom something may be left outside their events: mails in the outbox, requests for mails to their
-- address, cells of rejected rows. Written in the transaction that destroys their key; a worker deletes the row once
-- nothing is left.
CREATE TABLE erasures (
    subscriber_id uuid        PRIMARY KEY,
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Whom mails outside campaigns were for, by their hashes. Few events are requests for one; others pay nothing.
CREATE INDEX events_mails ON events USING gin ((payload -> event_type) jsonb_path_ops)
    WHERE aggregate_type = 'transactional' AND sequence = 1;
