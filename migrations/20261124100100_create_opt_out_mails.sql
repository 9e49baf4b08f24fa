-- Opt-outs that their person is told of, noted in the transaction of the opt-out: the sender makes each a mail, once.
CREATE TABLE opt_out_mails (
    subscriber_id uuid        NOT NULL,
    -- The event, by its place in the person's stream.
    opt_out       bigint      NOT NULL,
    scope         jsonb       NOT NULL,
    opted_out_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When it became a mail, or was found to be one too many.
    done_at       timestamptz,
    PRIMARY KEY (subscriber_id, opt_out)
);
CREATE INDEX opt_out_mails_waiting ON opt_out_mails (opted_out_at) WHERE done_at IS NULL;
CREATE INDEX opt_out_mails_old ON opt_out_mails (opted_out_at);
