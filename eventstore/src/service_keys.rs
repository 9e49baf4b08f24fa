//! Secrets that all processes share, kept wrapped in the database: the newest signs, all verify.

use crate::StoreError;
use crate::keys::{MasterKey, Secret, random_secret};
use sqlx::PgPool;

#[derive(sqlx::FromRow)]
struct Row {
    kid: String,
    master_key_id: String,
    wrapped_key: Vec<u8>,
}

/// The keys of `purpose`, newest first; the first call ever makes one.
pub async fn load(
    pool: &PgPool,
    master: &MasterKey,
    purpose: &str,
) -> Result<Vec<(String, Secret)>, StoreError> {
    let keys = stored(pool, master, purpose).await?;
    if !keys.is_empty() {
        return Ok(keys);
    }
    let secret = random_secret()?;
    // The first key's name is fixed, so that of two processes that start at once one makes it.
    sqlx::query(
        "INSERT INTO service_keys (purpose, kid, master_key_id, wrapped_key) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(purpose)
    .bind(format!("{purpose}-1"))
    .bind(master.id())
    .bind(master.wrap(purpose.as_bytes(), &secret)?)
    .execute(pool)
    .await?;
    stored(pool, master, purpose).await
}

async fn stored(
    pool: &PgPool,
    master: &MasterKey,
    purpose: &str,
) -> Result<Vec<(String, Secret)>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT kid, master_key_id, wrapped_key FROM service_keys WHERE purpose = $1 ORDER BY created_at DESC",
    )
    .bind(purpose)
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| Ok((row.kid, master.unwrap(&row.master_key_id, purpose.as_bytes(), &row.wrapped_key)?)))
        .collect()
}
