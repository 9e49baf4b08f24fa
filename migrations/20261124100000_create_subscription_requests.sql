-- Requests to subscribe, each with the mail that asks the address's owner: how many an address got, and what the link in each
-- proves. The secret in the link is drawn by the sender and is nowhere but in the mail; its hash is written in the
-- transaction that lets the mail go.
CREATE TABLE subscription_requests (
    dispatch_id   uuid        PRIMARY KEY,
    address_hash  bytea       NOT NULL CHECK (octet_length(address_hash) = 32),
    requested_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Who confirms by the link. Null before the mail may go.
    subscriber_id uuid,
    -- SHA-256 of 256 random bits.
    token_hash    bytea       CHECK (octet_length(token_hash) = 32),
    expires_at    timestamptz,
    CONSTRAINT subscription_requests_token UNIQUE (token_hash)
);
CREATE INDEX subscription_requests_address ON subscription_requests (address_hash, requested_at);
CREATE INDEX subscription_requests_old ON subscription_requests (requested_at);
