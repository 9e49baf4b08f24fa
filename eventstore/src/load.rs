//! Loading many streams in one query, and deciding over them as a single command would.

use crate::codec::{decode_stored, encode, has_personal};
use crate::sealing::{self, SubjectKeys};
use crate::{Append, StoreError, keys::MasterKey};
use cqrs_es::event_sink::EventSink;
use domain::{Event, Guarded, Sequence};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use std::collections::HashMap;
use uuid::Uuid;

/// An aggregate and the sequence of its last event.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    pub aggregate: A,
    pub version: Sequence,
}

impl<A: Default> Default for Loaded<A> {
    fn default() -> Self {
        Self { aggregate: A::default(), version: 0 }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    aggregate_id: String,
    event_type: String,
    event_version: String,
    payload: Value,
}

/// The aggregates of these streams; streams without events are absent.
pub async fn load_many<A: Guarded>(
    db: impl PgExecutor<'_>,
    streams: &[Uuid],
) -> Result<HashMap<Uuid, Loaded<A>>, StoreError>
where
    A::Event: Event,
{
    let ids: Vec<String> = streams.iter().map(Uuid::to_string).collect();
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT aggregate_id, event_type, event_version, payload FROM events
         WHERE aggregate_type = $1 AND aggregate_id = ANY($2) ORDER BY aggregate_id, sequence",
    )
    .bind(A::TYPE)
    .bind(ids)
    .fetch_all(db)
    .await?;
    let mut loaded = HashMap::<Uuid, Loaded<A>>::with_capacity(streams.len());
    for row in rows {
        let id = Uuid::parse_str(&row.aggregate_id).map_err(|e| StoreError::Format(e.to_string()))?;
        let event = decode_stored(&row.event_type, &row.event_version, &row.payload)?;
        let entry = loaded.entry(id).or_default();
        entry.aggregate.apply(event);
        entry.version += 1;
    }
    Ok(loaded)
}

pub async fn load<A: Guarded>(db: impl PgExecutor<'_>, stream: Uuid) -> Result<Loaded<A>, StoreError>
where
    A::Event: Event,
{
    Ok(load_many(db, &[stream]).await?.remove(&stream).unwrap_or_default())
}

/// One stream as it was at `version`.
pub async fn load_at<A: Guarded>(
    db: impl PgExecutor<'_>,
    stream: Uuid,
    version: Sequence,
) -> Result<Loaded<A>, StoreError>
where
    A::Event: Event,
{
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT aggregate_id, event_type, event_version, payload FROM events
         WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence <= $3 ORDER BY sequence",
    )
    .bind(A::TYPE)
    .bind(stream.to_string())
    .bind(version.cast_signed())
    .fetch_all(db)
    .await?;
    rows.into_iter().try_fold(Loaded::default(), |mut loaded: Loaded<A>, row| {
        loaded.aggregate.apply(decode_stored(&row.event_type, &row.event_version, &row.payload)?);
        loaded.version += 1;
        Ok(loaded)
    })
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
        Loaded { version: self.first - 1 + self.events.len() as Sequence, aggregate: self.after.clone() }
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
