use super::{key_of, lock, record, roles, sealed_text, sealed_visit, sessions};
use crate::passwords::Password;
use crate::secrets::{self, Given};
use crate::{CommandError, Commands, Context};
use chrono::{DateTime, TimeDelta, Utc};
use domain::access::Role;
use domain::session::{EndReason, Refusal, Session, SessionCommand};
use domain::visit::Visit;
use domain::{EmailAddress, SessionId, UserId};
use eventstore::sealing::{self, SubjectKeys};
use eventstore::{clock, ids};
use sqlx::PgConnection;

/// A session ends after this time, however often it was refreshed.
pub const SESSION_LIFE: TimeDelta = TimeDelta::days(7);
/// What every refresh token begins with.
const PREFIX: &str = "plr_";

/// The same for an unknown user, a wrong password and somebody disabled.
const REFUSED: CommandError = CommandError::Unauthorized("the address or the password is wrong");

/// Who has a session, and what keeps it going.
pub struct SignedIn {
    pub user_id: UserId,
    pub session_id: SessionId,
    pub roles: Vec<Role>,
    pub refresh_token: Given,
}

#[derive(sqlx::FromRow)]
struct Account {
    address_hash: [u8; 32],
    user_id: UserId,
    disabled: bool,
    phc: Option<String>,
    changed_at: Option<DateTime<Utc>>,
}

impl Commands {
    /// Answers a new session. Whatever is wrong, one argon2 is run and one failure recorded, and the answer is the same.
    pub async fn sign_in(
        &self,
        context: &Context,
        email: &EmailAddress,
        password: Password,
        visit: Visit,
    ) -> Result<SignedIn, CommandError> {
        let account = self.account(email).await?;
        let phc = account.as_ref().and_then(|account| account.phc.as_deref());
        let verdict = self.passwords.verify(password.clone(), phc).await?;
        let refusal = match &account {
            None => Refusal::UnknownUser,
            Some(_) if !verdict.matches => Refusal::WrongPassword,
            Some(account) if account.disabled => Refusal::Disabled,
            Some(account) => {
                let signed_in = self.start_session(context, account, visit).await?;
                if verdict.is_weak
                    && let Err(error) = self.rehash(account, password).await
                {
                    // The session stands; the next sign-in tries again.
                    tracing::warn!(%error, "a password's hash keeps its old parameters");
                }
                return Ok(signed_in);
            }
        };
        self.refuse(context, account.map(|account| account.user_id), refusal, visit).await?;
        Err(REFUSED)
    }

    /// Where nobody has the address, the next one's row is read all the same: the database works as much for a stranger.
    async fn account(&self, email: &EmailAddress) -> Result<Option<Account>, CommandError> {
        let account =
            "SELECT address_hash, user_id, disabled, phc, changed_at FROM accounts LEFT JOIN passwords USING (user_id)
             WHERE address_hash >= $1 ORDER BY address_hash LIMIT 1";
        let hash = self.store.master.address_hash(email).0;
        let next: Option<Account> =
            sqlx::query_as(account).bind(hash.as_slice()).fetch_optional(&self.store.pool).await?;
        Ok(next.filter(|account| account.address_hash == hash))
    }

    async fn start_session(
        &self,
        context: &Context,
        account: &Account,
        visit: Visit,
    ) -> Result<SignedIn, CommandError> {
        let user_id = account.user_id;
        let mut tx = self.store.pool.begin().await?;
        // Sign-ins of one user take turns, so that each counts the others' sessions.
        lock(&mut tx, user_id).await?;
        // The password was compared before the lock: it must not have changed since, nor the user been disabled.
        let found: Option<Vec<String>> = sqlx::query_scalar(
            "SELECT a.roles FROM accounts a JOIN passwords p USING (user_id)
             WHERE user_id = $1 AND NOT a.disabled AND p.changed_at = $2",
        )
        .bind(user_id)
        .bind(account.changed_at)
        .fetch_optional(&mut *tx)
        .await?;
        let roles = roles(&found.ok_or(REFUSED)?)?;
        let signed_in = self.open_session(&mut tx, context, user_id, roles, visit).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(signed_in)
    }

    /// Of a user whose account's row the caller has locked. The session's events name the user as who did it.
    pub(super) async fn open_session(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        user_id: UserId,
        roles: Vec<Role>,
        visit: Visit,
    ) -> Result<SignedIn, CommandError> {
        let session_id = ids::new_id();
        let context = Context { actor: format!("user:{user_id}"), ..context.clone() };
        let crowded = sessions::beyond_the_limit(tx, user_id).await?;
        sessions::end(tx, &crowded, EndReason::TooMany, &context).await?;
        let keys = sealing::create(tx, &self.store.master, &[session_id]).await?;
        let visit = sealed_visit(key_of(&keys, session_id)?, 1, visit)?;
        insert_session(tx, session_id, user_id, &visit).await?;
        let refresh_token = give_token(tx, session_id).await?;
        let start = SessionCommand::Start { user_id, visit };
        record::<Session>(tx, session_id, &keys, start, &context).await?;
        Ok(SignedIn { user_id, session_id, roles, refresh_token })
    }

    /// An event, or one more of those that are counted.
    pub(super) async fn refuse(
        &self,
        context: &Context,
        user_id: Option<UserId>,
        reason: Refusal,
        visit: Visit,
    ) -> Result<(), CommandError> {
        if !self.refusals.note(&visit) {
            return Ok(());
        }
        let attempt = ids::new_id();
        let mut tx = self.store.pool.begin().await?;
        let keys: SubjectKeys = sealing::create(&mut tx, &self.store.master, &[attempt]).await?;
        sealing::expire(&mut *tx, attempt, super::refusals::READABLE_DAYS).await?;
        let refuse = SessionCommand::Refuse { user_id, reason, visit };
        record::<Session>(&mut tx, attempt, &keys, refuse, context).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(())
    }

    /// Now that the password is at hand, its hash gets today's parameters. Nothing but the hash changes.
    async fn rehash(&self, account: &Account, password: Password) -> Result<(), CommandError> {
        let phc = self.passwords.hash(password).await?;
        sqlx::query("UPDATE passwords SET phc = $3 WHERE user_id = $1 AND phc = $2")
            .bind(account.user_id)
            .bind(&account.phc)
            .bind(phc)
            .execute(&self.store.pool)
            .await?;
        Ok(())
    }
}

async fn insert_session(
    tx: &mut PgConnection,
    session: SessionId,
    user: UserId,
    visit: &Visit,
) -> Result<(), CommandError> {
    sqlx::query(
        "INSERT INTO sessions (session_id, user_id, source_address, user_agent, expires_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(session)
    .bind(user)
    .bind(visit.source_address.as_ref().and_then(sealed_text))
    .bind(visit.user_agent.as_ref().and_then(sealed_text))
    .bind(clock::now() + SESSION_LIFE)
    .execute(tx)
    .await?;
    Ok(())
}

/// A new refresh token of the session.
pub(super) async fn give_token(tx: &mut PgConnection, session: SessionId) -> Result<Given, CommandError> {
    let token = secrets::new(PREFIX)?;
    sqlx::query("INSERT INTO refresh_tokens (token_hash, session_id) VALUES ($1, $2)")
        .bind(token.hash.as_slice())
        .bind(session)
        .execute(tx)
        .await?;
    Ok(token)
}
