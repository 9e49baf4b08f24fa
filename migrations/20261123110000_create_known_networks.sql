-- From where users signed in: guesses at their passwords that come from elsewhere do not slow them down there. A keyed hash,
-- since an address is personal.
CREATE TABLE known_networks (
    user_id      uuid        NOT NULL REFERENCES accounts ON DELETE CASCADE,
    network_hash bytea       NOT NULL CHECK (octet_length(network_hash) = 32),
    seen_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, network_hash)
);
