//! Waiting out the permits that were open when something was forbidden.
//!
//! An opt-out or a pause commits first and then looks: every permit that could still allow a call was committed
//! before it took the lock, so it is seen here; later authorizations see the new state. No call starts later than W
//! after its authorization, so W and its margin after our commit none can start any more.

use crate::{CommandError, Timing};
use domain::{CampaignId, PermitId, SubscriberId};
use sqlx::PgPool;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

const POLL: Duration = Duration::from_millis(10);

/// What a permit keeps of a reader: the last eight bytes of the id, which are random.
pub fn reader_key(subscriber: SubscriberId) -> i64 {
    subscriber.as_u64_pair().1.cast_signed()
}

/// Of all their addresses, past ones included.
pub(crate) async fn open_for_readers(
    pool: &PgPool,
    subscribers: &[SubscriberId],
) -> Result<Vec<PermitId>, CommandError> {
    let readers: Vec<i64> = subscribers.iter().copied().map(reader_key).collect();
    Ok(sqlx::query_scalar("SELECT permit_id FROM permits WHERE readers && $1")
        .bind(readers)
        .fetch_all(pool)
        .await?)
}

pub(crate) async fn open_for_campaign(
    pool: &PgPool,
    campaign: CampaignId,
) -> Result<Vec<PermitId>, CommandError> {
    Ok(sqlx::query_scalar("SELECT permit_id FROM permits WHERE campaign_id = $1")
        .bind(campaign)
        .fetch_all(pool)
        .await?)
}

/// Waits until these permits are settled, or W and its margin have passed. Holds no connection between looks; where
/// the database does not answer, the time alone decides.
pub(crate) async fn wait(pool: &PgPool, permits: &[PermitId], timing: Timing) {
    let deadline = Instant::now() + timing.window + timing.margin;
    while !permits.is_empty() && Instant::now() < deadline {
        let open =
            sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM permits WHERE permit_id = ANY($1))");
        // Never longer than the deadline, whatever keeps a connection from us.
        if let Ok(Ok(false)) = timeout_at(deadline, open.bind(permits).fetch_one(pool)).await {
            return;
        }
        tokio::time::sleep_until(deadline.min(Instant::now() + POLL)).await;
    }
}
