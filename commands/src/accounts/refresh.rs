//! Refresh tokens: each is good for one use, and all of a session are one family (RFC 9700 section 4.14.2).
//!
//! Of several requests with one token one wins. The others were either under way when it won, as those of two tabs are, and
//! are told so; or they came later: then two parties hold the token, and the family is revoked. What decides is whether the
//! request arrived before the winner's answer left, by Postgres's clock. A burst that began so is one burst as long as
//! each follows the one before at once: a busy machine takes a moment to receive it. Nobody but the winner gets a token.

use super::sign_in::{SignedIn, give_token};
use super::{record, roles};
use crate::secrets;
use crate::{CommandError, Commands, Context};
use chrono::{DateTime, TimeDelta, Utc};
use domain::access::Role;
use domain::session::{Session, SessionCommand};
use domain::visit::Visit;
use domain::{SessionId, UserId};
use eventstore::StoreError;
use eventstore::sealing::{self, SubjectKeys};
use sqlx::{PgConnection, PgPool};
use std::time::{Duration, Instant};
use tracing::Instrument;

const UNKNOWN: CommandError = CommandError::Unauthorized("the refresh token is not valid: sign in again");

/// While its successor's answer is on its way, a token counts as spent this far ahead; the true time follows. A process
/// that dies in between leaves replays of those seconds unpunished, and unanswered.
const ANSWER_MAX_SECONDS: i32 = 10;

/// Who sends a head and keeps the body back has not arrived yet.
const ARRIVAL_MAX: Duration = Duration::from_secs(1);

/// What was sent at the same moment may take so long to arrive: the winner's answer, due every ten minutes, waits for it.
const GATHER: Duration = Duration::from_millis(30);

/// What follows another request of a burst so soon belongs to it, and a burst is over so long after the winner's answer.
const BURST_GAP: TimeDelta = TimeDelta::milliseconds(100);
const BURST_MAX: TimeDelta = TimeDelta::seconds(1);

#[derive(sqlx::FromRow)]
struct Found {
    session_id: SessionId,
    user_id: UserId,
    /// Neither ended nor expired, and its user not disabled.
    stands: bool,
    spent_at: Option<DateTime<Utc>>,
    raced_at: Option<DateTime<Utc>>,
    roles: Vec<String>,
}

enum Outcome {
    Won(Box<SignedIn>),
    Raced,
    Reused,
}

impl Commands {
    /// Spends a refresh token for the next. `arrived` is when the request came in.
    pub async fn refresh(
        &self,
        context: &Context,
        token: &str,
        visit: Visit,
        arrived: Instant,
    ) -> Result<SignedIn, CommandError> {
        // In a task of its own: a client that hangs up must not leave the token half spent.
        let (commands, context, hash) = (self.clone(), context.clone(), secrets::hash(token));
        let whole = async move { commands.spend_and_note(&context, &hash, visit, arrived).await };
        let whole = tokio::spawn(whole.in_current_span());
        // Without the error's text, which quotes the panic's message.
        whole.await.map_err(|_| StoreError::Format("a refresh's task panicked".to_owned()))?
    }

    async fn spend_and_note(
        &self,
        context: &Context,
        hash: &[u8; 32],
        visit: Visit,
        arrived: Instant,
    ) -> Result<SignedIn, CommandError> {
        match self.spend(context, hash, visit, arrived).await? {
            Outcome::Won(signed_in) => {
                note_answer(&self.store.pool, hash).await?;
                Ok(*signed_in)
            }
            Outcome::Raced => Err(CommandError::RefreshRaced),
            Outcome::Reused => Err(UNKNOWN),
        }
    }

    async fn spend(
        &self,
        context: &Context,
        hash: &[u8; 32],
        visit: Visit,
        arrived: Instant,
    ) -> Result<Outcome, CommandError> {
        let mut tx = self.store.pool.begin().await?;
        let arrived = arrival(&mut tx, arrived).await?;
        lock_session(&mut tx, hash).await?;
        let found = look_up(&mut tx, hash).await?.ok_or(UNKNOWN)?;
        let context = Context { actor: format!("user:{}", found.user_id), ..context.clone() };
        let keys = sealing::fetch(&mut *tx, &self.store.master, &[found.session_id]).await?;
        let outcome = match found.spent_at {
            Some(spent_at) if is_racing(arrived, spent_at, found.raced_at) => {
                let raced =
                    "UPDATE refresh_tokens SET raced_at = greatest(raced_at, $2) WHERE token_hash = $1";
                sqlx::query(raced).bind(hash.as_slice()).bind(arrived).execute(&mut *tx).await?;
                Outcome::Raced
            }
            Some(_) => {
                revoke(&mut tx, &found, &keys, visit, &context).await?;
                Outcome::Reused
            }
            None if !found.stands => return Err(UNKNOWN),
            None => {
                let roles = roles(&found.roles)?;
                Outcome::Won(Box::new(rotate(&mut tx, hash, &found, roles, &keys, visit, &context).await?))
            }
        };
        tx.commit().await?;
        self.store.news.appended();
        Ok(outcome)
    }
}

