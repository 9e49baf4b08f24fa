//! Writing to the log and reading tables back.

use cqrs_es::{Aggregate, DomainEvent};
use eventstore::keys::MasterKey;
use eventstore::sequencer::Sequencer;
use eventstore::{LogEvent, News, PositionToken, Store, Touched, feed};
use projections::{Embedded, Interleaving, Projection, lag};
use serde_json::Value;
use sqlx::{PgConnection, PgPool, Row};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// One event of any aggregate, ready to be inserted.
#[derive(Debug, Clone)]
pub struct Stored {
    pub aggregate_type: &'static str,
    pub stream: Uuid,
    pub sequence: i64,
    pub event_type: String,
    pub payload: Value,
}

pub fn stored<A: Aggregate>(stream: Uuid, sequence: i64, event: &A::Event) -> Stored {
    let payload = serde_json::to_value(event).unwrap();
    Stored { aggregate_type: A::TYPE, stream, sequence, event_type: event.event_type(), payload }
}

/// Inserts events; nothing gives them positions yet.
pub async fn insert(conn: &mut PgConnection, events: &[Stored]) -> PositionToken {
    let rows = sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT t, id, s, e, '1.0', p, '{}' FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::jsonb[])
             x (t, id, s, e, p)
         RETURNING aggregate_type, stream_slot(aggregate_type, aggregate_id) AS slot, append_id",
    )
    .bind(events.iter().map(|e| e.aggregate_type).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.stream.to_string()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.sequence).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.event_type.clone()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.payload.clone()).collect::<Vec<_>>())
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    let touched = |row: sqlx::postgres::PgRow| Touched {
        aggregate_type: row.get("aggregate_type"),
        slot: row.get("slot"),
        append_id: row.get("append_id"),
    };
    let epoch = feed::head(conn).await.unwrap().epoch;
    PositionToken { epoch, touched: rows.into_iter().map(touched).collect() }
}

pub fn sequencer(pool: &PgPool) -> Sequencer {
    let key = MasterKey::from_hex(&"5a".repeat(32)).unwrap();
    Sequencer::new(Store::new(pool.clone(), Arc::new(key)))
}

/// Gives every event its position.
pub async fn sequence(pool: &PgPool) {
    let mut sequencer = sequencer(pool);
    while sequencer.step().await.unwrap() > 0 {}
}

/// Inserts events and gives them positions.
pub async fn append(pool: &PgPool, events: &[Stored]) -> PositionToken {
    let token = insert(&mut pool.acquire().await.unwrap(), events).await;
    sequence(pool).await;
    token
}

/// Every event of these types, in order.
pub async fn read_all(pool: &PgPool, types: &[&str]) -> Vec<LogEvent> {
    feed::read(pool, types, 0, i64::MAX, i64::MAX).await.unwrap()
}

/// What did not happen after this time never will. Much longer than any of it takes, also on a machine that is busy.
pub const NEVER: Duration = Duration::from_secs(180);

/// Waits until nothing is left to do for these projections.
pub async fn caught_up(pool: &PgPool, models: &[Arc<dyn Projection>]) {
    let all_done = async {
        while lag(pool, models).await.unwrap().iter().any(|lag| lag.events > 0) {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    tokio::time::timeout(NEVER, all_done).await.expect("the read models never caught up");
}

/// A carrier that runs until it is stopped.
pub struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), projections::ConsumeError>>,
}

pub fn start(pool: &PgPool, models: &[Arc<dyn Projection>], interleaving: Option<Interleaving>) -> Running {
    let stop = CancellationToken::new();
    let carrier =
        Embedded { pool: pool.clone(), projections: models.to_vec(), news: News::default(), interleaving };
    Running { task: tokio::spawn(carrier.run(stop.clone())), stop }
}

impl Running {
    pub async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.task).await;
        ended.expect("the carrier does not stop").unwrap().unwrap();
    }
}

/// Runs the carrier over all that the log holds now.
pub async fn follow(pool: &PgPool, models: &[Arc<dyn Projection>], interleaving: Option<Interleaving>) {
    let running = start(pool, models, interleaving);
    caught_up(pool, models).await;
    running.stop().await;
}

/// Every row of a projection's tables and its checkpoints, as text.
pub async fn dump(pool: &PgPool, model: &dyn Projection) -> Vec<String> {
    let mut rows = Vec::new();
    for table in model.tables() {
        let select = format!("SELECT '{table} ' || to_jsonb(t)::text FROM {table} t ORDER BY 1");
        rows.extend(sqlx::query_scalar::<_, String>(&select).fetch_all(pool).await.unwrap());
    }
    let checkpoints = "SELECT to_jsonb(c)::text FROM checkpoints c WHERE projection = $1 ORDER BY 1";
    rows.extend(
        sqlx::query_scalar::<_, String>(checkpoints).bind(model.name()).fetch_all(pool).await.unwrap(),
    );
    rows
}

/// Empties a projection as if it had never run.
pub async fn forget(pool: &PgPool, model: &dyn Projection) {
    let mut conn = pool.acquire().await.unwrap();
    model.reset(&mut conn).await.unwrap();
    for table in ["checkpoints", "dead_letters", "parked_streams"] {
        let delete = format!("DELETE FROM {table} WHERE projection = $1");
        sqlx::query(&delete).bind(model.name()).execute(&mut *conn).await.unwrap();
    }
}

pub async fn count(pool: &PgPool, what: &str) -> i64 {
    sqlx::query_scalar(&format!("SELECT count(*) FROM {what}")).fetch_one(pool).await.unwrap()
}
