-- Keys that are destroyed at a time: of sign-ins that failed. A table of its own, so that that of all keys is left as it is.
CREATE TABLE expiring_keys (
    subject_id uuid        PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX expiring_keys_old ON expiring_keys (expires_at);
