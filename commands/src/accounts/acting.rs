//! Who acts on users and keys is an administrator at the moment that it is done: the body of a request may take seconds
//! after its head was admitted, and so may the turn to hash a password.

use crate::{CommandError, Context};
use domain::{SessionId, UserId};
use sqlx::PgConnection;

const NO_MORE: CommandError =
    CommandError::Unauthorized("your session is over, or you are no administrator any more: sign in again");

/// Locks the accounts of who acts and of whom they act on, in the order that all take them, then looks at who acts.
/// Whoever acts without a session, on the command line, is admitted there.
pub(super) async fn lock_by_admin(
    tx: &mut PgConnection,
    context: &Context,
    on: Option<UserId>,
) -> Result<(), CommandError> {
    let lock = "SELECT FROM accounts WHERE user_id = ANY($1) ORDER BY user_id FOR NO KEY UPDATE";
    sqlx::query(lock).bind(both(context, on)).execute(&mut *tx).await?;
    match context.session {
        Some((user, session)) => look(tx, user, session).await,
        None => Ok(()),
    }
}

/// The same with all administrators, so that two of them cannot demote each other at once.
pub(super) async fn lock_all_by_admin(
    tx: &mut PgConnection,
    context: &Context,
    on: UserId,
) -> Result<(), CommandError> {
    let lock =
        "SELECT FROM accounts WHERE user_id = ANY($1) OR 'admin' = ANY(roles) ORDER BY user_id FOR UPDATE";
    sqlx::query(lock).bind(both(context, Some(on))).execute(&mut *tx).await?;
    lock_by_admin(tx, context, Some(on)).await
}

fn both(context: &Context, on: Option<UserId>) -> Vec<UserId> {
    context.session.map(|(user, _)| user).into_iter().chain(on).collect()
}

/// A session may end by itself, with no lock on its account.
async fn look(tx: &mut PgConnection, user: UserId, session: SessionId) -> Result<(), CommandError> {
    sqlx::query("SELECT FROM sessions WHERE session_id = $1 FOR SHARE")
        .bind(session)
        .execute(&mut *tx)
        .await?;
    let stands: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM sessions s JOIN accounts a USING (user_id)
         WHERE session_id = $1 AND user_id = $2 AND s.ended_at IS NULL AND s.expires_at > now()
             AND NOT a.disabled AND 'admin' = ANY(a.roles))",
    )
    .bind(session)
    .bind(user)
    .fetch_one(tx)
    .await?;
    if stands { Ok(()) } else { Err(NO_MORE) }
}
