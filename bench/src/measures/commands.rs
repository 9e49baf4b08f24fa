//! Commands of one event, one commit each, beside the same INSERT by pgbench.

use super::Measure;
use crate::report::{Aim, Figure, median};
use crate::world::{World, bare};
use commands::{Context, GroupPatch};
use futures::FutureExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use uuid::Uuid;

const IN_FLIGHT: usize = 16;
const TIME: Duration = Duration::from_secs(8);
/// In a few seconds a shared machine may do anything: the median is told.
const ROUNDS: usize = 3;
/// Events of a stream that is loaded.
const LOADED_EVENTS: usize = 10;

pub const MEASURE: Measure = Measure {
    name: "commands",
    what: "Single-event commands through the command bus, 16 in flight, beside pgbench with one such INSERT per commit and 16 clients.",
    limited_by: "The two cores. Processor time of a command for a new stream, by perf: Postgres 144 µs, some 25 of them the sequencer's, which numbers \
                 the events meanwhile; the command bus 93 µs, most of it the driver and the kernel's sockets. pgbench's INSERT: 82 µs and 13. \
                 A loaded stream is read first: a round trip more, and ten events to decode.",
    take: || take().boxed_local(),
};

/// The trigger that notes what is to be numbered is a part of such an INSERT. (A colon before a letter would be a
/// variable of pgbench's.)
const INSERT: &str = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) \
    VALUES ('group', gen_random_uuid()::text, 1, 'GroupCreated', '1.0', \
    '{\"GroupCreated\": {\"name\": \"Readers\", \"description\": \"\"}}', '{\"actor\": \"bench\"}');\n";

async fn take() -> Vec<Figure> {
    let (mut raw, mut new, mut loaded) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        raw.push(pgbench().await);
        let world = Arc::new(World::start().await);
        new.push(new_streams(world.clone()).await);
        let streams = loaded_streams(&world).await;
        loaded.push(
            rate(move |lane, turn| change(world.clone(), streams[lane][turn % streams[lane].len()], turn))
                .await,
        );
    }
    let raw = median(raw);
    let figure = |what, rates, ratio| {
        Figure::new(what, median(rates), "commands/s", Aim::Ratio(ratio)).beside("pgbench", raw)
    };
    vec![figure("a new stream", new, 0.7), figure("a loaded stream of 10 events", loaded, 0.45)]
}

async fn new_streams(world: Arc<World>) -> f64 {
    rate(move |_, _| create(world.clone())).await
}

async fn pgbench() -> f64 {
    let (database, _pool) = bare().await;
    let script = std::env::temp_dir().join(format!("postledger-bench-{}.sql", std::process::id()));
    std::fs::write(&script, INSERT).unwrap();
    let mut pgbench = Command::new("pgbench");
    pgbench.args(["-n", "-M", "prepared", "-c", &IN_FLIGHT.to_string(), "-j", "2"]);
    pgbench.args(["-T", &TIME.as_secs().to_string(), "-f"]).arg(&script).arg(&database.url);
    let output = tokio::task::spawn_blocking(move || pgbench.output()).await.unwrap();
    let output = output.expect("pgbench is missing: it comes with Postgres");
    std::fs::remove_file(&script).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    tps.unwrap_or_else(|| panic!("pgbench: {said}{}", String::from_utf8_lossy(&output.stderr)))
}

async fn create(world: Arc<World>) -> Uuid {
    let by = Context::system("bench");
    let done = world.commands.create_group(&by, "Readers".into(), String::new()).await.unwrap();
    done.answer["group_id"].as_str().unwrap().parse().unwrap()
}

async fn change(world: Arc<World>, group: Uuid, turn: usize) -> Uuid {
    let patch = GroupPatch { name: Some(format!("Readers {turn}")), description: None };
    let done = world.commands.change_group(&Context::system("bench"), group, patch).await.unwrap();
    assert!(done.appended, "nothing was measured");
    group
}

/// Enough of them that none grows much, each lane its own: no conflicts.
async fn loaded_streams(world: &Arc<World>) -> Vec<Vec<Uuid>> {
    let lanes = (0..IN_FLIGHT).map(|_| {
        let world = world.clone();
        async move {
            let mut streams = Vec::new();
            for _ in 0..500 {
                streams.push(create(world.clone()).await);
            }
            for stream in &streams {
                for turn in 1..LOADED_EVENTS {
                    change(world.clone(), *stream, turn + 1_000_000).await;
                }
            }
            streams
        }
    });
    JoinSet::from_iter(lanes).join_all().await
}

/// Commands per second, so many in flight at all times, each lane a task as a request is.
async fn rate<F>(command: impl Fn(usize, usize) -> F + Send + Sync + 'static) -> f64
where
    F: Future<Output = Uuid> + Send,
{
    let command = Arc::new(command);
    let start = Instant::now();
    let lanes = (0..IN_FLIGHT).map(|lane| {
        let command = command.clone();
        async move {
            let mut turn = 0;
            while start.elapsed() < TIME {
                command(lane, turn).await;
                turn += 1;
            }
            turn
        }
    });
    let done: usize = JoinSet::from_iter(lanes).join_all().await.into_iter().sum();
    done as f64 / start.elapsed().as_secs_f64()
}
