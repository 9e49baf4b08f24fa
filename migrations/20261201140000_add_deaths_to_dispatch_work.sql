-- Workers in a row that took a dispatch and neither settled a chunk of it nor gave it back: after some it is given up.
-- And in what readers of a campaign see, the dispatch that it was paused for.
-- A constant default and a null rewrite nothing.
SET LOCAL lock_timeout = '5s';
ALTER TABLE dispatch_work ADD COLUMN deaths integer NOT NULL DEFAULT 0;
ALTER TABLE campaigns ADD COLUMN status_dispatch uuid;
ALTER TABLE campaign_report ADD COLUMN status_dispatch uuid;
