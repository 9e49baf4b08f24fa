-- Mails with a link that lets somebody choose a password: how many an address got, and what its newest link proves.
-- The secret in the link is drawn by the sender and is nowhere but in the mail; its hash is written in the transaction
-- that lets the mail go.
CREATE TABLE account_mails (
    dispatch_id  uuid        PRIMARY KEY,
    address_hash bytea       NOT NULL CHECK (octet_length(address_hash) = 32),
    kind         text        NOT NULL CHECK (kind IN ('password_reset', 'invitation')),
    -- Null: nobody has this address, so no mail will go.
    user_id      uuid,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- SHA-256 of 256 random bits. Null before the mail may go, and once the link was used or another one replaced it.
    token_hash   bytea       CHECK (octet_length(token_hash) = 32),
    expires_at   timestamptz,
    CONSTRAINT account_mails_token UNIQUE (token_hash)
);
CREATE INDEX account_mails_address ON account_mails (address_hash, kind, requested_at);
CREATE INDEX account_mails_user ON account_mails (user_id) WHERE token_hash IS NOT NULL;
CREATE INDEX account_mails_old ON account_mails (requested_at);
