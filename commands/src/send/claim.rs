use crate::deaths::DEATHS_MAX;
use crate::{CommandError, Commands};
use chrono::{DateTime, Utc};
use domain::{CampaignId, DispatchId, PermitId};
use std::time::Duration;

/// After so many it is worked on alone.
const SUSPECT_AFTER: i32 = 3;
/// What can be neither worked on nor given up is tried again after this time.
pub const LAID_ASIDE: Duration = Duration::from_secs(3600);

/// Leave to work on one dispatch until the lease ends. Every authorization renews it, and proves by the fencing
/// number that nobody took over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Lease {
    pub dispatch_id: DispatchId,
    pub fence: i64,
    /// Workers before this one, in a row, that took the dispatch and neither settled a chunk of it nor gave it back.
    pub deaths: i32,
}

impl Lease {
    /// It may be what ended those workers: nothing else is to die with it.
    pub fn is_suspect(self) -> bool {
        self.deaths >= SUSPECT_AFTER
    }

    /// It is not worked on any more.
    pub fn is_poison(self) -> bool {
        self.deaths >= DEATHS_MAX
    }
}

/// A lease of one of a campaign's dispatches.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Claim {
    #[sqlx(flatten)]
    pub lease: Lease,
    pub campaign_id: CampaignId,
    /// The campaign's status when it was claimed.
    pub status: String,
    /// The version of its template that it sent then. `None` in a row of an earlier release.
    pub template_version: Option<i64>,
}

/// Which mails outside campaigns a lane takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfMailers {
    One(String),
    /// Those that name no mailer, or one that is not configured any more, among them: somebody has to give them up in the end.
    AllBut(Vec<String>),
}

/// A permit whose worker cannot act any more.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct ExpiredPermit {
    pub permit_id: PermitId,
    pub mailer: String,
}

/// What each claim writes: a worker is taken for dead until it settles a chunk or gives the dispatch back. The worker of a
/// suspect first waits for what else its process works on, so it has more time.
fn taken() -> String {
    format!(
        "fence = fence + 1, deaths = deaths + 1, leased_until = clock_timestamp() + make_interval(
             secs => CASE WHEN deaths >= {SUSPECT_AFTER} THEN 2.0::float8 * $1 ELSE $1 END)"
    )
}

/// The campaigns that have work, one look in the index for each, in their order: what a paused one has waiting is passed at once.
fn campaigns_with_work(side: &str) -> String {
    format!(
        "campaigns AS (
             (SELECT campaign_id FROM dispatch_work WHERE pending > 0 AND campaign_id {side} $2
              ORDER BY campaign_id LIMIT 1)
             UNION ALL
             SELECT (SELECT w.campaign_id FROM dispatch_work w
                     WHERE w.pending > 0 AND w.campaign_id {side} $2 AND w.campaign_id > k.campaign_id
                     ORDER BY w.campaign_id LIMIT 1)
             FROM campaigns k WHERE k.campaign_id IS NOT NULL)"
    )
}

impl Commands {
    /// One dispatch that has something to do: to send, to close after a cancel, or to clear up after a dead worker. Of the
    /// campaign that follows `after`, the last one's, so that campaigns take turns: neither a large one nor one that fails
    /// keeps the others waiting for its end. Campaigns that are `resting` are left out.
    pub async fn claim_dispatch(
        &self,
        lease: Duration,
        after: CampaignId,
        resting: &[CampaignId],
    ) -> Result<Option<Claim>, CommandError> {
        match self.claim_among(">", lease, after, resting).await? {
            None => self.claim_among("<=", lease, after, resting).await,
            claim => Ok(claim),
        }
    }

    async fn claim_among(
        &self,
        side: &'static str,
        lease: Duration,
        after: CampaignId,
        resting: &[CampaignId],
    ) -> Result<Option<Claim>, CommandError> {
        Ok(sqlx::query_as(&format!(
            "WITH RECURSIVE {campaigns_with_work},
             known AS MATERIALIZED (
                 SELECT k.campaign_id,
                     (SELECT c.status FROM campaign_gates c WHERE c.campaign_id = k.campaign_id) AS status
                 FROM campaigns k WHERE k.campaign_id IS NOT NULL),
             left_behind AS (
                 SELECT w.dispatch_id, c.status FROM open_permits() p JOIN dispatch_work w USING (dispatch_id)
                 JOIN campaign_gates c ON c.campaign_id = w.campaign_id
                 WHERE p.expires_at < clock_timestamp() AND c.status IN ('sending', 'paused')
                   AND w.campaign_id {side} $2 AND w.campaign_id <> ALL($3) AND w.pending > 0
                   AND (w.leased_until IS NULL OR w.leased_until < clock_timestamp())
                   AND (w.not_before IS NULL OR w.not_before < clock_timestamp())
                 ORDER BY w.campaign_id, w.page LIMIT 1 FOR UPDATE OF w SKIP LOCKED),
             fresh AS (
                 SELECT d.dispatch_id, k.status FROM known k CROSS JOIN LATERAL (
                     SELECT w.dispatch_id FROM dispatch_work w
                     WHERE w.campaign_id = k.campaign_id AND w.pending > 0
                       AND (w.leased_until IS NULL OR w.leased_until < clock_timestamp())
                       AND (w.not_before IS NULL OR w.not_before < clock_timestamp() OR k.status = 'cancelled')
                     ORDER BY w.page LIMIT 1 FOR UPDATE SKIP LOCKED) d
                 WHERE k.campaign_id <> ALL($3)
                   AND (k.status = 'cancelled' OR (k.status = 'sending' AND (SELECT sending_stopped_by()) IS NULL))
                 LIMIT 1),
             next AS (SELECT * FROM left_behind UNION ALL SELECT * FROM fresh LIMIT 1)
             UPDATE dispatch_work w
             SET {taken} FROM next WHERE w.dispatch_id = next.dispatch_id
             RETURNING w.dispatch_id, w.campaign_id, w.fence, w.deaths - 1 AS deaths, next.status,
                 (SELECT c.template_version FROM campaign_gates c WHERE c.campaign_id = w.campaign_id) AS template_version",
            campaigns_with_work = campaigns_with_work(side),
            taken = taken()
        ))
        .bind(lease.as_secs_f64())
        .bind(after)
        .bind(resting)
        .fetch_optional(&self.store.pool)
        .await?)
    }

