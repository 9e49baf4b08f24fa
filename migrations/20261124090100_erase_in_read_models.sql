-- Who was erased has no address; their opt-outs keep no trace of where they came from.
ALTER TABLE subscribers ALTER COLUMN address DROP NOT NULL, DROP COLUMN status;
ALTER TABLE subscribers ADD COLUMN status text NOT NULL GENERATED ALWAYS AS (
    CASE WHEN address IS NULL THEN 'erased' WHEN global_opt_out THEN 'opted_out' ELSE 'active' END) STORED;
CREATE INDEX subscribers_status ON subscribers (status, created_position);

CREATE INDEX opt_outs_subscriber ON opt_outs (subscriber_id);
