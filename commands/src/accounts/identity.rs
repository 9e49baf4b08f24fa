//! Signing in as somebody whom a provider knows (OpenID Connect).
//!
//! Users are made by administrators. The first sign-in at a provider links its subject to the user whose address the provider
//! has verified, unless that user is linked already: from then on the subject alone counts. So a second provider, or a second
//! subject that has come by the address, signs in as nobody, until an administrator unlinks the first.

use super::sign_in::SignedIn;
use super::{acting, lock, record, roles, set_version};
use crate::{CommandError, Commands, Context, idempotent, secrets};
use chrono::{DateTime, Utc};
use domain::session::Refusal;
use domain::user::{User, UserCommand};
use domain::visit::Visit;
use domain::{AddressHash, EmailAddress, Personal, UserId};
use eventstore::Done;
use eventstore::sealing::{self, SubjectKeys};
use serde_json::Value;
use sqlx::PgConnection;

/// Whatever the reason: the visitor learns nothing of users.
const REFUSED: CommandError =
    CommandError::Unauthorized("the sign-in was refused: start again, or sign in otherwise");

/// Whom a provider confirmed.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The provider's name here.
    pub provider: String,
    pub issuer: String,
    pub subject: String,
    /// An address that the provider says it has verified.
    pub verified_address: Option<EmailAddress>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({}, …)", self.provider)
    }
}

impl Commands {
    /// Notes that a state came back; false: it did before.
    pub async fn spend_state(&self, state: &str, expires_at: DateTime<Utc>) -> Result<bool, CommandError> {
        let spent =
            "INSERT INTO oauth_states (state_hash, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let hash = secrets::hash(state);
        let spent =
            sqlx::query(spent).bind(hash.as_slice()).bind(expires_at).execute(&self.store.pool).await?;
        Ok(spent.rows_affected() == 1)
    }

    /// The provider could not be asked: the same sign-in may try once more.
    pub async fn give_back_state(&self, state: &str) -> Result<(), CommandError> {
        let hash = secrets::hash(state);
        let give_back = "DELETE FROM oauth_states WHERE state_hash = $1";
        sqlx::query(give_back).bind(hash.as_slice()).execute(&self.store.pool).await?;
        Ok(())
    }

    /// Answers a new session of the user whom the identity belongs to, or is linked to now.
    pub async fn sign_in_as(
        &self,
        context: &Context,
        identity: &Identity,
        visit: Visit,
    ) -> Result<SignedIn, CommandError> {
        let mut tx = self.store.pool.begin().await?;
        let (user, refusal) = match self.admit(&mut tx, context, identity).await? {
            Ok(account) => {
                let roles = roles(&account.roles)?;
                let signed_in = self.open_session(&mut tx, context, account.user_id, roles, visit).await?;
                tx.commit().await?;
                self.store.news.appended();
                return Ok(signed_in);
            }
            Err(refused) => refused,
        };
        tracing::warn!(provider = identity.provider, reason = ?refusal, "a sign-in at a provider was refused");
        // Its locks go first: what is recorded now is a stream of its own.
        tx.rollback().await?;
        self.refuse(context, user, refusal, visit).await?;
        Err(REFUSED)
    }

    /// Records why a sign-in at a provider came to nothing; answers what the visitor is told.
    pub async fn refuse_sign_in(&self, context: &Context, reason: Refusal, visit: Visit) -> CommandError {
        match self.refuse(context, None, reason, visit).await {
            Ok(()) => REFUSED,
            Err(error) => error,
        }
    }

    /// From the commit on the user's identity is nobody's: the next sign-in at a provider links anew.
    pub async fn unlink_identities(&self, context: &Context, user: UserId) -> Result<Done, CommandError> {
        let mut tx = self.store.pool.begin().await?;
        if let Some(done) = idempotent::take(&mut tx, context.idempotency.as_ref()).await? {
            return Ok(done);
        }
        acting::lock_by_admin(&mut tx, context, Some(user)).await?;
        let unlink = UserCommand::UnlinkIdentities;
        let recorded = record::<User>(&mut tx, user, &SubjectKeys::new(), unlink, context).await?;
        sqlx::query("DELETE FROM identities WHERE user_id = $1").bind(user).execute(&mut *tx).await?;
        set_version(&mut tx, user, recorded.version).await?;
        let done = recorded.done(Value::Null);
        idempotent::remember(&mut tx, context.idempotency.as_ref(), &done).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(done)
    }

