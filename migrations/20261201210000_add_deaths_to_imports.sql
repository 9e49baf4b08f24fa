-- Workers in a row that took an import and neither wrote a batch of it nor gave it back: after some it is given up.
-- A constant default rewrites nothing.
SET LOCAL lock_timeout = '1s';
ALTER TABLE imports ADD COLUMN deaths integer NOT NULL DEFAULT 0;
