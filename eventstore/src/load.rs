//! Loading streams, many in one query, and deciding over them as a single command would. Of a long stream its snapshot is read and
//! what came behind it.

use crate::codec::{decode_stored, encode, has_personal};
use crate::sealing::{self, SubjectKeys};
use crate::{Append, StoreError, keys::MasterKey, snapshots};
use cqrs_es::event_sink::EventSink;
use domain::{Event, Guarded, Sequence};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// An event behind a stream's snapshot, or behind its start. With the first one comes the snapshot; one that has nothing behind it
/// comes alone.
#[derive(sqlx::FromRow)]
struct Row {
    aggregate_id: String,
    base: Option<i64>,
    state: Option<Value>,
    event_type: Option<String>,
    event_version: Option<String>,
    payload: Option<Value>,
}

impl Row {
    fn base<A: DeserializeOwned>(&mut self) -> Option<Result<Loaded<A>, serde_json::Error>> {
        let version = self.base?.cast_unsigned();
        let state = self.state.take().unwrap_or_default();
        Some(A::deserialize(state).map(|aggregate| Loaded { aggregate, version, tail: 0 }))
    }

    fn event<E: Event>(&self) -> Option<Result<E, StoreError>> {
        let (kind, version) = (self.event_type.as_ref()?, self.event_version.as_ref()?);
        Some(decode_stored(kind, version, self.payload.as_ref()?))
    }
}

/// The rows of the streams `$ids`, of type `$1`, with snapshots of format `$3`, up to sequence `$4`. OFFSET keeps the planner from joining
/// all events: one look into the index for each stream.
macro_rules! stream_rows {
    ($ids:literal) => {
        concat!(
            "SELECT i.id AS aggregate_id, s.sequence AS base,
                 CASE WHEN e.sequence IS NULL OR e.sequence = s.sequence + 1 THEN s.state END AS state,
                 e.event_type, e.event_version, e.payload
             FROM ",
            $ids,
            " i
             LEFT JOIN snapshots s ON s.aggregate_type = $1 AND s.aggregate_id = i.id AND s.format = $3 AND s.sequence <= $4
             LEFT JOIN LATERAL (
                 SELECT sequence, event_type, event_version, payload FROM events
                 WHERE aggregate_type = $1 AND aggregate_id = i.id AND sequence > coalesce(s.sequence, 0) AND sequence <= $4
                 ORDER BY sequence OFFSET 0) e ON true
             WHERE coalesce(s.sequence, e.sequence) IS NOT NULL
             ORDER BY i.id, e.sequence"
        )
    };
}

/// An aggregate and the sequence of its last event.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    pub aggregate: A,
    pub version: Sequence,
    /// Events that were read for it: those behind its snapshot.
    pub(crate) tail: u64,
}

impl<A> Loaded<A> {
    /// Whoever can is to write a snapshot.
    pub fn is_long(&self) -> bool {
        self.tail >= snapshots::EVERY
    }
}

impl<A: Default> Default for Loaded<A> {
    fn default() -> Self {
        Self { aggregate: A::default(), version: 0, tail: 0 }
    }
}

/// Each stream by itself, or why it cannot be read: one that cannot is nobody else's trouble.
pub type Each<A> = HashMap<Uuid, Result<Loaded<A>, StoreError>>;

/// The aggregates of these streams; streams without events are absent. Long ones get a snapshot.
pub async fn load_each<A: Guarded>(pool: &PgPool, streams: &[Uuid]) -> Result<Each<A>, StoreError>
where
    A::Event: Event,
{
    let mut connection = pool.acquire().await?;
    let loaded = load_each_in(&mut connection, streams).await?;
    let read = loaded.iter().filter_map(|(id, loaded)| Some((*id, loaded.as_ref().ok()?)));
    snapshots::keep(&mut connection, read).await;
    Ok(loaded)
}

/// The same within a transaction, whose own events may be among what is read: no snapshot is written.
pub async fn load_each_in<A: Guarded>(db: &mut PgConnection, streams: &[Uuid]) -> Result<Each<A>, StoreError>
where
    A::Event: Event,
{
    let ids: Vec<String> = streams.iter().map(Uuid::to_string).collect();
    let rows: Vec<Row> = sqlx::query_as(stream_rows!("(SELECT DISTINCT unnest($2::text[]) AS id)"))
        .bind(A::TYPE)
        .bind(&ids)
        .bind(A::SNAPSHOT_FORMAT)
        .bind(i64::MAX)
        .fetch_all(&mut *db)
        .await?;
    fold_or_read_whole(db, rows, i64::MAX).await
}

/// All of these streams, or the error of the first that cannot be read.
pub async fn load_many<A: Guarded>(
    pool: &PgPool,
    streams: &[Uuid],
) -> Result<HashMap<Uuid, Loaded<A>>, StoreError>
where
    A::Event: Event,
{
    load_each(pool, streams).await?.into_iter().map(|(id, loaded)| Ok((id, loaded?))).collect()
}

pub async fn load<A: Guarded>(pool: &PgPool, stream: Uuid) -> Result<Loaded<A>, StoreError>
where
    A::Event: Event,
{
    let mut connection = pool.acquire().await?;
    let loaded = load_in(&mut connection, stream).await?;
    snapshots::keep(&mut connection, [(stream, &loaded)]).await;
    Ok(loaded)
}

/// The same within a transaction, without a snapshot.
pub async fn load_in<A: Guarded>(db: &mut PgConnection, stream: Uuid) -> Result<Loaded<A>, StoreError>
where
    A::Event: Event,
{
    load_until(db, stream, i64::MAX).await
}