    /// One mail outside campaigns that waits for one of these mailers.
    pub async fn claim_transactional(
        &self,
        lease: Duration,
        mailers: &OfMailers,
    ) -> Result<Option<Lease>, CommandError> {
        let (which, names) = match mailers {
            OfMailers::One(name) => ("mailer = ANY($2)", std::slice::from_ref(name)),
            OfMailers::AllBut(names) => ("(mailer IS NULL OR mailer <> ALL($2))", &names[..]),
        };
        Ok(sqlx::query_as(&format!(
            "WITH next AS (
                 SELECT dispatch_id FROM dispatch_work
                 WHERE campaign_id IS NULL AND {which} AND pending > 0 AND (SELECT sending_stopped_by()) IS NULL
                   AND (leased_until IS NULL OR leased_until < clock_timestamp())
                   AND (not_before IS NULL OR not_before < clock_timestamp())
                 ORDER BY dispatch_id LIMIT 1 FOR UPDATE SKIP LOCKED)
             UPDATE dispatch_work w SET {} FROM next WHERE w.dispatch_id = next.dispatch_id
             RETURNING w.dispatch_id, w.fence, w.deaths - 1 AS deaths",
            taken()
        ))
        .bind(lease.as_secs_f64())
        .bind(names)
        .fetch_optional(&self.store.pool)
        .await?)
    }

    /// Gives a dispatch back, to be claimed again after `pause`.
    pub async fn release_dispatch(&self, lease: Lease, pause: Duration) -> Result<(), CommandError> {
        sqlx::query(
            "UPDATE dispatch_work SET leased_until = NULL, deaths = 0,
                 not_before = clock_timestamp() + make_interval(secs => $3)
             WHERE dispatch_id = $1 AND fence = $2",
        )
        .bind(lease.dispatch_id)
        .bind(lease.fence)
        .bind(pause.as_secs_f64())
        .execute(&self.store.pool)
        .await?;
        Ok(())
    }

    /// Keeps others from a dispatch for this long. `deaths`: as many as are held against it then.
    pub async fn lay_aside(&self, lease: Lease, deaths: i32, rest: Duration) -> Result<(), CommandError> {
        sqlx::query(
            "UPDATE dispatch_work
             SET deaths = $3, leased_until = clock_timestamp() + make_interval(secs => $4)
             WHERE dispatch_id = $1 AND fence = $2",
        )
        .bind(lease.dispatch_id)
        .bind(lease.fence)
        .bind(deaths)
        .bind(rest.as_secs_f64())
        .execute(&self.store.pool)
        .await?;
        Ok(())
    }

    /// Whoever lets a campaign go on takes its dispatches for good again.
    pub(crate) async fn forget_deaths(&self, campaign: CampaignId) -> Result<(), CommandError> {
        sqlx::query("UPDATE dispatch_work SET deaths = 0 WHERE campaign_id = $1 AND deaths > 0")
            .bind(campaign)
            .execute(&self.store.pool)
            .await?;
        Ok(())
    }

    /// Permits that an earlier worker left, and when the last of those that may still be acted on expires.
    pub async fn left_permits(
        &self,
        dispatch: DispatchId,
    ) -> Result<(Vec<ExpiredPermit>, Option<Duration>), CommandError> {
        let expired = sqlx::query_as(
            "SELECT permit_id, mailer FROM open_permits() WHERE dispatch_id = $1 AND expires_at < clock_timestamp()",
        )
        .bind(dispatch)
        .fetch_all(&self.store.pool)
        .await?;
        let open: Option<(DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
            "SELECT max(expires_at), clock_timestamp() FROM open_permits()
             WHERE dispatch_id = $1 AND expires_at >= clock_timestamp() HAVING count(*) > 0",
        )
        .bind(dispatch)
        .fetch_optional(&self.store.pool)
        .await?;
        let wait = open.map(|(until, now)| (until - now).to_std().unwrap_or_default());
        Ok((expired, wait))
    }

    /// Campaigns that send and have nobody left to send to.
    pub async fn finished_campaigns(&self) -> Result<Vec<CampaignId>, CommandError> {
        Ok(sqlx::query_scalar(
            "SELECT campaign_id FROM campaign_gates c WHERE status = 'sending'
               AND NOT EXISTS (SELECT FROM dispatch_work w WHERE w.campaign_id = c.campaign_id AND w.pending > 0)",
        )
        .fetch_all(&self.store.pool)
        .await?)
    }
}
