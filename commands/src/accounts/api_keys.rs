use super::{acting, record, scopes};
use crate::secrets::{self, Given};
use crate::{CommandError, Commands, Context};
use chrono::{DateTime, Utc};
use domain::ApiKeyId;
use domain::access::Scope;
use domain::api_key::{ApiKey, ApiKeyCommand, ApiKeyError};
use eventstore::sealing::SubjectKeys;
use eventstore::{StoreError, clock, ids};

/// What every key begins with.
pub const KEY_PREFIX: &str = "plk_";
/// Keys that one call answers.
const PAGE_MAX: i64 = 500;

#[derive(Debug, Clone)]
pub struct NewApiKey {
    pub name: String,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key without the key.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKeyRow {
    pub api_key_id: ApiKeyId,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub made_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct Row {
    api_key_id: ApiKeyId,
    name: String,
    scopes: Vec<String>,
    made_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for ApiKeyRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let Row { api_key_id, name, scopes: words, made_at, expires_at, revoked_at } = row;
        Ok(Self { api_key_id, name, scopes: scopes(&words)?, made_at, expires_at, revoked_at })
    }
}

impl From<ApiKeyError> for CommandError {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::Unknown => Self::NotFound("API key"),
            ApiKeyError::Exists => Self::Conflict,
            ApiKeyError::NoScope => Self::invalid("scopes", "is empty"),
        }
    }
}

impl Commands {
    /// The key itself is answered here and never again.
    pub async fn make_api_key(
        &self,
        context: &Context,
        new: NewApiKey,
    ) -> Result<(ApiKeyId, Given), CommandError> {
        if new.expires_at.is_some_and(|at| at <= clock::now()) {
            return Err(CommandError::invalid("expires_at", "is over already"));
        }
        let (id, key) = (ids::new_id(), secrets::new(KEY_PREFIX)?);
        let NewApiKey { name, scopes, expires_at } = new;
        let make = ApiKeyCommand::Make { name: name.clone(), scopes, expires_at };
        let mut tx = self.store.pool.begin().await?;
        acting::lock_by_admin(&mut tx, context, None).await?;
        let made = record::<ApiKey>(&mut tx, id, &SubjectKeys::new(), make, context).await?.after;
        sqlx::query(
            "INSERT INTO api_keys (api_key_id, key_hash, name, scopes, expires_at) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(id)
        .bind(key.hash.as_slice())
        .bind(name)
        .bind(made.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>())
        .bind(expires_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok((id, key))
    }

    /// From the commit on the key opens nothing.
    pub async fn revoke_api_key(&self, context: &Context, id: ApiKeyId) -> Result<(), CommandError> {
        let mut tx = self.store.pool.begin().await?;
        acting::lock_by_admin(&mut tx, context, None).await?;
        let revoke =
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE api_key_id = $1";
        sqlx::query(revoke).bind(id).execute(&mut *tx).await?;
        let revoked =
            record::<ApiKey>(&mut tx, id, &SubjectKeys::new(), ApiKeyCommand::Revoke, context).await?;
        tx.commit().await?;
        if revoked.appended {
            self.store.news.appended();
        }
        Ok(())
    }

    /// The key that this text is, if it is one that is good now.
    pub async fn api_key(&self, text: &str) -> Result<Option<(ApiKeyId, Vec<Scope>)>, CommandError> {
        let found: Option<(ApiKeyId, Vec<String>)> = sqlx::query_as(
            "SELECT api_key_id, scopes FROM api_keys
             WHERE key_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
        )
        .bind(secrets::hash(text).as_slice())
        .fetch_optional(&self.store.pool)
        .await?;
        let key = found.map(|(id, words)| Ok::<_, StoreError>((id, scopes(&words)?)));
        Ok(key.transpose()?)
    }

    /// Newest first, revoked ones too, those made before `before`.
    pub async fn api_keys(
        &self,
        limit: i64,
        before: Option<ApiKeyId>,
    ) -> Result<Vec<ApiKeyRow>, CommandError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT api_key_id, name, scopes, made_at, expires_at, revoked_at FROM api_keys
             WHERE $2::uuid IS NULL OR api_key_id < $2 ORDER BY api_key_id DESC LIMIT $1",
        )
        .bind(limit.clamp(1, PAGE_MAX))
        .bind(before)
        .fetch_all(&self.store.pool)
        .await?;
        Ok(rows.into_iter().map(ApiKeyRow::try_from).collect::<Result<_, _>>()?)
    }
}
