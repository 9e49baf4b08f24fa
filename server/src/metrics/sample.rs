//! Gauges that need SQL: looked at every ten seconds by one task, over a connection of its own, each statement bounded in
//! time. While the database is away they stay as they were, and `postledger_database_up` says so.

use super::process::{Observed, seconds};
use chrono::{DateTime, Utc};
use eventstore::{StoreError, clock, lost, sending};
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(10);
/// For everything; the statements have a time of their own as well, so that none goes on in the database.
const SAMPLE_TIME: Duration = Duration::from_secs(8);
/// Of each statement, by the connection's own setting.
pub const STATEMENT_TIME: &str = "5s";
/// Counting stops here: what is far behind need not be known exactly.
const COUNTED_MAX: i64 = 10_000;

pub struct Sampler {
    database: PgPool,
    has_kafka: bool,
    observed: Arc<Observed>,
    handle: PrometheusHandle,
}

#[derive(sqlx::FromRow)]
struct Head {
    now: DateTime<Utc>,
    position: i64,
    waiting: i64,
    oldest_seconds: Option<f64>,
}

impl Sampler {
    pub fn new(database: PgPool, has_kafka: bool, observed: Arc<Observed>, handle: PrometheusHandle) -> Self {
        Self { database, has_kafka, observed, handle }
    }

    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = self.look() => {}
                () = stop.cancelled() => return,
            }
            // What histograms were told is gathered here, however seldom anybody asks.
            self.handle.run_upkeep();
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn look(&self) {
        let [main, opt_outs] = &self.observed.pools;
        let sample = tokio::time::timeout(SAMPLE_TIME, self.sample());
        let (sampled, (), ()) = tokio::join!(sample, wait_for(main), wait_for(opt_outs));
        let is_up = match sampled {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::debug!(%error, "metrics: the database could not be sampled");
                false
            }
            Err(_) => false,
        };
        metrics::gauge!("postledger_database_up").set(f64::from(u8::from(is_up)));
        if is_up {
            let now = seconds(clock::now().timestamp_millis());
            metrics::gauge!("postledger_sampled_timestamp_seconds").set(now);
        }
    }

    async fn sample(&self) -> Result<(), StoreError> {
        let now = self.log().await?;
        self.lost().await?;
        self.read_models(now).await?;
        if self.has_kafka {
            self.relay().await?;
        }
        self.schedule().await?;
        self.dispatches().await?;
        self.sending().await?;
        self.recipients().await?;
        self.imports().await?;
        self.erasures().await?;
        self.media().await
    }

    /// Answers the database's time: ages are counted by one clock.
    async fn log(&self) -> Result<DateTime<Utc>, StoreError> {
        let head: Head = sqlx::query_as(
            "SELECT clock_timestamp() AS now, h.position,
                 (SELECT count(*) FROM (SELECT FROM pending WHERE append_id > h.low_water LIMIT $1) p) AS waiting,
                 (SELECT extract(epoch FROM clock_timestamp() - e.recorded_at)::float8 FROM events e
                  WHERE e.append_id = (SELECT min(append_id) FROM pending WHERE append_id > h.low_water))
                     AS oldest_seconds
             FROM log_head h",
        )
        .bind(COUNTED_MAX)
        .fetch_one(&self.database)
        .await?;
        metrics::gauge!("postledger_log_position").set(head.position as f64);
        metrics::gauge!("postledger_sequencer_lag_events").set(head.waiting as f64);
        let lag = head.oldest_seconds.unwrap_or_default().max(0.0);
        metrics::gauge!("postledger_sequencer_lag_seconds").set(lag);
        Ok(head.now)
    }

    async fn lost(&self) -> Result<(), StoreError> {
        let order = lost::order(&self.database).await?;
        metrics::gauge!("postledger_sequence_behind").set(f64::from(u8::from(order.is_behind())));
        metrics::gauge!("postledger_lost_events").set(lost::count(&self.database).await? as f64);
        Ok(())
    }

    async fn read_models(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        for lag in projections::lag(&self.database, &projections::all()).await? {
            let gauge = |name| metrics::gauge!(name, "projection" => lag.projection.clone());
            let waits_ms = lag.oldest.map_or(0, |oldest| (now - oldest).num_milliseconds().max(0));
            gauge("postledger_projection_lag_events").set(lag.events as f64);
            gauge("postledger_projection_lag_seconds").set(seconds(waits_ms));
            gauge("postledger_projection_parked_streams").set(lag.parked_streams as f64);
            gauge("postledger_dead_letters").set(lag.dead_letters as f64);
        }
        Ok(())
    }

    /// Nothing before the first relay has worked.
    async fn relay(&self) -> Result<(), StoreError> {
        let lag: Option<(i64, Option<f64>)> = sqlx::query_as(
            "SELECT h.position - r.position, extract(epoch FROM clock_timestamp() - l.sequenced_at)::float8
             FROM log_head h CROSS JOIN log_epoch e JOIN relay r ON r.epoch = e.epoch
             LEFT JOIN log l ON l.position = r.position + 1",
        )
        .fetch_optional(&self.database)
        .await?;
        if let Some((events, oldest_seconds)) = lag {
            metrics::gauge!("postledger_relay_lag_events").set(events as f64);
            let lag = oldest_seconds.unwrap_or_default().max(0.0);
            metrics::gauge!("postledger_relay_lag_seconds").set(lag);
        }
        Ok(())
    }

    async fn schedule(&self) -> Result<(), StoreError> {
        let lag: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM clock_timestamp() - min(due_at))::float8 FROM campaign_gates
             WHERE status = 'scheduled' AND due_at < clock_timestamp()",
        )
        .fetch_one(&self.database)
        .await?;
        metrics::gauge!("postledger_schedule_lag_seconds").set(lag.unwrap_or_default());
        Ok(())
    }

    async fn dispatches(&self) -> Result<(), StoreError> {
        let (claimed, waiting, resting, held): (i64, i64, i64, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE claimed),
                 count(*) FILTER (WHERE NOT claimed AND open AND NOT rests),
                 count(*) FILTER (WHERE NOT claimed AND open AND rests),
                 count(*) FILTER (WHERE NOT claimed AND NOT open)
             FROM (SELECT coalesce(w.leased_until >= clock_timestamp(), false) AS claimed,
                       coalesce(w.not_before >= clock_timestamp(), false) AS rests,
                       w.campaign_id IS NULL OR c.status IN ('sending', 'cancelled') AS open
                   FROM dispatch_work w LEFT JOIN campaign_gates c USING (campaign_id)
                   WHERE w.pending > 0) work",
        )
        .fetch_one(&self.database)
        .await?;
        for (state, count) in
            [("claimed", claimed), ("waiting", waiting), ("resting", resting), ("held", held)]
        {
            metrics::gauge!("postledger_dispatches", "state" => state).set(count as f64);
        }
        Ok(())
    }

    async fn sending(&self) -> Result<(), StoreError> {
        let stopped_by = sending::stopped_by(&self.database).await?.map(|stop| stop.reason);
        for reason in sending::REASONS {
            let is_why = stopped_by.as_deref() == Some(reason);
            metrics::gauge!("postledger_sending_stopped", "reason" => *reason)
                .set(f64::from(u8::from(is_why)));
        }
        Ok(())
    }

    /// One row for each campaign.
    async fn recipients(&self) -> Result<(), StoreError> {
        let states = ["pending", "accepted", "suppressed", "rejected", "unknown", "cancelled"];
        let sums: Vec<i64> = sqlx::query_scalar(
            "SELECT unnest(ARRAY[sum(pending), sum(accepted), sum(suppressed), sum(rejected), sum(unknown),
                 sum(cancelled)])::bigint FROM campaign_report HAVING count(*) > 0",
        )
        .fetch_all(&self.database)
        .await?;
        for (index, state) in states.into_iter().enumerate() {
            let count = sums.get(index).copied().unwrap_or_default();
            metrics::gauge!("postledger_recipients", "state" => state).set(count as f64);
        }
        Ok(())
    }

    async fn imports(&self) -> Result<(), StoreError> {
        let (queued, running): (i64, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE status = 'queued'), count(*) FILTER (WHERE status = 'running')
             FROM imports WHERE status IN ('spooling', 'queued', 'running')",
        )
        .fetch_one(&self.database)
        .await?;
        metrics::gauge!("postledger_imports", "status" => "queued").set(queued as f64);
        metrics::gauge!("postledger_imports", "status" => "running").set(running as f64);
        Ok(())
    }

    async fn erasures(&self) -> Result<(), StoreError> {
        let open: i64 = sqlx::query_scalar("SELECT count(*) FROM erasures").fetch_one(&self.database).await?;
        metrics::gauge!("postledger_erasures").set(open as f64);
        Ok(())
    }

    async fn media(&self) -> Result<(), StoreError> {
        let (requested, unwanted): (i64, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE status = 'requested'),
                 count(*) FILTER (WHERE status <> 'requested' AND removed_at IS NULL)
             FROM media_files WHERE status <> 'uploaded'",
        )
        .fetch_one(&self.database)
        .await?;
        for (state, count) in [("requested", requested), ("unwanted", unwanted)] {
            metrics::gauge!("postledger_media_files", "state" => state).set(count as f64);
        }
        Ok(())
    }
}

/// Takes a connection as a command would, and gives it back: a pool does not tell who waits.
async fn wait_for((name, pool): &(&'static str, PgPool)) {
    let asked = Instant::now();
    // Without one it ends with the pool's own time-out, which is told as well.
    let _ = pool.acquire().await;
    metrics::gauge!("postledger_database_acquire_seconds", "pool" => *name)
        .set(asked.elapsed().as_secs_f64());
}
