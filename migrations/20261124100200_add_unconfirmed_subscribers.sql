-- Who was added by a request to subscribe that nobody confirmed yet.
ALTER TABLE subscribers ADD COLUMN unconfirmed boolean NOT NULL DEFAULT false;
ALTER TABLE subscribers DROP COLUMN status;
ALTER TABLE subscribers ADD COLUMN status text NOT NULL GENERATED ALWAYS AS (
    CASE WHEN address IS NULL THEN 'erased' WHEN global_opt_out THEN 'opted_out' WHEN unconfirmed THEN 'unconfirmed'
        ELSE 'active' END) STORED;
CREATE INDEX subscribers_status ON subscribers (status, created_position);
