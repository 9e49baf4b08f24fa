//! Mails with a link that lets somebody choose a password: asked for here, sent by a sender as every mail is.
//!
//! A link's secret is in no event and no row, not even sealed: the log is for ever. The sender draws it when it makes the
//! mail, and its hash is written in the transaction that lets the mail go. So each kind of link has one hash that counts,
//! that of the newest mail, from then until it is used or its time is over.

use crate::accounts::{self, record};
use crate::mail_limits::MailLimit;
use crate::secrets::{self, Given};
use crate::{CommandError, Commands, Context};
use chrono::{DateTime, TimeDelta, Utc};
use domain::transactional::{AccountMail, AccountMailKind, Transactional, TransactionalCommand};
use domain::{AddressHash, DispatchId, UserId};
use eventstore::sealing::SubjectKeys;
use eventstore::{clock, ids};
use sqlx::PgConnection;

/// From the moment that the mail may go.
const RESET_LIFE: TimeDelta = TimeDelta::minutes(30);
const INVITATION_LIFE: TimeDelta = TimeDelta::days(7);

/// Who asked for a link waits for it; an invitation can wait for a mailer to come back.
const RESET_GIVEN_UP_AFTER: TimeDelta = TimeDelta::minutes(30);
const INVITATION_GIVEN_UP_AFTER: TimeDelta = TimeDelta::days(1);

pub(crate) const RESETS: MailLimit = MailLimit { requests: "reset_requests", hourly_max: 3, daily_max: 10 };
pub(crate) const INVITATIONS: MailLimit = MailLimit {
    requests: "(SELECT * FROM account_mails WHERE kind = 'invitation')",
    hourly_max: 3,
    daily_max: 10,
};

/// The secret of one mail's link.
pub struct AccountToken {
    pub(crate) kind: AccountMailKind,
    pub(crate) secret: Given,
}

impl AccountToken {
    pub fn draw(kind: AccountMailKind) -> Result<Self, CommandError> {
        let prefix = match kind {
            AccountMailKind::PasswordReset => "plp_",
            AccountMailKind::Invitation => "pli_",
        };
        Ok(Self { kind, secret: secrets::new(prefix)? })
    }

    pub fn text(&self) -> &str {
        &self.secret.text
    }

    fn life(&self) -> TimeDelta {
        match self.kind {
            AccountMailKind::PasswordReset => RESET_LIFE,
            AccountMailKind::Invitation => INVITATION_LIFE,
        }
    }
}

/// Whom a link is for.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct AccountLink {
    pub user_id: UserId,
    /// Sealed, as in UserAdded.
    pub address: String,
}

impl Commands {
    /// For a user; what was not sent some time after `asked_at` is given up.
    pub(crate) async fn queue_account_mail(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        kind: AccountMailKind,
        user_id: UserId,
        address_hash: AddressHash,
        asked_at: DateTime<Utc>,
    ) -> Result<(), CommandError> {
        let dispatch = ids::new_id();
        let queue =
            "INSERT INTO account_mails (dispatch_id, address_hash, kind, user_id) VALUES ($1, $2, $3, $4)";
        sqlx::query(queue)
            .bind(dispatch)
            .bind(address_hash.0.as_slice())
            .bind(kind.as_str())
            .bind(user_id)
            .execute(&mut *tx)
            .await?;
        let given_up_after = match kind {
            AccountMailKind::PasswordReset => RESET_GIVEN_UP_AFTER,
            AccountMailKind::Invitation => INVITATION_GIVEN_UP_AFTER,
        };
        let mail = AccountMail {
            kind,
            user_id: Some(user_id),
            mailer: self.mailers.default.clone(),
            address_hash,
            hash_key_id: self.store.master.id().into(),
            expires_at: asked_at + given_up_after,
        };
        // The version that a client saw is another stream's.
        let context = Context { if_match: None, ..context.clone() };
        let request = TransactionalCommand::RequestAccount(mail);
        record::<Transactional>(tx, dispatch, &SubjectKeys::new(), request, &context).await?;
        Ok(())
    }

