//! Waiting out the permits that were open when something was forbidden.
//!
//! An opt-out or a pause commits first and then looks: every permit that could still allow a call was committed
//! before it took the lock, so it is seen here; later authorizations see the new state. No call starts later than W
//! after its authorization, so W and its margin after our commit none can start any more.

use crate::{CommandError, Timing};
use domain::{AddressHash, CampaignId, PermitId};
use sqlx::PgPool;
use std::time::Duration;
use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(10);

/// What a permit keeps of an address hash: its first eight bytes.
pub fn gate_prefix(address: &AddressHash) -> i64 {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&address.0[..8]);
    i64::from_be_bytes(prefix)
}

pub(crate) async fn open_for_address(
    pool: &PgPool,
    address: &AddressHash,
) -> Result<Vec<PermitId>, CommandError> {
    Ok(sqlx::query_scalar("SELECT permit_id FROM permits WHERE $1 = ANY(gates)")
        .bind(gate_prefix(address))
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
        if let Ok(false) = open.bind(permits).fetch_one(pool).await {
            return;
        }
        tokio::time::sleep_until(deadline.min(Instant::now() + POLL)).await;
    }
}
