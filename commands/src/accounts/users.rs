use super::{key_of, record, roles, sealed, sealed_text, set_version, words};
use crate::account_mails::{INVITATIONS, forget_links};
use crate::accounts::{acting, sessions};
use crate::idempotent;
use crate::passwords::Password;
use crate::{CommandError, Commands, Context};
use domain::access::Role;
use domain::session::EndReason;
use domain::transactional::AccountMailKind;
use domain::user::{Start, User, UserCommand, UserError};
use domain::{AddressHash, EmailAddress, Personal, UserId};
use eventstore::sealing::{self, SubjectKeys};
use eventstore::{Done, StoreError, clock, ids};
use serde_json::{Value, json};
use sqlx::PgConnection;

/// Users that one call answers.
const PAGE_MAX: i64 = 500;

pub struct NewUser {
    pub email: EmailAddress,
    pub roles: Vec<Role>,
    /// None: an invitation goes to them by mail.
    pub password: Option<Password>,
}

/// What is absent stays.
#[derive(Debug, Clone, Default)]
pub struct UserPatch {
    pub roles: Option<Vec<Role>>,
    pub disabled: Option<bool>,
}

/// A user as the row has them.
#[derive(Debug, Clone, PartialEq)]
pub struct UserRow {
    pub user_id: UserId,
    pub address: Personal,
    pub roles: Vec<Role>,
    pub disabled: bool,
    /// Not before they accepted their invitation.
    pub has_password: bool,
    pub version: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    user_id: UserId,
    address: String,
    roles: Vec<String>,
    disabled: bool,
    has_password: bool,
    version: i64,
}

/// Of a [`Row`].
const ROWS: &str = "SELECT a.*, EXISTS (SELECT FROM passwords p WHERE p.user_id = a.user_id) AS has_password
                    FROM accounts a";

impl TryFrom<Row> for UserRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let Row { user_id, address, roles: words, disabled, has_password, version } = row;
        let (address, roles) = (Personal::Sealed(address), roles(&words)?);
        Ok(Self { user_id, address, roles, disabled, has_password, version })
    }
}

impl From<UserError> for CommandError {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Unknown => Self::NotFound("user"),
            UserError::Exists => Self::Conflict,
            UserError::NoRole => Self::invalid("roles", "is empty"),
            UserError::Disabled => Self::forbidden("disabled", error.to_string()),
            UserError::HasIdentity => Self::forbidden("linked", error.to_string()),
        }
    }
}

impl Commands {
    /// Answers `{"user_id": …}`.
    pub async fn add_user(&self, context: &Context, new: NewUser) -> Result<Done, CommandError> {
        // Before the transaction: no connection waits for a turn to hash.
        let phc = match new.password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        let mut tx = self.store.pool.begin().await?;
        if let Some(done) = idempotent::take(&mut tx, context.idempotency.as_ref()).await? {
            return Ok(done);
        }
        acting::lock_by_admin(&mut tx, context, None).await?;
        let id = ids::new_id();
        let keys = sealing::create(&mut tx, &self.store.master, &[id]).await?;
        let key = key_of(&keys, id)?;
        let address = sealed(key, 1, "address", Personal::plain(new.email.to_string()))?;
        let address_hash = self.store.master.address_hash(&new.email);
        let claimed = sqlx::query(
            "INSERT INTO accounts (user_id, address_hash, hash_key_id, address, roles, version)
             VALUES ($1, $2, $3, $4, '{}', 0) ON CONFLICT (address_hash) DO NOTHING",
        )
        .bind(id)
        .bind(address_hash.0.as_slice())
        .bind(self.store.master.id())
        .bind(sealed_text(&address))
        .execute(&mut *tx)
        .await?;
        if claimed.rows_affected() == 0 {
            return Err(CommandError::forbidden("taken", "a user with this address exists already"));
        }
        let start = if phc.is_some() { Start::Password } else { Start::Invitation };
        let add = UserCommand::Add {
            address,
            address_hash,
            hash_key_id: self.store.master.id().into(),
            roles: new.roles,
            start,
        };
        let recorded = record::<User>(&mut tx, id, &SubjectKeys::new(), add, context).await?;
        keep(&mut tx, id, &recorded.after).await?;
        match phc {
            Some(phc) => {
                let password = "INSERT INTO passwords (user_id, phc) VALUES ($1, $2)";
                sqlx::query(password).bind(id).bind(phc).execute(&mut *tx).await?;
            }
            None => self.invite(&mut tx, context, id, address_hash).await?,
        }
        let done = recorded.done(json!({ "user_id": id }));
        idempotent::remember(&mut tx, context.idempotency.as_ref(), &done).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(done)
    }

    async fn invite(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        user: UserId,
        address: AddressHash,
    ) -> Result<(), CommandError> {
        let kind = AccountMailKind::Invitation;
        if !INVITATIONS.allows(tx, address).await? {
            return Err(CommandError::forbidden("invited", "they were invited often enough for now"));
        }
        self.queue_account_mail(tx, context, kind, user, address, clock::now()).await
    }

