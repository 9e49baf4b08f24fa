-- Whether anything may be handed over. One row: `reason` says why nothing may; null: mails go.
CREATE TABLE sending (
    single    boolean     PRIMARY KEY DEFAULT true CHECK (single),
    paused_at timestamptz,
    reason    text,
    CHECK ((paused_at IS NULL) = (reason IS NULL))
);
INSERT INTO sending DEFAULT VALUES;

-- Why nothing may be handed over now; null: mails go. Whoever authorizes a mail asks this, as do those who show it.
CREATE FUNCTION sending_stopped_by() RETURNS text LANGUAGE sql STABLE AS 'SELECT reason FROM sending';
