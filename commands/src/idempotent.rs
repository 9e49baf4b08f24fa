//! Idempotency keys of commands that own their transaction.

use crate::CommandError;
use eventstore::idempotency::{self, Earlier};
use eventstore::{Done, IdempotencyKey, PositionToken, StoreError, feed};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};

/// Whether this key was answered before, whatever the body.
pub(crate) async fn is_known(pool: &PgPool, key: &IdempotencyKey) -> Result<bool, CommandError> {
    Ok(idempotency::look_up(pool, key).await? != Earlier::None)
}

/// The answer that this key got for this body, if any.
pub(crate) async fn earlier(
    tx: &mut PgConnection,
    key: Option<&IdempotencyKey>,
) -> Result<Option<Done>, CommandError> {
    let Some(key) = key else { return Ok(None) };
    match idempotency::look_up(tx, key).await? {
        Earlier::None => Ok(None),
        Earlier::OtherBody => Err(CommandError::KeyReused),
        Earlier::Answer(kept) => serde_json::from_value(kept).map(Some).map_err(format_error),
    }
}

/// Locks the key, first of all locks, then looks it up: a statement's snapshot is older than the lock that it waited for.
pub(crate) async fn take(
    tx: &mut PgConnection,
    key: Option<&IdempotencyKey>,
) -> Result<Option<Done>, CommandError> {
    if let Some(key) = key
        && !idempotency::try_lock(tx, key).await?
    {
        return Err(CommandError::InProgress);
    }
    earlier(tx, key).await
}

/// The answer of a command that appends no event of its own, kept for repeats of the key.
pub(crate) async fn answer(
    tx: &mut PgConnection,
    key: Option<&IdempotencyKey>,
    answer: Value,
    appended: bool,
) -> Result<Done, CommandError> {
    let epoch = feed::epoch(&mut *tx).await?;
    let done =
        Done { answer, position: PositionToken { epoch, touched: Vec::new() }, appended, repeated: false };
    remember(tx, key, &done).await?;
    Ok(done)
}

/// Keeps what was answered for repeats of the key.
pub(crate) async fn remember(
    tx: &mut PgConnection,
    key: Option<&IdempotencyKey>,
    done: &Done,
) -> Result<(), CommandError> {
    if let Some(key) = key {
        let kept = serde_json::to_value(done).map_err(format_error)?;
        idempotency::remember(tx, key, &kept).await?;
    }
    Ok(())
}

fn format_error(error: serde_json::Error) -> CommandError {
    StoreError::Format(error.to_string()).into()
}
