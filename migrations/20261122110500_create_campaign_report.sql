-- Read model: campaign_report. Sums over streams of three types, which arrive in any order: a row may be counted up
-- before its campaign is known (status is null).
CREATE TABLE campaign_report (
    campaign_id         uuid   PRIMARY KEY,
    status              text,
    status_reason       text,
    manifest_recipients bigint,
    planned             bigint NOT NULL DEFAULT 0,
    pending             bigint NOT NULL DEFAULT 0,
    accepted            bigint NOT NULL DEFAULT 0,
    suppressed          bigint NOT NULL DEFAULT 0,
    rejected            bigint NOT NULL DEFAULT 0,
    unknown             bigint NOT NULL DEFAULT 0,
    cancelled           bigint NOT NULL DEFAULT 0,
    unsubscribed        bigint NOT NULL DEFAULT 0,
    late_handovers      bigint NOT NULL DEFAULT 0,
    delivered           bigint NOT NULL DEFAULT 0,
    bounced             bigint NOT NULL DEFAULT 0,
    complained          bigint NOT NULL DEFAULT 0,
    opened              bigint NOT NULL DEFAULT 0,
    clicked             bigint NOT NULL DEFAULT 0,
    -- Whether an ended campaign has everybody's end, too.
    complete            boolean NOT NULL GENERATED ALWAYS AS
        (coalesce(status = 'completed' AND pending = 0 AND planned = manifest_recipients, false)) STORED,
    CONSTRAINT campaign_report_adds_up
        CHECK (planned = pending + accepted + suppressed + rejected + unknown + cancelled)
) WITH (fillfactor = 50);

-- The state of each dispatch, from which the next event's difference follows.
CREATE TABLE campaign_report_dispatches (
    dispatch_id uuid    PRIMARY KEY,
    campaign_id uuid    NOT NULL,
    page        integer NOT NULL,
    version     bigint  NOT NULL,
    cancelled   boolean NOT NULL,
    -- A letter for each recipient by its index: see dispatches.rs.
    states      text    NOT NULL
) WITH (fillfactor = 50);

-- Readers who opted out by a campaign's mail: each counts once.
CREATE TABLE campaign_report_unsubscribed (
    campaign_id   uuid NOT NULL,
    subscriber_id uuid NOT NULL,
    PRIMARY KEY (campaign_id, subscriber_id)
);
