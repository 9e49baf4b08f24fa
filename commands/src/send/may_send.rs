//! Where every authorization begins: nothing opens a permit but in a transaction that found sending on, and the log to be the
//! one that this process knows. It is asked each time and not when a connection is made: a pool reconnects to whatever has the
//! address by then, and says nothing.

use crate::{CommandError, Commands};
use domain::{CampaignId, Sequence};
use eventstore::campaign_lock;
use eventstore::sending;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Transaction};
use std::ops::{Deref, DerefMut};
use uuid::Uuid;

/// A transaction in which sending is on, and the campaign sends, until its end.
pub(super) struct MaySend(Transaction<'static, Postgres>);

impl Commands {
    /// `None`: nothing may be sent, or nothing of this campaign, or nothing that was made from this version of its template: it may have
    /// been paused, have taken another and have been resumed since. A row of an earlier release does not name the version, and its
    /// campaign took no other.
    pub(super) async fn may_send(
        &self,
        campaign: Option<(CampaignId, Sequence)>,
    ) -> Result<Option<MaySend>, CommandError> {
        let mut tx = self.store.pool.begin().await?;
        // Lock in one statement and look in the next: a statement's snapshot is older than the lock it waited for.
        // Without a campaign the second lock is none.
        sqlx::query(
            "SELECT pg_advisory_xact_lock_shared(hashtextextended('sending', 0)), pg_advisory_xact_lock_shared($1)",
        )
        .bind(campaign.map(|(id, _)| campaign_lock(id)))
        .execute(&mut *tx)
        .await?;
        let (may_send, log_follows, epoch): (bool, bool, Uuid) = sqlx::query_as(
            "SELECT sending_stopped_by() IS NULL AND ($1 IS NULL
                 OR EXISTS (SELECT FROM campaign_gates WHERE campaign_id = $1 AND status = 'sending'
                     AND coalesce(template_version, $3) = $3)), log_follows($2), (SELECT epoch FROM log_epoch)",
        )
        .bind(campaign.map(|(id, _)| id))
        .bind(self.store.memory.seen().map(Json))
        .bind(campaign.map(|(_, template_version)| template_version.cast_signed()))
        .fetch_one(&mut *tx)
        .await?;
        if !log_follows {
            tx.rollback().await?;
            sending::log_went_back(&self.store.pool, epoch).await?;
            return Ok(None);
        }
        Ok(may_send.then_some(MaySend(tx)))
    }
}

impl MaySend {
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.0.commit().await
    }
}

impl Deref for MaySend {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for MaySend {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
