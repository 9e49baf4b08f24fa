-- Of an opt-in by a link the person is told as of an opt-out, by the same notes. A constant default rewrites nothing.
SET LOCAL lock_timeout = '1s';
ALTER TABLE opt_out_mails ADD COLUMN opted_in boolean NOT NULL DEFAULT false;
