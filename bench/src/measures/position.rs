//! How long after its commit an event has its position.

use super::Measure;
use crate::latency::Latencies;
use crate::report::{Aim, Figure};
use crate::world::World;
use commands::Context;
use domain::group::{Group, GroupCommand};
use eventstore::sealing::SubjectKeys;
use eventstore::{Decided, Loaded, Metadata, append, ids};
use futures::FutureExt;
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_millis(50);
const PROBES: usize = 400;
const HELD: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);
/// Of the writer at full append.
const BATCH: usize = 1_000;

pub const MEASURE: Measure = Measure {
    name: "position",
    what: "From a commit's answer to its position in the log, a command each 50 ms: idle, beside a writer that appends 1,000-event batches as fast as it can, \
           and while a foreign transaction that wrote an event stays open for 60 s.",
    limited_by: "Idle: a wake-up and the sequencer's transaction. At full append: the batch before this one (2,000 events at most), and two cores that the \
                 writer, Postgres and the sequencer share. A foreign transaction costs little: only the low-water mark waits for it.",
    take: || take().boxed_local(),
};

async fn take() -> Vec<Figure> {
    let world = World::start().await;
    let mut figures = told("idle", probe(&world, PROBES).await);
    let stop = CancellationToken::new();
    let writer = tokio::spawn(write(world.commands.clone(), stop.clone()));
    let start = Instant::now();
    let loaded = probe(&world, PROBES).await;
    let seconds = start.elapsed().as_secs_f64();
    stop.cancel();
    let events = writer.await.unwrap();
    let beside = format!("at full append ({:.0} events/s)", events as f64 / seconds);
    figures.extend(told(&beside, loaded));
    figures.extend(told("with a foreign transaction open for 60 s", held(&world).await));
    figures
}

fn told(when: &str, mut latencies: Latencies) -> Vec<Figure> {
    let p50 = latencies.percentile_ms(50.0);
    let p99 = latencies.percentile_ms(99.0);
    vec![
        Figure::new(format!("{when}: p50"), p50, "ms", Aim::None),
        Figure::new(format!("{when}: p99"), p99, "ms", Aim::AtMost(100.0)),
    ]
}

async fn probe(world: &World, probes: usize) -> Latencies {
    let mut turns = interval(EVERY);
    let mut latencies = Latencies::default();
    let mut looking = world.pool().acquire().await.unwrap();
    while latencies.len() < probes {
        turns.tick().await;
        let by = Context::system("bench");
        let done = world.commands.create_group(&by, "Readers".into(), String::new()).await.unwrap();
        let start = Instant::now();
        loop {
            let look = sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM log WHERE append_id = $1)");
            if look.bind(done.position.touched[0].append_id).fetch_one(&mut *looking).await.unwrap() {
                break;
            }
            sleep(POLL).await;
        }
        latencies.add(start.elapsed());
    }
    latencies
}

/// Appends until it is stopped; answers how many events.
async fn write(commands: commands::Commands, stop: CancellationToken) -> usize {
    let mut events = 0;
    while !stop.is_cancelled() {
        let mut tx = commands.store.pool.begin().await.unwrap();
        let mut appends = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            let create = GroupCommand::Create { name: "Readers".into(), description: String::new() };
            let decided = Decided::<Group>::decide(ids::new_id(), Loaded::default(), create).await.unwrap();
            appends.push(decided.into_append(&SubjectKeys::new()).unwrap());
        }
        append(&mut tx, appends, &Metadata::new()).await.unwrap();
        tx.commit().await.unwrap();
        commands.store.news.appended();
        events += BATCH;
    }
    events
}

async fn held(world: &World) -> Latencies {
    // Not one of ours: Postgres would end a session of ours that stands still for so long.
    let mut session = PgConnection::connect_with(&world.pool().connect_options()).await.unwrap();
    let mut foreign = session.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('group', gen_random_uuid()::text, 1, 'GroupDeleted', '1.0', '{\"GroupDeleted\": {}}', '{}')",
    )
    .execute(&mut *foreign)
    .await
    .unwrap();
    let latencies = probe(world, (HELD.as_millis() / EVERY.as_millis()) as usize).await;
    foreign.rollback().await.unwrap();
    latencies
}
