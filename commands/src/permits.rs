//! Waiting out the permits that were open when something was forbidden.
//!
//! An opt-out or a pause commits first and then looks: every permit that could still allow a call was committed
//! before it took the lock, so it is seen here; later authorizations see the new state. No call starts later than W
//! after its worker read its clocks, which was before it opened the permit. Each permit says its worker's W and margin: so long after
//! our look, by our own monotonic clock, no call by it can start any more. No two machines' clocks are compared, and no two
//! processes need the same settings.

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

/// The longest that any process may be told to take: `window_ms` and `margin_ms` at their ends.
pub const LONGEST: Timing = Timing { window: Duration::from_secs(15), margin: Duration::from_secs(10) };

/// Whole milliseconds in which calls start, as a permit has it. Never less than is meant.
pub(crate) fn start_within_ms(timing: Timing) -> i32 {
    let within = timing.window.saturating_add(timing.margin).as_micros().div_ceil(1_000);
    i32::try_from(within).unwrap_or(i32::MAX)
}

/// A permit that was seen open.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub(crate) struct OpenPermit {
    permit_id: PermitId,
    start_within_ms: i32,
}

/// Of all their addresses, past ones included.
pub(crate) async fn open_for_readers(
    pool: &PgPool,
    subscribers: &[SubscriberId],
) -> Result<Vec<OpenPermit>, CommandError> {
    let readers: Vec<i64> = subscribers.iter().copied().map(reader_key).collect();
    Ok(sqlx::query_as("SELECT permit_id, start_within_ms FROM open_permits() WHERE readers && $1")
        .bind(readers)
        .fetch_all(pool)
        .await?)
}

pub(crate) async fn open_for_campaign(
    pool: &PgPool,
    campaign: CampaignId,
) -> Result<Vec<OpenPermit>, CommandError> {
    Ok(sqlx::query_as("SELECT permit_id, start_within_ms FROM open_permits() WHERE campaign_id = $1")
        .bind(campaign)
        .fetch_all(pool)
        .await?)
}

/// Waits until these permits are settled, or none of them allows a call to start any more. Holds no connection between looks; where
/// the database does not answer, the time alone decides.
pub(crate) async fn wait(pool: &PgPool, permits: &[OpenPermit]) {
    let within = permits.iter().map(|permit| u64::from(permit.start_within_ms.unsigned_abs())).max();
    let deadline = Instant::now() + Duration::from_millis(within.unwrap_or_default());
    let ids: Vec<PermitId> = permits.iter().map(|permit| permit.permit_id).collect();
    while !ids.is_empty() && Instant::now() < deadline {
        let open =
            sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM permits WHERE permit_id = ANY($1))");
        // Never longer than the deadline, whatever keeps a connection from us.
        if let Ok(Ok(false)) = timeout_at(deadline, open.bind(&ids).fetch_one(pool)).await {
            return;
        }
        tokio::time::sleep_until(deadline.min(Instant::now() + POLL)).await;
    }
}
