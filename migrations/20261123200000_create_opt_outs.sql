-- Read model: opt_outs. The auditors' trail: every opt-out, with what its event says. Sealed text is the event's, verbatim.
CREATE TABLE opt_outs (
    position       bigint      PRIMARY KEY,
    subscriber_id  uuid        NOT NULL,
    recorded_at    timestamptz NOT NULL,
    channel        text        NOT NULL,
    -- Empty: of everything.
    groups         uuid[]      NOT NULL,
    campaign_id    uuid,
    dispatch_id    uuid,
    actor          text,
    request_id     text,
    source_address text,
    user_agent     text
);
CREATE INDEX opt_outs_recorded ON opt_outs (recorded_at);
CREATE INDEX opt_outs_channel ON opt_outs (channel, position);
CREATE INDEX opt_outs_campaign ON opt_outs (campaign_id, position) WHERE campaign_id IS NOT NULL;
CREATE INDEX opt_outs_groups ON opt_outs USING gin (groups);

-- One person's mails, for the history that auditors ask for. The column never changes, so that updates stay HOT.
CREATE INDEX recipients_subscriber ON recipients (subscriber_id);
