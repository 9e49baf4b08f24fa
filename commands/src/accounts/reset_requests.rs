//! Links to choose a new password are asked for by anybody, for any address. A request is one row, whoever has the address:
//! neither the answer nor its time tells, and nobody's requests leave nothing in the log. A sender takes them.

use super::{key_of, record, sealed_text, sealed_visit};
use crate::account_mails::may_have_another;
use crate::{CommandError, Commands, Context};
use chrono::{DateTime, Utc};
use domain::session::{Session, SessionCommand};
use domain::transactional::AccountMailKind;
use domain::visit::Visit;
use domain::{AddressHash, EmailAddress, Personal, UserId};
use eventstore::{ids, sealing};
use sqlx::PgConnection;
use uuid::Uuid;

/// Of one transaction.
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
    user_id: Option<UserId>,
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
        if !may_have_another(&mut tx, AccountMailKind::PasswordReset, address).await? {
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
        Ok(tx.commit().await?)
    }

    /// Takes the oldest requests that wait: an event for auditors and a mail for each that is a user's, nothing for the
    /// others. Answers how many it took.
    pub async fn take_reset_requests(&self) -> Result<usize, CommandError> {
        let mut tx = self.store.pool.begin().await?;
        let requests: Vec<ResetRequest> = sqlx::query_as(
            "SELECT r.*, user_id FROM reset_requests r LEFT JOIN accounts USING (address_hash)
             WHERE NOT taken ORDER BY requested_at LIMIT $1 FOR UPDATE OF r SKIP LOCKED",
        )
        .bind(TAKEN_MAX)
        .fetch_all(&mut *tx)
        .await?;
        if requests.is_empty() {
            return Ok(0);
        }
        let all: Vec<Uuid> = requests.iter().map(|request| request.attempt_id).collect();
        let count = requests.len();
        for request in requests {
            self.take(&mut tx, request).await?;
        }
        let taken = "UPDATE reset_requests SET taken = true, source_address = NULL, user_agent = NULL
                     WHERE attempt_id = ANY($1)";
        sqlx::query(taken).bind(all).execute(&mut *tx).await?;
        tx.commit().await?;
        self.store.appended.notify_one();
        Ok(count)
    }

    async fn take(&self, tx: &mut PgConnection, request: ResetRequest) -> Result<(), CommandError> {
        let attempt = request.attempt_id;
        let Some(user) = request.user_id else {
            sqlx::query("DELETE FROM subject_keys WHERE subject_id = $1").bind(attempt).execute(tx).await?;
            return Ok(());
        };
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