    /// The account, its row locked; or whose it is and why they may not sign in.
    async fn admit(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        identity: &Identity,
    ) -> Result<Result<Account, (Option<UserId>, Refusal)>, CommandError> {
        let hash = self.store.master.identity_hash(&identity.issuer, &identity.subject);
        if let Some(account) = linked(tx, &hash).await? {
            return Ok(account.unless_disabled());
        }
        let Some(address) = &identity.verified_address else {
            return Ok(Err((None, Refusal::UnverifiedAddress)));
        };
        let address = self.store.master.address_hash(address);
        let Some(account) = lock_by_address(tx, address).await? else {
            return Ok(Err((None, Refusal::UnknownUser)));
        };
        // The same subject may have been linked while this sign-in waited for the lock.
        if let Some(account) = linked(tx, &hash).await? {
            return Ok(account.unless_disabled());
        }
        let account = match account.unless_disabled() {
            Ok(account) if account.has_identity => {
                return Ok(Err((Some(account.user_id), Refusal::OtherIdentity)));
            }
            Ok(account) => account,
            refused => return Ok(refused),
        };
        self.link(tx, context, account.user_id, identity, &hash).await?;
        Ok(Ok(account))
    }

    async fn link(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        user: UserId,
        identity: &Identity,
        hash: &[u8; 32],
    ) -> Result<(), CommandError> {
        let keys = sealing::fetch(&mut *tx, &self.store.master, &[user]).await?;
        let context = Context { actor: format!("user:{user}"), ..context.clone() };
        let link = UserCommand::LinkIdentity {
            provider: identity.provider.clone(),
            issuer: identity.issuer.clone(),
            subject: Personal::plain(identity.subject.clone()),
        };
        let recorded = record::<User>(tx, user, &keys, link, &context).await?;
        sqlx::query("INSERT INTO identities (identity_hash, hash_key_id, user_id) VALUES ($1, $2, $3)")
            .bind(hash.as_slice())
            .bind(self.store.master.id())
            .bind(user)
            .execute(&mut *tx)
            .await?;
        set_version(tx, user, recorded.version).await
    }
}

#[derive(sqlx::FromRow)]
struct Account {
    user_id: UserId,
    disabled: bool,
    roles: Vec<String>,
    has_identity: bool,
}

impl Account {
    fn unless_disabled(self) -> Result<Self, (Option<UserId>, Refusal)> {
        match self.disabled {
            true => Err((Some(self.user_id), Refusal::Disabled)),
            false => Ok(self),
        }
    }
}

const ACCOUNT: &str = "SELECT a.user_id, a.disabled, a.roles, i.user_id IS NOT NULL AS has_identity
                       FROM accounts a LEFT JOIN identities i USING (user_id)";

/// The account of this identity. Locked in one statement and looked at in the next: it may have been unlinked meanwhile.
async fn linked(tx: &mut PgConnection, hash: &[u8; 32]) -> Result<Option<Account>, CommandError> {
    let user: Option<UserId> = sqlx::query_scalar("SELECT user_id FROM identities WHERE identity_hash = $1")
        .bind(hash.as_slice())
        .fetch_optional(&mut *tx)
        .await?;
    let Some(user) = user else { return Ok(None) };
    lock(tx, user).await?;
    let account = format!("{ACCOUNT} WHERE identity_hash = $1");
    Ok(sqlx::query_as(&account).bind(hash.as_slice()).fetch_optional(tx).await?)
}

async fn lock_by_address(
    tx: &mut PgConnection,
    address: AddressHash,
) -> Result<Option<Account>, CommandError> {
    let lock = "SELECT FROM accounts WHERE address_hash = $1 FOR NO KEY UPDATE";
    sqlx::query(lock).bind(address.0.as_slice()).execute(&mut *tx).await?;
    let account = format!("{ACCOUNT} WHERE address_hash = $1");
    Ok(sqlx::query_as(&account).bind(address.0.as_slice()).fetch_optional(tx).await?)
}
