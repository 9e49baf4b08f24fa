-- The mailer of a mail outside campaigns, so that mails for one that is down keep no others waiting. Null: of a campaign's
-- dispatch, and of a mail that an earlier release queued.
SET LOCAL lock_timeout = '1s';
ALTER TABLE dispatch_work ADD COLUMN mailer text;
