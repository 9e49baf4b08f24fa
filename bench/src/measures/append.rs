//! Bulk appends beside COPY.

use super::Measure;
use crate::report::{Aim, Figure, median};
use crate::world::{World, bare};
use domain::group::{Group, GroupCommand};
use eventstore::sealing::SubjectKeys;
use eventstore::{Append, Decided, Loaded, Metadata, append, ids};
use futures::FutureExt;
use sqlx::PgPool;
use std::time::Instant;

const BATCH: usize = 1_000;
const BATCHES: usize = 200;
/// Each takes a few seconds, in which a shared machine may do anything: the median of them is told.
const ROUNDS: usize = 5;

pub const MEASURE: Measure = Measure {
    name: "append",
    what: "Batches of 1,000 events, one transaction each, beside COPY of the same columns into a table with the same primary key.",
    limited_by: "COPY writes a row and one index entry. An append writes two index entries more (append_id, and the row of `pending` that the sequencer \
                 deletes again), parses the payload as JSONB like COPY does, and returns a row for each event. The aggregate's decision and its JSON are in our time.",
    take: || take().boxed_local(),
};

async fn take() -> Vec<Figure> {
    let (mut raw, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (_database, pool) = bare().await;
        raw.push(copy(&pool).await);
        ours.push(appends(&World::start().await).await);
    }
    vec![Figure::new("bulk append", median(ours), "events/s", Aim::Ratio(0.4)).beside("COPY", median(raw))]
}

async fn batch() -> Vec<Append> {
    let mut appends = Vec::with_capacity(BATCH);
    for number in 0..BATCH {
        let create = GroupCommand::Create { name: format!("Readers {number}"), description: String::new() };
        let decided = Decided::<Group>::decide(ids::new_id(), Loaded::default(), create).await.unwrap();
        appends.push(decided.into_append(&SubjectKeys::new()).unwrap());
    }
    appends
}

async fn appends(world: &World) -> f64 {
    let metadata = Metadata::from([("actor".to_owned(), "system:bench".to_owned())]);
    let start = Instant::now();
    for _ in 0..BATCHES {
        let mut tx = world.pool().begin().await.unwrap();
        append(&mut tx, batch().await, &metadata).await.unwrap();
        tx.commit().await.unwrap();
        world.commands.store.news.appended();
    }
    (BATCH * BATCHES) as f64 / start.elapsed().as_secs_f64()
}

async fn copy(pool: &PgPool) -> f64 {
    sqlx::raw_sql(
        "CREATE TABLE copied (aggregate_type text, aggregate_id text, sequence bigint, event_type text,
             event_version text, payload jsonb, metadata jsonb, PRIMARY KEY (aggregate_type, aggregate_id, sequence))",
    )
    .execute(pool)
    .await
    .unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let start = Instant::now();
    for _ in 0..BATCHES {
        let mut rows = String::new();
        for event in batch().await {
            let payload = event.events[0].payload.to_string();
            rows += &format!(
                "group\t{}\t1\tGroupCreated\t1.0\t{payload}\t{{\"actor\":\"system:bench\"}}\n",
                event.stream
            );
        }
        let mut copy = connection.copy_in_raw("COPY copied FROM STDIN").await.unwrap();
        copy.send(rows.into_bytes()).await.unwrap();
        assert_eq!(copy.finish().await.unwrap(), BATCH as u64);
    }
    (BATCH * BATCHES) as f64 / start.elapsed().as_secs_f64()
}
