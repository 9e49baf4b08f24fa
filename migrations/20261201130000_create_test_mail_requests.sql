-- Who asked for test mails, and to which mailboxes: what their limits count. Deleted after two days.
CREATE TABLE test_mail_requests (
    dispatch_id  uuid        NOT NULL,
    recipient    smallint    NOT NULL,
    -- A user or a key.
    actor        text        NOT NULL,
    -- Keyed hash of the mailbox, not of the address: spellings of one count together.
    address_hash bytea       NOT NULL CHECK (octet_length(address_hash) = 32),
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dispatch_id, recipient)
);
CREATE INDEX test_mail_requests_actor ON test_mail_requests (actor, requested_at);
CREATE INDEX test_mail_requests_address ON test_mail_requests (address_hash, requested_at);
CREATE INDEX test_mail_requests_old ON test_mail_requests (requested_at);