/// One stream as it was at `version`.
pub async fn load_at<A: Guarded>(
    pool: &PgPool,
    stream: Uuid,
    version: Sequence,
) -> Result<Loaded<A>, StoreError>
where
    A::Event: Event,
{
    load_until(&mut *pool.acquire().await?, stream, version.cast_signed()).await
}

/// By a statement of its own: arrays would be planned anew each time.
async fn load_until<A: Guarded>(
    db: &mut PgConnection,
    stream: Uuid,
    until: i64,
) -> Result<Loaded<A>, StoreError>
where
    A::Event: Event,
{
    let rows: Vec<Row> = sqlx::query_as(stream_rows!("(SELECT $2::text AS id)"))
        .bind(A::TYPE)
        .bind(stream.to_string())
        .bind(A::SNAPSHOT_FORMAT)
        .bind(until)
        .fetch_all(&mut *db)
        .await?;
    fold_or_read_whole(db, rows, until).await?.remove(&stream).unwrap_or_else(|| Ok(Loaded::default()))
}

async fn fold_or_read_whole<A: Guarded>(
    db: &mut PgConnection,
    rows: Vec<Row>,
    until: i64,
) -> Result<Each<A>, StoreError>
where
    A::Event: Event,
{
    let (mut loaded, unusable) = fold::<A>(rows)?;
    if unusable.is_empty() {
        return Ok(loaded);
    }
    tracing::warn!(streams = ?unusable, "snapshots that cannot be read: their streams are read whole");
    let rows: Vec<Row> = sqlx::query_as(stream_rows!("(SELECT DISTINCT unnest($2::text[]) AS id)"))
        .bind(A::TYPE)
        .bind(unusable.iter().map(Uuid::to_string).collect::<Vec<_>>())
        .bind(snapshots::NONE)
        .bind(until)
        .fetch_all(db)
        .await?;
    loaded.extend(fold::<A>(rows)?.0);
    Ok(loaded)
}

/// Rows in the order of their streams and sequences; also the streams whose snapshots are of no use.
fn fold<A: Guarded>(rows: Vec<Row>) -> Result<(Each<A>, HashSet<Uuid>), StoreError>
where
    A::Event: Event,
{
    let (mut all, mut unusable) = (Each::<A>::new(), HashSet::new());
    for mut row in rows {
        let id = Uuid::parse_str(&row.aggregate_id).map_err(|e| StoreError::Format(e.to_string()))?;
        let one = match all.entry(id) {
            Entry::Occupied(one) => one.into_mut(),
            Entry::Vacant(place) => place.insert(Ok(match row.base() {
                Some(Ok(base)) => base,
                None => Loaded::default(),
                Some(Err(_)) => {
                    unusable.insert(id);
                    Loaded::default()
                }
            })),
        };
        if let (Ok(loaded), Some(event)) = (one.as_mut(), row.event::<A::Event>()) {
            match event {
                Ok(event) => {
                    loaded.aggregate.apply(event);
                    loaded.version += 1;
                    loaded.tail += 1;
                }
                Err(error) => *one = Err(error),
            }
        }
    }
    all.retain(|id, _| !unusable.contains(id));
    Ok((all, unusable))
}

/// What a command decided over one stream, not yet sealed.
pub struct Decided<A: Guarded> {
    stream: Uuid,
    before: A,
    pub after: A,
    first: Sequence,
    pub events: Vec<A::Event>,
}

impl<A: Guarded> Decided<A>
where
    A::Event: Event,
{
    /// Runs one command on a loaded stream; `and` runs another on the outcome.
    pub async fn decide(stream: Uuid, loaded: Loaded<A>, command: A::Command) -> Result<Self, A::Error> {
        let first = loaded.version + 1;
        let start = Self {
            stream,
            before: loaded.aggregate.clone(),
            after: loaded.aggregate,
            first,
            events: Vec::new(),
        };
        start.and(command).await
    }

    pub async fn and(mut self, command: A::Command) -> Result<Self, A::Error> {
        let sink = EventSink::default();
        self.after.handle(command, &(), &sink).await?;
        self.events.extend(sink.collect().await);
        Ok(self)
    }

    /// The outcome as a loaded stream, for the next command once this one is stored.
    pub fn loaded_after(&self) -> Loaded<A> {
        Loaded {
            version: self.first - 1 + self.events.len() as Sequence,
            aggregate: self.after.clone(),
            tail: 0,
        }
    }

    /// Seals and serialises; streams of people without a key in `keys` are refused if there is something to seal.
    pub fn into_append(self, keys: &SubjectKeys) -> Result<Append, StoreError> {
        Ok(Append {
            aggregate_type: A::TYPE,
            stream: self.stream,
            first: self.first,
            guards: A::guards(&self.stream.to_string(), &self.before, &self.after),
            events: encode(keys, self.stream, self.first, self.events)?,
        })
    }
}

/// The key that the events of one stream need: made for a new stream, fetched for one that exists.
pub(crate) async fn keys_for<E: Event>(
    tx: &mut PgConnection,
    master: &MasterKey,
    stream: Uuid,
    first: Sequence,
    events: &mut [E],
) -> Result<SubjectKeys, StoreError> {
    match (has_personal(events), first) {
        (false, _) => Ok(SubjectKeys::new()),
        (true, 1) => sealing::create(tx, master, &[stream]).await,
        (true, _) => match sealing::fetch(tx, master, &[stream]).await? {
            // They were erased since the stream was loaded: what is loaded again says so.
            keys if keys.is_empty() => Err(StoreError::Conflict),
            keys => Ok(keys),
        },
    }
}
