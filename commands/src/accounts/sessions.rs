use super::{record, roles};
use crate::{CommandError, Commands, Context};
use chrono::{DateTime, Utc};
use domain::access::Role;
use domain::session::{EndReason, Session, SessionCommand, SessionError};
use domain::{SessionId, UserId};
use eventstore::sealing::SubjectKeys;
use sqlx::PgConnection;

/// Sessions of one user at once; one more ends the oldest.
const SESSIONS_MAX: i64 = 50;

/// A session as its user sees it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct SessionRow {
    pub session_id: SessionId,
    /// Sealed by the session's own key, as `source_address` and `user_agent` of its first event.
    pub source_address: Option<String>,
    pub user_agent: Option<String>,
    pub started_at: DateTime<Utc>,
    pub refreshed_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

impl From<SessionError> for CommandError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Unknown => Self::NotFound("session"),
            SessionError::Exists => Self::Conflict,
            SessionError::Over => Self::Unauthorized("the session is over: sign in again"),
            SessionError::Refreshes => {
                Self::Unauthorized("the session was refreshed too often: sign in again")
            }
        }
    }
}

impl Commands {
    /// The roles that the session's user has now, if the session still stands.
    pub async fn standing(
        &self,
        session: SessionId,
        user: UserId,
    ) -> Result<Option<Vec<Role>>, CommandError> {
        let found: Option<Vec<String>> = sqlx::query_scalar(
            "SELECT a.roles FROM sessions s JOIN accounts a USING (user_id)
             WHERE session_id = $1 AND user_id = $2 AND s.ended_at IS NULL AND s.expires_at > now() AND NOT a.disabled",
        )
        .bind(session)
        .bind(user)
        .fetch_optional(&self.store.pool)
        .await?;
        Ok(found.map(|words| roles(&words)).transpose()?)
    }

    /// Those that stand, newest first, at most as many as there can be.
    pub async fn sessions(&self, user: UserId) -> Result<Vec<SessionRow>, CommandError> {
        let rows = sqlx::query_as(
            "SELECT session_id, source_address, user_agent, started_at, refreshed_at, expires_at FROM sessions
             WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now() ORDER BY session_id DESC LIMIT $2",
        )
        .bind(user)
        .bind(SESSIONS_MAX)
        .fetch_all(&self.store.pool)
        .await?;
        Ok(rows)
    }

    /// Ends one session of this user's; another's is not known.
    pub async fn end_session(
        &self,
        context: &Context,
        user: UserId,
        session: SessionId,
        reason: EndReason,
    ) -> Result<(), CommandError> {
        let mut tx = self.store.pool.begin().await?;
        let lock = "SELECT session_id FROM sessions
                    WHERE session_id = $1 AND user_id = $2 AND ended_at IS NULL FOR UPDATE";
        let found: Vec<SessionId> =
            sqlx::query_scalar(lock).bind(session).bind(user).fetch_all(&mut *tx).await?;
        if found.is_empty() {
            return Err(CommandError::NotFound("session"));
        }
        end(&mut tx, &found, reason, context).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(())
    }
}

/// Locks the sessions of a user that have not ended, in the order of their ids.
pub(super) async fn lock_all(tx: &mut PgConnection, user: UserId) -> Result<Vec<SessionId>, CommandError> {
    let lock = "SELECT session_id FROM sessions
                WHERE user_id = $1 AND ended_at IS NULL ORDER BY session_id FOR UPDATE";
    Ok(sqlx::query_scalar(lock).bind(user).fetch_all(tx).await?)
}

/// Locks the oldest of them, so that with one more there are no more than allowed. The account is locked already, so that none
/// begins meanwhile; where one ends while this waits, the oldest goes though there would be room.
pub(super) async fn beyond_the_limit(
    tx: &mut PgConnection,
    user: UserId,
) -> Result<Vec<SessionId>, CommandError> {
    let lock = "SELECT session_id FROM sessions WHERE session_id IN (
                    SELECT session_id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now()
                    ORDER BY session_id DESC OFFSET $2)
                AND ended_at IS NULL ORDER BY session_id FOR UPDATE";
    Ok(sqlx::query_scalar(lock).bind(user).bind(SESSIONS_MAX - 1).fetch_all(tx).await?)
}

/// Ends sessions that the caller has locked.
pub(super) async fn end(
    tx: &mut PgConnection,
    sessions: &[SessionId],
    reason: EndReason,
    context: &Context,
) -> Result<(), CommandError> {
    sqlx::query("UPDATE sessions SET ended_at = clock_timestamp() WHERE session_id = ANY($1)")
        .bind(sessions)
        .execute(&mut *tx)
        .await?;
    // The version that a client saw is another stream's.
    let context = Context { if_match: None, ..context.clone() };
    for session in sessions {
        let command = SessionCommand::End { reason };
        record::<Session>(tx, *session, &SubjectKeys::new(), command, &context).await?;
    }
    Ok(())
}
