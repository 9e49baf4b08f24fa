-- When a row's work failed, the last time, and how often: those that were not tried yet go first, and one that fails rests.
SET LOCAL lock_timeout = '1s';
ALTER TABLE reset_requests ADD COLUMN tried_at timestamptz, ADD COLUMN tries integer NOT NULL DEFAULT 0;
ALTER TABLE erasures ADD COLUMN tried_at timestamptz;
ALTER TABLE opt_out_mails ADD COLUMN tried_at timestamptz, ADD COLUMN tries integer NOT NULL DEFAULT 0;
