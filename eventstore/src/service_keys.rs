//! Secrets that all processes share, kept wrapped in the database, newest first.

use crate::StoreError;
use crate::keys::{MasterKey, Secret, random_secret};
use sqlx::PgPool;

pub struct ServiceKey {
    pub kid: String,
    pub secret: Secret,
    /// By Postgres's clock.
    pub age_seconds: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    kid: String,
    master_key_id: String,
    wrapped_key: Vec<u8>,
    age_seconds: i64,
}

/// The keys of `purpose`, newest first; the first call ever makes one.
pub async fn load(pool: &PgPool, master: &MasterKey, purpose: &str) -> Result<Vec<ServiceKey>, StoreError> {
    let keys = stored(pool, master, purpose).await?;
    if !keys.is_empty() {
        return Ok(keys);
    }
    // The first key's name is fixed, so that of two processes that start at once one makes it.
    make(pool, master, purpose, &format!("{purpose}-1")).await?;
    stored(pool, master, purpose).await
}

/// Opens every key that is there, whatever its purpose; answers how many. Makes none.
pub async fn check(pool: &PgPool, master: &MasterKey) -> Result<usize, StoreError> {
    let purposes: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT purpose FROM service_keys").fetch_all(pool).await?;
    let mut opened = 0;
    for purpose in purposes {
        opened += stored(pool, master, &purpose).await?.len();
    }
    Ok(opened)
}

/// Makes a new key of `purpose`; answers its name.
pub async fn rotate(pool: &PgPool, master: &MasterKey, purpose: &str) -> Result<String, StoreError> {
    let count = load(pool, master, purpose).await?.len();
    let kid = format!("{purpose}-{}", count + 1);
    match make(pool, master, purpose, &kid).await? {
        true => Ok(kid),
        // Somebody else rotated at this moment.
        false => Err(StoreError::Conflict),
    }
}

/// False: there is a key of that name already.
async fn make(pool: &PgPool, master: &MasterKey, purpose: &str, kid: &str) -> Result<bool, StoreError> {
    let secret = random_secret()?;
    let made = sqlx::query(
        "INSERT INTO service_keys (purpose, kid, master_key_id, wrapped_key) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(purpose)
    .bind(kid)
    .bind(master.id())
    .bind(master.wrap(purpose.as_bytes(), &secret)?)
    .execute(pool)
    .await?;
    Ok(made.rows_affected() == 1)
}

async fn stored(pool: &PgPool, master: &MasterKey, purpose: &str) -> Result<Vec<ServiceKey>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT kid, master_key_id, wrapped_key,
             extract(epoch FROM clock_timestamp() - created_at)::bigint AS age_seconds
         FROM service_keys WHERE purpose = $1 ORDER BY created_at DESC",
    )
    .bind(purpose)
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| {
            let secret = master.unwrap(&row.master_key_id, purpose.as_bytes(), &row.wrapped_key)?;
            Ok(ServiceKey { kid: row.kid, secret, age_seconds: row.age_seconds })
        })
        .collect()
}
