-- Who asked for a link to choose a new password: one row for whatever address, without a look at who has it, so that neither
-- the answer nor its time tells. A sender takes them: those of users become events and mails, the others nothing.
CREATE TABLE reset_requests (
    -- The stream of its event, if there will be one; its key seals the visit.
    attempt_id     uuid        PRIMARY KEY,
    address_hash   bytea       NOT NULL CHECK (octet_length(address_hash) = 32),
    -- As the event's metadata will have them.
    actor          text        NOT NULL,
    request_id     uuid,
    -- Sealed. Null once it was taken.
    source_address text,
    user_agent     text,
    requested_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    taken          boolean     NOT NULL DEFAULT false
);
CREATE INDEX reset_requests_address ON reset_requests (address_hash, requested_at);
CREATE INDEX reset_requests_waiting ON reset_requests (requested_at) WHERE NOT taken;
CREATE INDEX reset_requests_old ON reset_requests (requested_at);
