//! A day in an hour: imports, sends, opt-outs and reads for as long as it is told, with a dump under way half of the time and
//! maintenance each minute. No answer may be an error of the server, memory may not grow, and in the end every campaign adds up.

mod dump;
mod load;
mod tally;

use crate::scene::{self, Minter};
use e2e::{Client, Metrics, Settings, Stack};
use load::Load;
use sqlx::PgPool;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally::{Sample, Tally};
use tokio_util::sync::CancellationToken;

/// Readers of the group that is written to again and again.
const READERS: usize = 20_000;
const MAINTENANCE_SECONDS: u64 = 60;
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// Of one mail, as providers take it.
const PROVIDER_MS: u64 = 20;
/// What is under way when the time is over has to end within this.
const ENDS_WITHIN: Duration = Duration::from_secs(300);

/// Runs for `minutes`; writes `soak.csv` and `soak.svg` into `folder`. Returns whether nothing was wrong.
pub async fn run(folder: &Path, minutes: u64) -> bool {
    std::fs::create_dir_all(folder).unwrap();
    let settings = Settings::new()
        .set("log.filter", "warn")
        .set("send.mailer", "null")
        .set("null.latency_ms", PROVIDER_MS)
        .set("database.maintenance_every_seconds", MAINTENANCE_SECONDS);
    let stack = Arc::new(Stack::start(settings).await);
    let (api, minter) = (stack.client(), Minter::of(&stack).await);
    let (draft, _) = scene::readers(&api, "soak", READERS).await;
    scene::all_done(&stack).await;
    let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
    let load =
        Load { api: api.clone(), draft, minter: Arc::new(minter), tally: tally.clone(), stop: stop.clone() };
    let mut running = load.start().await;
    running.spawn(dump::run(stack.database_url().to_owned(), tally.clone(), stop.clone()));
    let samples = sample(&stack, &tally, Duration::from_secs(minutes * 60)).await;
    stop.cancel();
    let ended = tokio::time::timeout(ENDS_WITHIN, running.join_all()).await;
    let mut wrong = tally.wrong();
    if ended.is_err() {
        wrong.push(format!("what was under way did not end within {ENDS_WITHIN:?}"));
    }
    scene::all_done(&stack).await;
    wrong.extend(left_over(stack.pool(), &api).await);
    tally::write(folder, &samples);
    tally.tell(&samples);
    wrong.iter().for_each(|what| println!("WRONG: {what}"));
    wrong.is_empty()
}

async fn sample(stack: &Stack, tally: &Tally, time: Duration) -> Vec<Sample> {
    let (start, mut turns, mut samples) = (Instant::now(), tokio::time::interval(SAMPLE_EVERY), Vec::new());
    while start.elapsed() < time {
        turns.tick().await;
        let metrics = Metrics::of(stack, "server").await;
        let bytes = metrics.value("process_resident_memory_bytes", &[]).unwrap_or_default();
        let sample = tally.sample(start.elapsed(), bytes / 1_048_576.0);
        if samples.len() % 6 == 0 {
            println!("{sample}");
        }
        samples.push(sample);
    }
    samples
}

/// What may not be there in the end.
async fn left_over(pool: &PgPool, api: &Client) -> Vec<String> {
    let mut wrong = Vec::new();
    let count = async |what: &'static str| sqlx::query_scalar::<_, i64>(what).fetch_one(pool).await.unwrap();
    let letters = count("SELECT count(*) FROM dead_letters").await;
    if letters > 0 {
        wrong.push(format!("{letters} dead letters"));
    }
    let unnumbered =
        count("SELECT count(*) FROM events LEFT JOIN log USING (append_id) WHERE position IS NULL").await;
    if unnumbered > 0 {
        wrong.push(format!("{unnumbered} events without a position"));
    }
    let campaigns: Vec<serde_json::Value> = api.all("/emails").await;
    for campaign in campaigns {
        let id = campaign["campaign_id"].as_str().unwrap().parse().unwrap();
        // It panics where a report does not add up.
        let report = api.report(id).await;
        if report.pending > 0 || report.unknown > 0 {
            wrong.push(format!("campaign {id}: {report:?}"));
        }
    }
    wrong
}
