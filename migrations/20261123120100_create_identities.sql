-- Who signs in by OpenID Connect, as which subject of which issuer. Written in the transaction of UserIdentityLinked.
-- Lock order: account, identities, sessions by id.
CREATE TABLE identities (
    -- Keyed hash of issuer and subject.
    identity_hash bytea       PRIMARY KEY CHECK (octet_length(identity_hash) = 32),
    hash_key_id   text        NOT NULL,
    user_id       uuid        NOT NULL REFERENCES accounts,
    linked_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- An address is linked once: what another subject or another provider says of it links nothing more.
    CONSTRAINT identities_user UNIQUE (user_id)
);

-- States of sign-ins that came back from a provider: each is good once. It is sealed in a cookie until then, so that
-- nothing is kept of those who never come back.
CREATE TABLE oauth_states (
    state_hash bytea       PRIMARY KEY CHECK (octet_length(state_hash) = 32),
    expires_at timestamptz NOT NULL
);
CREATE INDEX oauth_states_expired ON oauth_states (expires_at);
