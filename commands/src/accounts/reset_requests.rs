//! Links to choose a new password are asked for by anybody, for any address. A request is one row, whoever has the address:
//! neither the answer nor its time tells, and nobody's requests leave nothing in the log. A sender takes them.

use super::{key_of, record, sealed_text, sealed_visit};
use crate::account_mails::RESETS;
use crate::tries::{FAILED, MAY_BE_TRIED};
use crate::{CommandError, Commands, Context};
use chrono::{DateTime, Utc};
use domain::session::{Session, SessionCommand};
use domain::transactional::AccountMailKind;
use domain::visit::Visit;
use domain::{AddressHash, EmailAddress, Personal, UserId};
use eventstore::{ids, sealing};
use sqlx::PgConnection;
use uuid::Uuid;

/// Of one look.
const TAKEN_MAX: i64 = 100;

#[derive(sqlx::FromRow)]
struct ResetRequest {
    attempt_id: Uuid,
    address_hash: [u8; 32],
    actor: String,
    request_id: Option<Uuid>,
    source_address: Option<String>,
    user_agent: Option<String>,
    requested_at: DateTime<Utc>,
}

impl Commands {
    /// Asks for a link to choose a new password, for the user of this address if there is one. Beyond the limit of mails
    /// nothing happens.
    pub async fn request_password_reset(
        &self,
        context: &Context,
        email: &EmailAddress,
        visit: Visit,
    ) -> Result<(), CommandError> {
        let address = self.store.master.address_hash(email);
        let attempt = ids::new_id();
        let mut tx = self.store.pool.begin().await?;
        if !RESETS.allows(&mut tx, address).await? {
            return Ok(());
        }
        let keys = sealing::create(&mut tx, &self.store.master, &[attempt]).await?;
        let visit = sealed_visit(key_of(&keys, attempt)?, 1, visit)?;
        sqlx::query(
            "INSERT INTO reset_requests (attempt_id, address_hash, actor, request_id, source_address, user_agent)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(attempt)
        .bind(address.0.as_slice())
        .bind(&context.actor)
        .bind(context.request_id)
        .bind(visit.source_address.as_ref().and_then(sealed_text))
        .bind(visit.user_agent.as_ref().and_then(sealed_text))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.store.news.moved();
        Ok(())
    }

    /// Takes requests that wait, those that were not tried yet first, each in a transaction of its own: one that cannot be taken stands in nobody's
    /// way, and fails the call only once the others are done. Answers how many it took.
    pub async fn take_reset_requests(&self) -> Result<usize, CommandError> {
        let waiting = format!(
            "SELECT attempt_id FROM reset_requests WHERE NOT taken AND {MAY_BE_TRIED}
             ORDER BY tried_at NULLS FIRST, requested_at LIMIT $1"
        );
        let waiting: Vec<Uuid> =
            sqlx::query_scalar(&waiting).bind(TAKEN_MAX).fetch_all(&self.store.pool).await?;
        let (mut count, mut failed) = (0, None);
        for attempt in waiting {
            match self.take_reset_request(attempt).await {
                Ok(taken) => count += usize::from(taken),
                Err(error) => {
                    let note = format!("UPDATE reset_requests SET {FAILED} WHERE attempt_id = $1");
                    sqlx::query(&note).bind(attempt).execute(&self.store.pool).await?;
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(count), Err)
    }

    /// An event for auditors and a mail if the address is a user's, else nothing. False: another sender has it.
    async fn take_reset_request(&self, attempt: Uuid) -> Result<bool, CommandError> {
        let mut tx = self.store.pool.begin().await?;
        let found: Option<ResetRequest> = sqlx::query_as(
            "SELECT * FROM reset_requests WHERE attempt_id = $1 AND NOT taken FOR UPDATE SKIP LOCKED",
        )
        .bind(attempt)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(request) = found else { return Ok(false) };
        let user = "SELECT user_id FROM accounts WHERE address_hash = $1";
        match sqlx::query_scalar(user).bind(request.address_hash.as_slice()).fetch_optional(&mut *tx).await? {
            Some(user) => self.mail_to(user, &mut tx, request).await?,
            None => forget_key(&mut tx, attempt).await?,
        }
        let taken = "UPDATE reset_requests SET taken = true, source_address = NULL, user_agent = NULL
                     WHERE attempt_id = $1";
        sqlx::query(taken).bind(attempt).execute(&mut *tx).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(true)
    }

    async fn mail_to(
        &self,
        user: UserId,
        tx: &mut PgConnection,
        request: ResetRequest,
    ) -> Result<(), CommandError> {
        let attempt = request.attempt_id;
        let context = Context { actor: request.actor, request_id: request.request_id, ..Context::default() };
        let visit = Visit {
            source_address: request.source_address.map(Personal::Sealed),
            user_agent: request.user_agent.map(Personal::Sealed),
        };
        let keys = sealing::fetch(&mut *tx, &self.store.master, &[attempt]).await?;
        let ask = SessionCommand::RequestReset { user_id: Some(user), visit };
        record::<Session>(tx, attempt, &keys, ask, &context).await?;
        let kind = AccountMailKind::PasswordReset;
        let address = AddressHash(request.address_hash);
        self.queue_account_mail(tx, &context, kind, user, address, request.requested_at).await
    }
}

/// Nothing in the log is sealed by it.
async fn forget_key(tx: &mut PgConnection, attempt: Uuid) -> Result<(), CommandError> {
    sqlx::query("DELETE FROM subject_keys WHERE subject_id = $1").bind(attempt).execute(tx).await?;
    Ok(())
}
