-- Read model: campaigns.
CREATE TABLE campaigns (
    id               uuid        PRIMARY KEY,
    version          bigint      NOT NULL,
    details          jsonb       NOT NULL,
    status           text        NOT NULL,
    status_reason    text,
    scheduled_for    timestamptz,
    -- What the audience was frozen to.
    manifest         jsonb,
    created_position bigint      NOT NULL,
    created_at       timestamptz NOT NULL,
    changed_at       timestamptz NOT NULL
);
CREATE INDEX campaigns_newest ON campaigns (created_position);
CREATE INDEX campaigns_status ON campaigns (status, created_position);