/// The winner's answer leaves now.
async fn note_answer(pool: &PgPool, hash: &[u8; 32]) -> Result<(), StoreError> {
    tokio::time::sleep(GATHER).await;
    let spent = "UPDATE refresh_tokens SET spent_at = clock_timestamp() WHERE token_hash = $1";
    sqlx::query(spent).bind(hash.as_slice()).execute(pool).await?;
    Ok(())
}

fn is_racing(arrived: DateTime<Utc>, spent_at: DateTime<Utc>, raced_at: Option<DateTime<Utc>>) -> bool {
    let follows = |raced_at: DateTime<Utc>| arrived < raced_at + BURST_GAP && arrived < spent_at + BURST_MAX;
    arrived < spent_at || raced_at.is_some_and(follows)
}

/// When the request came in, by Postgres's clock, since processes' own may differ.
async fn arrival(tx: &mut PgConnection, arrived: Instant) -> Result<DateTime<Utc>, CommandError> {
    let ago_seconds = arrived.elapsed().min(ARRIVAL_MAX).as_secs_f64();
    let arrival = "SELECT clock_timestamp() - make_interval(secs => $1)";
    Ok(sqlx::query_scalar(arrival).bind(ago_seconds).fetch_one(tx).await?)
}

async fn lock_session(tx: &mut PgConnection, hash: &[u8; 32]) -> Result<(), CommandError> {
    let lock = "SELECT FROM sessions JOIN refresh_tokens t USING (session_id) WHERE t.token_hash = $1
                FOR UPDATE OF sessions";
    sqlx::query(lock).bind(hash.as_slice()).execute(tx).await?;
    Ok(())
}

async fn look_up(tx: &mut PgConnection, hash: &[u8; 32]) -> Result<Option<Found>, CommandError> {
    let found = "SELECT s.session_id, s.user_id, t.spent_at, t.raced_at, a.roles,
                     s.ended_at IS NULL AND s.expires_at > now() AND NOT a.disabled AS stands
                 FROM refresh_tokens t JOIN sessions s USING (session_id) JOIN accounts a USING (user_id)
                 WHERE t.token_hash = $1";
    Ok(sqlx::query_as(found).bind(hash.as_slice()).fetch_optional(tx).await?)
}

async fn rotate(
    tx: &mut PgConnection,
    hash: &[u8; 32],
    found: &Found,
    roles: Vec<Role>,
    keys: &SubjectKeys,
    visit: Visit,
    context: &Context,
) -> Result<SignedIn, CommandError> {
    let spend = "UPDATE refresh_tokens SET spent_at = clock_timestamp() + make_interval(secs => $2)
                 WHERE token_hash = $1";
    sqlx::query(spend).bind(hash.as_slice()).bind(ANSWER_MAX_SECONDS).execute(&mut *tx).await?;
    let used = "UPDATE sessions SET refreshed_at = clock_timestamp() WHERE session_id = $1";
    sqlx::query(used).bind(found.session_id).execute(&mut *tx).await?;
    let refresh_token = give_token(tx, found.session_id).await?;
    record::<Session>(tx, found.session_id, keys, SessionCommand::Refresh { visit }, context).await?;
    Ok(SignedIn { user_id: found.user_id, session_id: found.session_id, roles, refresh_token })
}

async fn revoke(
    tx: &mut PgConnection,
    found: &Found,
    keys: &SubjectKeys,
    visit: Visit,
    context: &Context,
) -> Result<(), CommandError> {
    let end = "UPDATE sessions SET ended_at = coalesce(ended_at, clock_timestamp()) WHERE session_id = $1";
    sqlx::query(end).bind(found.session_id).execute(&mut *tx).await?;
    record::<Session>(tx, found.session_id, keys, SessionCommand::Reuse { visit }, context).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_what_arrived_before_the_answer_and_what_follows_it_at_once() {
        let at = |ms: i64| DateTime::from_timestamp_millis(1_000_000 + ms).unwrap();
        let table = [
            (-1, None, true),
            (0, None, false),
            (1, None, false),
            (50, Some(-20), true),
            (80, Some(-20), false),
            (130, Some(50), true),
            (999, Some(950), true),
            (1_000, Some(950), false),
        ];
        for (arrived, raced, expected) in table {
            assert_eq!(is_racing(at(arrived), at(0), raced.map(at)), expected, "{arrived} {raced:?}");
        }
    }
}