    /// Whom a link is for that is good now. Looking changes nothing.
    pub async fn account_link(
        &self,
        kind: AccountMailKind,
        token: &str,
    ) -> Result<Option<AccountLink>, CommandError> {
        let found = "SELECT user_id, a.address FROM account_mails m JOIN accounts a USING (user_id)
                     WHERE token_hash = $1 AND kind = $2 AND expires_at > clock_timestamp() AND NOT a.disabled";
        Ok(sqlx::query_as(found)
            .bind(secrets::hash(token).as_slice())
            .bind(kind.as_str())
            .fetch_optional(&self.store.pool)
            .await?)
    }
}

/// Of the kind's links of this user the mail's counts from now on; false: a newer mail was asked for, a password was chosen
/// since this one was, or there is nobody who may have one.
pub(crate) async fn let_link_count(
    tx: &mut PgConnection,
    dispatch: DispatchId,
    token: &AccountToken,
) -> Result<bool, CommandError> {
    let whose = "SELECT user_id FROM account_mails WHERE dispatch_id = $1";
    let user: Option<Option<UserId>> =
        sqlx::query_scalar(whose).bind(dispatch).fetch_optional(&mut *tx).await?;
    let Some(user) = user.flatten() else { return Ok(false) };
    accounts::lock(tx, user).await?;
    let counts: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM account_mails m JOIN accounts a USING (user_id)
         WHERE m.dispatch_id = $1 AND NOT a.disabled
             AND NOT EXISTS (SELECT FROM account_mails newer
                 WHERE newer.user_id = m.user_id AND newer.kind = m.kind AND newer.requested_at > m.requested_at)
             AND NOT EXISTS (SELECT FROM passwords p
                 WHERE p.user_id = m.user_id AND p.changed_at > m.requested_at))",
    )
    .bind(dispatch)
    .fetch_one(&mut *tx)
    .await?;
    if !counts {
        return Ok(false);
    }
    sqlx::query("UPDATE account_mails SET token_hash = NULL WHERE user_id = $1 AND kind = $2 AND token_hash IS NOT NULL")
        .bind(user)
        .bind(token.kind.as_str())
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE account_mails SET token_hash = $2, expires_at = $3 WHERE dispatch_id = $1")
        .bind(dispatch)
        .bind(token.secret.hash.as_slice())
        .bind(clock::now() + token.life())
        .execute(&mut *tx)
        .await?;
    Ok(true)
}

/// Spends a link, and with it all of the user's; whose it was. The account's row is locked first.
pub(crate) async fn spend_link(
    tx: &mut PgConnection,
    kind: AccountMailKind,
    token: &str,
) -> Result<Option<UserId>, CommandError> {
    let hash = secrets::hash(token);
    let Some(user) = user_of_link(tx, kind, &hash).await? else { return Ok(None) };
    // Of two requests with one link the second waits here for the first, and then finds it spent.
    accounts::lock(tx, user).await?;
    let still = user_of_link(tx, kind, &hash).await?;
    if still.is_some() {
        forget_links(tx, user).await?;
    }
    Ok(still)
}

async fn user_of_link(
    tx: &mut PgConnection,
    kind: AccountMailKind,
    hash: &[u8; 32],
) -> Result<Option<UserId>, CommandError> {
    let user = "SELECT user_id FROM account_mails
                WHERE token_hash = $1 AND kind = $2 AND expires_at > clock_timestamp()";
    Ok(sqlx::query_scalar(user).bind(hash.as_slice()).bind(kind.as_str()).fetch_optional(tx).await?)
}

/// Who has chosen a password has no use for links that were sent before.
pub(crate) async fn forget_links(tx: &mut PgConnection, user: UserId) -> Result<(), CommandError> {
    let forget = "UPDATE account_mails SET token_hash = NULL WHERE user_id = $1 AND token_hash IS NOT NULL";
    sqlx::query(forget).bind(user).execute(tx).await?;
    Ok(())
}
