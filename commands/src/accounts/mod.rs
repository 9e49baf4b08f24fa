//! Users, their sessions and API keys.
//!
//! What happened is an event; what proves who somebody is (a password's hash, a refresh token's, a key's) is a row that is
//! written in the same transaction and is in no event. Locks are taken in the order account, identities, sessions by id, refresh
//! tokens; what is decided is looked up in a statement after the lock.

mod acting;
mod api_keys;
mod chosen;
mod identity;
mod known_networks;
mod password;
mod refresh;
mod refusals;
mod reset_requests;
mod sessions;
mod sign_in;
mod users;

pub use api_keys::{ApiKeyRow, KEY_PREFIX, NewApiKey};
pub use identity::Identity;
pub(crate) use refusals::Refusals;
pub use sessions::SessionRow;
pub use sign_in::{SESSION_LIFE, SignedIn};
pub use users::{NewUser, UserPatch, UserRow};

use crate::{CommandError, Context};
use domain::access::{Role, Scope};
use domain::visit::Visit;
use domain::{Event, Guarded, Personal, Sequence, UserId};
use eventstore::keys::KeyError;
use eventstore::sealing::{SubjectKey, SubjectKeys};
use eventstore::{Decided, Done, PositionToken, StoreError, append, feed, load_in};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// What a command did to one stream.
pub(crate) struct Recorded<A> {
    after: A,
    version: Sequence,
    position: PositionToken,
    appended: bool,
}

impl<A> Recorded<A> {
    pub(crate) fn done(self, answer: Value) -> Done {
        Done { answer, position: self.position, appended: self.appended, repeated: false }
    }
}

/// Decides on a stream whose row the caller has locked, and appends in the caller's transaction.
pub(crate) async fn record<A>(
    tx: &mut PgConnection,
    stream: Uuid,
    keys: &SubjectKeys,
    command: A::Command,
    context: &Context,
) -> Result<Recorded<A>, CommandError>
where
    A: Guarded,
    A::Event: Event,
    A::Error: Into<CommandError>,
{
    let loaded = load_in::<A>(&mut *tx, stream).await?;
    if context.if_match.is_some_and(|seen| seen != loaded.version) {
        return Err(CommandError::Stale);
    }
    let decided = Decided::decide(stream, loaded, command).await.map_err(Into::into)?;
    let (after, version) = (decided.after.clone(), decided.loaded_after().version);
    let is_nothing = decided.events.is_empty();
    let appends = if is_nothing { Vec::new() } else { vec![decided.into_append(keys)?] };
    let appended = append(&mut *tx, appends, &context.metadata()).await?;
    let epoch = match appended.epoch {
        Some(epoch) => epoch,
        None => feed::epoch(&mut *tx).await?,
    };
    let position = PositionToken { epoch, touched: appended.touched };
    Ok(Recorded { after, version, position, appended: !is_nothing })
}

fn key_of(keys: &SubjectKeys, subject: Uuid) -> Result<&SubjectKey, StoreError> {
    keys.get(&subject).ok_or(StoreError::Key(KeyError::Destroyed))
}

/// Sealed before it is decided on, since a row keeps it as the event does.
fn sealed(
    key: &SubjectKey,
    sequence: Sequence,
    field: &str,
    value: Personal,
) -> Result<Personal, StoreError> {
    match value {
        Personal::Plain(plain) => Ok(Personal::Sealed(key.seal(sequence, field, &plain)?)),
        Personal::Sealed(_) => Ok(value),
    }
}

fn sealed_visit(key: &SubjectKey, sequence: Sequence, visit: Visit) -> Result<Visit, StoreError> {
    let seal =
        |field, value: Option<Personal>| value.map(|value| sealed(key, sequence, field, value)).transpose();
    Ok(Visit {
        source_address: seal("source_address", visit.source_address)?,
        user_agent: seal("user_agent", visit.user_agent)?,
    })
}

/// For a row. What is not sealed is not kept.
fn sealed_text(value: &Personal) -> Option<&str> {
    match value {
        Personal::Sealed(text) => Some(text),
        Personal::Plain(_) => None,
    }
}

/// Locks an account's row and reads nothing: what a statement joins to the row that it locks, or asks for beside it, is as
/// old as the statement, which may have waited for the lock. So the next statement looks.
pub(crate) async fn lock(tx: &mut PgConnection, user: UserId) -> Result<(), CommandError> {
    let lock = "SELECT FROM accounts WHERE user_id = $1 FOR NO KEY UPDATE";
    sqlx::query(lock).bind(user).execute(tx).await?;
    Ok(())
}

/// The row as the stream is now.
async fn set_version(tx: &mut PgConnection, user: UserId, version: Sequence) -> Result<(), CommandError> {
    sqlx::query("UPDATE accounts SET version = $2 WHERE user_id = $1")
        .bind(user)
        .bind(version.cast_signed())
        .execute(tx)
        .await?;
    Ok(())
}

fn words(roles: &[Role]) -> Vec<&'static str> {
    roles.iter().map(|role| role.as_str()).collect()
}

fn roles(words: &[String]) -> Result<Vec<Role>, StoreError> {
    let role = |word: &String| Role::parse(word).ok_or_else(|| StoreError::Format(format!("role {word:?}")));
    words.iter().map(role).collect()
}

fn scopes(words: &[String]) -> Result<Vec<Scope>, StoreError> {
    let scope =
        |word: &String| Scope::parse(word).ok_or_else(|| StoreError::Format(format!("scope {word:?}")));
    words.iter().map(scope).collect()
}
