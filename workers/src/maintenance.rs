//! Housekeeping of the database that any process may do, any number of times.

use sqlx::PgPool;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Sessions that are over are kept this much longer, so that their refresh tokens are known when they come back; in one go
/// so many are deleted.
const FORGET_SESSIONS: &str = "DELETE FROM sessions WHERE session_id IN (
    SELECT session_id FROM sessions WHERE expires_at < now() - interval '7 days' LIMIT 10000)";

/// Longer than any of their links is good for, and than their limits count.
const FORGET_ACCOUNT_MAILS: &str = "DELETE FROM account_mails WHERE dispatch_id IN (
    SELECT dispatch_id FROM account_mails WHERE requested_at < now() - interval '15 days' LIMIT 10000)";

/// Longer than any of their links is good for. What was asked is not kept readable for longer either: its key goes first.
const FORGET_SUBSCRIPTION_REQUESTS: &str = "WITH old AS (
        SELECT dispatch_id FROM subscription_requests WHERE requested_at < now() - interval '15 days' LIMIT 10000),
    sealed AS (
        UPDATE subject_keys SET wrapped_key = NULL, destroyed_at = now()
        WHERE subject_id IN (SELECT dispatch_id FROM old) AND wrapped_key IS NOT NULL)
    DELETE FROM subscription_requests WHERE dispatch_id IN (SELECT dispatch_id FROM old)";

/// Longer than their limits count.
const FORGET_OPT_OUT_MAILS: &str = "DELETE FROM opt_out_mails WHERE (subscriber_id, opt_out) IN (
    SELECT subscriber_id, opt_out FROM opt_out_mails
    WHERE opted_out_at < now() - interval '2 days' AND done_at IS NOT NULL LIMIT 10000)";

/// Their limits count a day. The key of one that no sender took is of use to nobody.
const FORGET_RESET_REQUESTS: &str = "WITH old AS (
        DELETE FROM reset_requests WHERE attempt_id IN (
            SELECT attempt_id FROM reset_requests WHERE requested_at < now() - interval '2 days' LIMIT 10000)
        RETURNING attempt_id, taken),
    keys AS (DELETE FROM subject_keys WHERE subject_id IN (SELECT attempt_id FROM old WHERE NOT taken))
    SELECT FROM old";

/// Longer than their limits count.
const FORGET_TEST_MAILS: &str = "DELETE FROM test_mail_requests WHERE (dispatch_id, recipient) IN (
    SELECT dispatch_id, recipient FROM test_mail_requests WHERE requested_at < now() - interval '2 days' LIMIT 10000)";

/// A state is refused for its age from then on.
const FORGET_STATES: &str = "DELETE FROM oauth_states WHERE state_hash IN (
    SELECT state_hash FROM oauth_states WHERE expires_at < now() LIMIT 10000)";

/// Rotates the day partitions of idempotency keys and deletes what is over, at once and then at each interval, until `stop`.
pub async fn run(pool: PgPool, every: Duration, stop: CancellationToken) {
    loop {
        if let Err(error) = sqlx::query("SELECT rotate_idempotency_keys()").execute(&pool).await {
            tracing::warn!(%error, "idempotency keys: rotation will be tried again");
        }
        for (what, forget) in [
            ("old sessions", FORGET_SESSIONS),
            ("old mails of accounts", FORGET_ACCOUNT_MAILS),
            ("old requests for resets", FORGET_RESET_REQUESTS),
            ("states of sign-ins", FORGET_STATES),
            ("old requests to subscribe", FORGET_SUBSCRIPTION_REQUESTS),
            ("old mails of opt-outs", FORGET_OPT_OUT_MAILS),
            ("old requests for test mails", FORGET_TEST_MAILS),
        ] {
            if let Err(error) = forget_all(&pool, forget, &stop).await {
                tracing::warn!(%error, "{what}: deletion will be tried again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// In goes of a bounded size, as many as it takes.
async fn forget_all(pool: &PgPool, forget: &str, stop: &CancellationToken) -> Result<(), sqlx::Error> {
    while !stop.is_cancelled() && sqlx::query(forget).execute(pool).await?.rows_affected() > 0 {}
    Ok(())
}
