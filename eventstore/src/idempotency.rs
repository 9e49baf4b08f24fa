//! Idempotency keys: the first answer again, for 24 hours.

use crate::StoreError;
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

/// A client's key for one command, in the scope of who sends it where.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    pub actor: String,
    pub route: String,
    pub key: String,
    /// Authenticates the body, so that the same key with another one is noticed.
    pub body_hmac: [u8; 32],
}

#[derive(Debug, Clone, PartialEq)]
pub enum Earlier {
    None,
    Answer(Value),
    /// The key was used with another body.
    OtherBody,
}

/// One key may be there twice, of two days: the last counts.
pub async fn look_up(db: impl PgExecutor<'_>, key: &IdempotencyKey) -> Result<Earlier, StoreError> {
    let row: Option<(Vec<u8>, Value)> = sqlx::query_as(
        "SELECT body_hmac, answer FROM idempotency_keys
         WHERE actor = $1 AND route = $2 AND key = $3 AND created_at > now() - interval '24 hours'
         ORDER BY created_at DESC LIMIT 1",
    )
    .bind(&key.actor)
    .bind(&key.route)
    .bind(&key.key)
    .fetch_optional(db)
    .await?;
    Ok(match row {
        None => Earlier::None,
        Some((hmac, answer)) if hmac == key.body_hmac => Earlier::Answer(answer),
        Some(_) => Earlier::OtherBody,
    })
}

/// First in the lock order. False: the same key is being worked on elsewhere.
pub async fn try_lock(tx: &mut PgConnection, key: &IdempotencyKey) -> Result<bool, StoreError> {
    let name = serde_json::json!(["idempotency", key.actor, key.route, key.key]).to_string();
    Ok(sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(name)
        .fetch_one(tx)
        .await?)
}

pub async fn remember(tx: &mut PgConnection, key: &IdempotencyKey, answer: &Value) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO idempotency_keys (day, actor, route, key, body_hmac, answer)
         VALUES ((now() AT TIME ZONE 'UTC')::date, $1, $2, $3, $4, $5)
         ON CONFLICT (actor, route, key, day) DO UPDATE
             SET body_hmac = excluded.body_hmac, answer = excluded.answer, created_at = excluded.created_at",
    )
    .bind(&key.actor)
    .bind(&key.route)
    .bind(&key.key)
    .bind(key.body_hmac.as_slice())
    .bind(answer)
    .execute(tx)
    .await?;
    Ok(())
}
