-- Who signs in, and what proves it. Written in the transaction of the events of users, sessions and API keys, and asked
-- instead of a read model: one that is behind must let nobody in. Secrets are here, hashed, and in no event.
-- Lock order: idempotency key, account, sessions by id, refresh tokens, events.

CREATE TABLE accounts (
    user_id      uuid    PRIMARY KEY,
    address_hash bytea   NOT NULL CHECK (octet_length(address_hash) = 32),
    hash_key_id  text    NOT NULL,
    -- Sealed, as in UserAdded.
    address      text    NOT NULL,
    roles        text[]  NOT NULL,
    disabled     boolean NOT NULL DEFAULT false,
    -- Sequence of the user's last event.
    version      bigint  NOT NULL,
    CONSTRAINT accounts_address UNIQUE (address_hash)
);

CREATE TABLE passwords (
    user_id    uuid        PRIMARY KEY REFERENCES accounts,
    -- argon2id with its parameters and its salt, in the PHC string format.
    phc        text        NOT NULL,
    -- When the user chose it; a hash made anew of the same password changes nothing here.
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE sessions (
    session_id     uuid        PRIMARY KEY,
    user_id        uuid        NOT NULL,
    -- Where it began, sealed, as in SessionStarted.
    source_address text,
    user_agent     text,
    started_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    refreshed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at     timestamptz NOT NULL,
    ended_at       timestamptz
);
CREATE INDEX sessions_live ON sessions (user_id, session_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_expired ON sessions (expires_at);

-- Every token of a session's family, SHA-256 of 256 random bits, so that a spent one is known when it comes back.
CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    session_id uuid  NOT NULL REFERENCES sessions ON DELETE CASCADE,
    -- When the answer with its successor left.
    spent_at   timestamptz,
    -- When the last of the requests arrived that were under way with the one that spent it.
    raced_at   timestamptz
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

CREATE TABLE api_keys (
    api_key_id uuid        PRIMARY KEY,
    key_hash   bytea       NOT NULL CHECK (octet_length(key_hash) = 32),
    name       text        NOT NULL,
    scopes     text[]      NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT api_keys_hash UNIQUE (key_hash)
);
