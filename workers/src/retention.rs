//! How long each table of the schema keeps its rows, and what ends it: the one place for it. `docs/retention.md` is this table in
//! words, and a test fails for a table that is not in it.

/// A table and the end of its rows.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    /// For whom it may concern: the sentence of the docs.
    pub kept: &'static str,
    end: End,
}

#[derive(Debug)]
enum End {
    /// Nothing ends it, or the code that works with it.
    Elsewhere,
    /// Maintenance runs this until it deletes nothing. `$1` is the most that one go takes; rows that somebody else has locked
    /// are left to the next.
    Deletion(&'static str),
}

impl Table {
    /// The statement that maintenance runs.
    pub fn deletion(&self) -> Option<&'static str> {
        match self.end {
            End::Elsewhere => None,
            End::Deletion(statement) => Some(statement),
        }
    }
}

const fn elsewhere(name: &'static str, kept: &'static str) -> Table {
    Table { name, kept, end: End::Elsewhere }
}

const fn deleted(name: &'static str, kept: &'static str, statement: &'static str) -> Table {
    Table { name, kept, end: End::Deletion(statement) }
}

const DERIVED: &str = "as long as its read model: derived from the log, emptied by `postledger rebuild`";

/// Every table, by name.
pub const TABLES: &[Table] = &[
    deleted(
        "account_mails",
        "15 days: longer than any of their links is good for, and than their limits count",
        "DELETE FROM account_mails WHERE dispatch_id IN (
             SELECT dispatch_id FROM account_mails WHERE requested_at < now() - interval '15 days'
             LIMIT $1 FOR UPDATE SKIP LOCKED)",
    ),
    elsewhere("accounts", "for ever: who signs in, or did"),
    elsewhere("api_keys", "for ever: a key that was revoked stays known"),
    deleted(
        "attempts",
        "until the work gets on, or until its campaign freezes no more",
        "DELETE FROM attempts WHERE (work, id) IN (
             SELECT a.work, a.id FROM attempts a LEFT JOIN campaign_gates c ON c.campaign_id = a.id
             WHERE a.work = 'freeze' AND c.status IS DISTINCT FROM 'freezing'
             LIMIT $1 FOR UPDATE OF a SKIP LOCKED)",
    ),
    elsewhere(
        "attribute_names",
        "for ever, 10,000 names at the most: of columns, no values; templates are checked against them",
    ),
    elsewhere("campaign_gates", "for ever: a row for each campaign"),
    elsewhere("campaign_report", DERIVED),
    elsewhere("campaign_report_dispatches", DERIVED),
    elsewhere("campaign_report_unsubscribed", DERIVED),
    elsewhere("campaign_report_versions", DERIVED),
    elsewhere("campaigns", DERIVED),
    elsewhere("checkpoints", "as long as their read model: a row for each of its slots"),
    elsewhere("dead_letters", "until they are replayed, or their read model is rebuilt"),
    deleted(
        "dispatch_work",
        "30 days after its campaign ended. Of a mail outside campaigns 15 days, and what the mail held can't be read from then on: its key is destroyed",
        "WITH old AS (
             DELETE FROM dispatch_work WHERE dispatch_id IN (
                 SELECT w.dispatch_id FROM dispatch_work w LEFT JOIN campaign_gates c USING (campaign_id)
                 WHERE w.pending = 0 AND w.dispatch_id NOT IN (SELECT dispatch_id FROM open_permits())
                   AND CASE WHEN w.campaign_id IS NULL
                       THEN EXISTS (
                           SELECT FROM events e
                           WHERE e.aggregate_type = 'transactional' AND e.aggregate_id = w.dispatch_id::text
                             AND e.sequence = 1 AND e.recorded_at < now() - interval '15 days')
                       ELSE c.status IN ('completed', 'cancelled') AND EXISTS (
                           SELECT FROM events e
                           WHERE e.aggregate_type = 'campaign' AND e.aggregate_id = w.campaign_id::text
                             AND e.event_type IN ('CampaignCompleted', 'CampaignCancelled')
                             AND e.recorded_at < now() - interval '30 days')
                       END
                 LIMIT $1 FOR UPDATE OF w SKIP LOCKED)
             RETURNING dispatch_id, campaign_id),
         keys AS (
             UPDATE subject_keys SET wrapped_key = NULL, destroyed_at = now()
             WHERE subject_id IN (SELECT dispatch_id FROM old WHERE campaign_id IS NULL) AND wrapped_key IS NOT NULL)
         SELECT FROM old",
    ),
    elsewhere("erasures", "until nothing is left of the person outside the log"),
    elsewhere("events", "for ever: the log"),
    deleted(
        "expiring_keys",
        "180 days: then nobody can read where a failed sign-in came from. The key is destroyed with the row",
        "WITH old AS (
             DELETE FROM expiring_keys WHERE subject_id IN (
                 SELECT subject_id FROM expiring_keys WHERE expires_at < now()
                 ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)
             RETURNING subject_id),
         keys AS (
             UPDATE subject_keys SET wrapped_key = NULL, destroyed_at = now()
             WHERE subject_id IN (SELECT subject_id FROM old) AND wrapped_key IS NOT NULL)
         SELECT FROM old",
    ),
    elsewhere("gates", "for ever: what an address may be sent, erased people's too"),
    elsewhere("group_members", DERIVED),
    elsewhere("group_members_counts", DERIVED),
    elsewhere("group_members_suppressed", DERIVED),
    elsewhere("groups", DERIVED),
    deleted(
        "idempotency_keys",
        "24 hours, and up to an hour until they are deleted",
        "DELETE FROM idempotency_keys WHERE (actor, route, key, day) IN (
             SELECT actor, route, key, day FROM idempotency_keys WHERE created_at < now() - interval '24 hours'
             ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED)",
    ),
    elsewhere("identities", "until an administrator unlinks them"),
    elsewhere("import_chunks", "until their import ends"),
    deleted(
        "import_rejected",
        "90 days after its import ended: the rows that were refused, for whoever mends the file",
        "DELETE FROM import_rejected WHERE (import_id, line) IN (
             SELECT r.import_id, r.line FROM imports i JOIN import_rejected r USING (import_id)
             WHERE i.finished_at < now() - interval '90 days'
             LIMIT $1 FOR UPDATE OF r SKIP LOCKED)",
    ),
    elsewhere("imports", "for ever: what was imported by whom, in numbers"),
    elsewhere("known_networks", "the last few of each user, as long as the account"),
    elsewhere("log", "for ever: the order of the events"),
    elsewhere("log_epoch", "for ever: one row"),
    elsewhere("log_head", "for ever: one row"),
    elsewhere("log_late", "for ever: what a repair of the log numbered late"),
    elsewhere("media", DERIVED),
    elsewhere("media_files", "until the file is gone, and its upload can bring it back no more"),
    deleted(
        "oauth_states",
        "until they are refused for their age, ten minutes",
        "DELETE FROM oauth_states WHERE state_hash IN (
             SELECT state_hash FROM oauth_states WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)",
    ),
    deleted(
        "opt_out_mails",
        "2 days after the opt-out or opt-in, once its mail is done: longer than their limits count",
        "DELETE FROM opt_out_mails WHERE (subscriber_id, opt_out) IN (
             SELECT subscriber_id, opt_out FROM opt_out_mails
             WHERE opted_out_at < now() - interval '2 days' AND done_at IS NOT NULL
             LIMIT $1 FOR UPDATE SKIP LOCKED)",
    ),
    elsewhere("opt_outs", DERIVED),
    elsewhere("opt_outs_of_groups", DERIVED),
    elsewhere("parked_streams", "until their dead letters are replayed, or their read model is rebuilt"),
    elsewhere("passwords", "as long as the account, or until another one is chosen"),
    elsewhere("pending", "until the sequencer has numbered the event"),
    elsewhere("permits", "until what came of their calls is recorded"),
    elsewhere("recipients", DERIVED),
    elsewhere("recipients_dispatches", DERIVED),
    elsewhere("refresh_tokens", "as long as their session"),
    elsewhere("relay", "for ever: one row"),
    deleted(
        "reset_requests",
        "2 days: their limits count one. The key of one that no sender took goes too, being of use to nobody",
        "WITH old AS (
             DELETE FROM reset_requests WHERE attempt_id IN (
                 SELECT attempt_id FROM reset_requests WHERE requested_at < now() - interval '2 days'
                 LIMIT $1 FOR UPDATE SKIP LOCKED)
             RETURNING attempt_id, taken),
         keys AS (DELETE FROM subject_keys WHERE subject_id IN (SELECT attempt_id FROM old WHERE NOT taken))
         SELECT FROM old",
    ),
    elsewhere("sending", "for ever: one row"),
    elsewhere("service_keys", "as long as tokens by them are good"),
    deleted(
        "sessions",
        "7 days after their end by age, so that their refresh tokens are known when they come back",
        "DELETE FROM sessions WHERE session_id IN (
             SELECT session_id FROM sessions WHERE expires_at < now() - interval '7 days'
             LIMIT $1 FOR UPDATE SKIP LOCKED)",
    ),
    elsewhere("snapshots", "until a later one, or until the person is erased: derived from the log"),
    elsewhere("subject_keys", "the row for ever; the key in it until the person is erased, or its time is over"),
    elsewhere("subscribers", DERIVED),
    elsewhere("subscribers_groups", DERIVED),
    deleted(
        "subscription_requests",
        "15 days: longer than any of their links is good for. Their key is destroyed with them",
        "WITH old AS (
             DELETE FROM subscription_requests WHERE dispatch_id IN (
                 SELECT dispatch_id FROM subscription_requests WHERE requested_at < now() - interval '15 days'
                 LIMIT $1 FOR UPDATE SKIP LOCKED)
             RETURNING dispatch_id),
         keys AS (
             UPDATE subject_keys SET wrapped_key = NULL, destroyed_at = now()
             WHERE subject_id IN (SELECT dispatch_id FROM old) AND wrapped_key IS NOT NULL)
         SELECT FROM old",
    ),
    elsewhere("templates", DERIVED),
    deleted(
        "test_mail_requests",
        "2 days: longer than their limits count",
        "DELETE FROM test_mail_requests WHERE (dispatch_id, recipient) IN (
             SELECT dispatch_id, recipient FROM test_mail_requests WHERE requested_at < now() - interval '2 days'
             LIMIT $1 FOR UPDATE SKIP LOCKED)",
    ),
];
