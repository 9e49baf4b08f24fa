-- The version of its template that a campaign sends: one that was paused may take a newer one than it was frozen with.
-- Nulls everywhere: an earlier release wrote the row, and its campaign took none.
SET LOCAL lock_timeout = '1s';
ALTER TABLE campaign_gates ADD COLUMN template_version bigint;
ALTER TABLE campaigns ADD COLUMN template_version bigint;
-- Of a dispatch: what its next mails are made from, and what the last one of each recipient was made from. Null: as it was frozen.
ALTER TABLE campaign_report_dispatches ADD COLUMN template_version bigint, ADD COLUMN template_versions jsonb;
ALTER TABLE recipients_dispatches ADD COLUMN template_version bigint, ADD COLUMN template_versions jsonb;
-- As permit_id: of the leave to send under which the state stands.
ALTER TABLE recipients ADD COLUMN template_version bigint;

-- Of the versions that a campaign took: who got them, and who may have. All others got the one that was frozen.
CREATE TABLE campaign_report_versions (
    campaign_id      uuid   NOT NULL,
    template_version bigint NOT NULL,
    accepted         bigint NOT NULL,
    unknown          bigint NOT NULL,
    PRIMARY KEY (campaign_id, template_version)
);