    /// Sends the invitation of somebody once more who has no password yet. The link of the one before is over when the
    /// new one goes.
    pub async fn invite_again(&self, context: &Context, id: UserId) -> Result<Done, CommandError> {
        let mut tx = self.store.pool.begin().await?;
        if let Some(done) = idempotent::take(&mut tx, context.idempotency.as_ref()).await? {
            return Ok(done);
        }
        acting::lock_by_admin(&mut tx, context, Some(id)).await?;
        let found: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT address_hash FROM accounts WHERE user_id = $1")
                .bind(id)
                .fetch_optional(&mut *tx)
                .await?;
        let address = found.ok_or(CommandError::NotFound("user"))?;
        let address = address.try_into().map_err(|_| StoreError::Format("an address's hash".into()))?;
        let has_password = "SELECT EXISTS (SELECT FROM passwords WHERE user_id = $1)";
        if sqlx::query_scalar(has_password).bind(id).fetch_one(&mut *tx).await? {
            return Err(CommandError::forbidden("accepted", "they have a password already"));
        }
        let recorded = record::<User>(&mut tx, id, &SubjectKeys::new(), UserCommand::Invite, context).await?;
        self.invite(&mut tx, context, id, AddressHash(address)).await?;
        set_version(&mut tx, id, recorded.version).await?;
        let done = recorded.done(json!({ "user_id": id }));
        idempotent::remember(&mut tx, context.idempotency.as_ref(), &done).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(done)
    }

    /// Who is disabled is signed out everywhere. The last administrator stays one.
    pub async fn change_user(
        &self,
        context: &Context,
        id: UserId,
        patch: UserPatch,
    ) -> Result<Done, CommandError> {
        let mut tx = self.store.pool.begin().await?;
        if let Some(done) = idempotent::take(&mut tx, context.idempotency.as_ref()).await? {
            return Ok(done);
        }
        acting::lock_all_by_admin(&mut tx, context, id).await?;
        let UserPatch { roles, disabled } = patch;
        let change = UserCommand::Change { roles, disabled };
        let had_admin = has_admin(&mut tx).await?;
        let recorded = record::<User>(&mut tx, id, &SubjectKeys::new(), change, context).await?;
        keep(&mut tx, id, &recorded.after).await?;
        if had_admin && !has_admin(&mut tx).await? {
            return Err(CommandError::forbidden("last_admin", "nobody would be an administrator any more"));
        }
        if recorded.after.disabled {
            let sessions = sessions::lock_all(&mut tx, id).await?;
            sessions::end(&mut tx, &sessions, EndReason::UserDisabled, context).await?;
            forget_links(&mut tx, id).await?;
        }
        let done = recorded.done(Value::Null);
        idempotent::remember(&mut tx, context.idempotency.as_ref(), &done).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(done)
    }

    pub async fn user(&self, id: UserId) -> Result<UserRow, CommandError> {
        let row: Option<Row> = sqlx::query_as(&format!("{ROWS} WHERE user_id = $1"))
            .bind(id)
            .fetch_optional(&self.store.pool)
            .await?;
        Ok(row.ok_or(CommandError::NotFound("user"))?.try_into()?)
    }

    /// Newest first, those made before `before`.
    pub async fn users(&self, limit: i64, before: Option<UserId>) -> Result<Vec<UserRow>, CommandError> {
        let rows: Vec<Row> = sqlx::query_as(&format!(
            "{ROWS} WHERE $2::uuid IS NULL OR user_id < $2 ORDER BY user_id DESC LIMIT $1"
        ))
        .bind(limit.clamp(1, PAGE_MAX))
        .bind(before)
        .fetch_all(&self.store.pool)
        .await?;
        Ok(rows.into_iter().map(UserRow::try_from).collect::<Result<_, _>>()?)
    }

    /// The user with this address, if any.
    pub async fn user_by_address(&self, email: &EmailAddress) -> Result<Option<UserId>, CommandError> {
        let found = sqlx::query_scalar("SELECT user_id FROM accounts WHERE address_hash = $1")
            .bind(self.store.master.address_hash(email).0.as_slice())
            .fetch_optional(&self.store.pool)
            .await?;
        Ok(found)
    }
}

/// The row as the stream has it now.
async fn keep(tx: &mut PgConnection, id: UserId, user: &User) -> Result<(), CommandError> {
    sqlx::query("UPDATE accounts SET roles = $2, disabled = $3, version = $4 WHERE user_id = $1")
        .bind(id)
        .bind(words(&user.roles))
        .bind(user.disabled)
        .bind(user.version.cast_signed())
        .execute(tx)
        .await?;
    Ok(())
}

async fn has_admin(tx: &mut PgConnection) -> Result<bool, CommandError> {
    let admin = "SELECT EXISTS (SELECT FROM accounts WHERE 'admin' = ANY(roles) AND NOT disabled)";
    Ok(sqlx::query_scalar(admin).fetch_one(tx).await?)
}
