//! How many mails that anybody can ask for go to one address: nobody's mailbox is filled by somebody else's clicks.

use crate::CommandError;
use domain::AddressHash;
use sqlx::PgConnection;

/// Of one kind of mail.
pub(crate) struct MailLimit {
    /// A table, or a query in brackets, that has `address_hash` and `requested_at` of each request.
    pub requests: &'static str,
    pub hourly_max: i64,
    pub daily_max: i64,
}

impl MailLimit {
    /// Whether one more may go. Requests for one address take turns until `tx` ends, so that each counts the others.
    pub async fn allows(&self, tx: &mut PgConnection, address: AddressHash) -> Result<bool, CommandError> {
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1 || ' ' || encode($2, 'hex'), 0))")
            .bind(self.requests)
            .bind(address.0.as_slice())
            .execute(&mut *tx)
            .await?;
        let (hourly, daily): (i64, i64) = sqlx::query_as(&format!(
            "SELECT count(*) FILTER (WHERE requested_at > now() - interval '1 hour'), count(*)
             FROM {} AS requests WHERE address_hash = $1 AND requested_at > now() - interval '1 day'",
            self.requests
        ))
        .bind(address.0.as_slice())
        .fetch_one(&mut *tx)
        .await?;
        Ok(hourly < self.hourly_max && daily < self.daily_max)
    }
}
