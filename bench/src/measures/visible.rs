//! How long after its answer a command is in a read model, over REST.

use super::Measure;
use crate::latency::Latencies;
use crate::report::{Aim, Figure};
use e2e::{Client, Settings, Stack};
use futures::FutureExt;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::interval;

const PER_SECOND: u64 = 500;
const SECONDS: u64 = 20;
/// A server that is slower than the clock is not buried: the rate that it reached is told.
const IN_FLIGHT_MAX: usize = 32;

pub const MEASURE: Measure = Measure {
    name: "visible",
    what: "From a command's answer to the answer of a query that sends its position back, both over REST, at 500 commands/s started by the clock.",
    limited_by: "The position (see above), the projector's transaction, and the query's own round trip. The load generator runs on the same two cores.",
    take: || take().boxed_local(),
};

async fn take() -> Vec<Figure> {
    let settings = || Settings::new().set("log.filter", "warn");
    let mut figures = measure("embedded carrier", settings(), 100.0).await;
    match std::env::var("POSTLEDGER_TEST_KAFKA") {
        Ok(brokers) => {
            let by_kafka = settings().set("kafka.brokers", brokers).set("kafka.prefix", "bench-visible");
            figures.extend(measure("Kafka", by_kafka, 200.0).await);
        }
        Err(_) => println!("  NOT MEASURED by Kafka: there is none (POSTLEDGER_TEST_KAFKA)"),
    }
    figures
}

async fn measure(carrier: &str, settings: Settings, aim_ms: f64) -> Vec<Figure> {
    let stack = Stack::start(settings).await;
    let api = stack.client();
    for _ in 0..200 {
        once(api.fork()).await;
    }
    let mut turns = interval(Duration::from_secs(1) / u32::try_from(PER_SECOND).unwrap());
    let mut running = JoinSet::new();
    let start = Instant::now();
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    for _ in 0..PER_SECOND * SECONDS {
        turns.tick().await;
        let place = places.clone().acquire_owned().await.unwrap();
        let api = api.fork();
        running.spawn(async move {
            let _place = place;
            once(api).await
        });
    }
    let mut latencies: Latencies = running.join_all().await.into_iter().collect();
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    let (p50, p99) = (latencies.percentile_ms(50.0), latencies.percentile_ms(99.0));
    let wanted = Aim::AtLeast(PER_SECOND as f64 * 0.95);
    vec![
        Figure::new(format!("{carrier}: commands that were answered"), rate, "/s", wanted),
        Figure::new(format!("{carrier}: p50"), p50, "ms", Aim::None),
        Figure::new(format!("{carrier}: p99"), p99, "ms", Aim::AtMost(aim_ms)),
    ]
}

async fn once(api: Client) -> Duration {
    let group = api.post("/groups", &json!({ "name": "Readers" })).await.expect(201).id("group_id");
    let start = Instant::now();
    api.query(&format!("/groups/{group}")).await.expect(200);
    start.elapsed()
}
