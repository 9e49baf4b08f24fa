//! `/metrics` for Prometheus, on a listener of its own.
//!
//! What happens is counted where it happens (`api`, `workers`). What is a state of the process is read when it is asked
//! for; what is a state of the database is sampled by one task ([`sample`]), so that neither the number of scrapes nor a
//! database that is away matters to either.

mod catalog;
mod process;
mod sample;

pub use process::Observed;

use crate::serve::Role;
use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use sample::{STATEMENT_TIME, Sampler};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Seconds. One row of bounds for requests and mailers: both take from a millisecond to half a minute.
const BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// A database that takes longer is not there.
const ACQUIRE_TIME: Duration = Duration::from_secs(3);

/// What a process measures of itself, ready to be served.
pub struct Metrics {
    listener: TcpListener,
    handle: PrometheusHandle,
    observed: Arc<Observed>,
}

impl Metrics {
    /// From now on what is counted anywhere in this process is kept. Called once, before anything counts.
    pub async fn start(
        listen: SocketAddr,
        roles: &BTreeSet<Role>,
        observed: Observed,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen).await;
        let listener = listener.with_context(|| format!("metrics.listen: {listen} can't be used"))?;
        let recorder =
            PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS);
        let recorder = recorder.context("the buckets of metrics")?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).ok().context("metrics are kept already")?;
        catalog::describe();
        process::record_identity(roles);
        Ok(Self { listener, handle, observed: Arc::new(observed) })
    }

    /// Samples the database over a connection of its own, and serves until `stop`.
    pub async fn run(self, database: PgPool, has_kafka: bool, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { listener, handle, observed } = self;
        let router =
            Router::new().route("/metrics", get(scrape)).with_state((handle.clone(), observed.clone()));
        let sampler = Sampler::new(database, has_kafka, observed, handle);
        let served = api::serve(listener, router, api::Connections::default(), stop.clone());
        tokio::join!(sampler.run(stop), served).1?;
        Ok(())
    }
}

async fn scrape(State((handle, observed)): State<(PrometheusHandle, Arc<Observed>)>) -> impl IntoResponse {
    observed.record();
    ([(CONTENT_TYPE, TEXT_FORMAT), (CACHE_CONTROL, "no-store")], handle.render())
}

/// One connection, made when it is wanted: what is sampled takes none from the pools that it looks at.
pub fn sampling_pool(options: PgConnectOptions) -> PgPool {
    let options = options.application_name("postledger metrics");
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIME);
    let pool = pool.after_connect(|connection, _| {
        let set = format!("SET statement_timeout = '{STATEMENT_TIME}'; SET jit = off");
        Box::pin(async move { connection.execute(set.as_str()).await.map(drop) })
    });
    pool.connect_lazy_with(options)
}
