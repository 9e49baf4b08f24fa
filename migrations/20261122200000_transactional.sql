-- Mails outside campaigns share the senders' work list and permits: no campaign, no page.
ALTER TABLE dispatch_work ALTER COLUMN campaign_id DROP NOT NULL, ALTER COLUMN last_subscriber DROP NOT NULL;
ALTER TABLE permits ALTER COLUMN campaign_id DROP NOT NULL;
CREATE INDEX dispatch_work_transactional ON dispatch_work (dispatch_id) WHERE campaign_id IS NULL AND pending > 0;
