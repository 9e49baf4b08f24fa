//! The event store that cqrs-es drives, built anew for each command: it owns the transaction with its guards, the
//! metadata of each event, the idempotency key and what was appended. Reads and row shapes are postgres-es's.

use crate::codec::{decode_stored, encode, has_personal};
use crate::idempotency::{self, Earlier};
use crate::load::{Loaded, keys_for, load};
use crate::position::{PositionToken, Touched};
use crate::store::{Done, Request, Store};
use crate::{Append, StoreError, append, feed};
use cqrs_es::persist::{PersistedEventRepository, PersistenceError, SerializedEvent};
use cqrs_es::{Aggregate, AggregateContext, AggregateError, EventEnvelope, EventStore};
use domain::{Event, Guard, Guarded, Sequence};
use sqlx::PgConnection;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// Why a commit did not happen; travels through cqrs-es boxed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("answered before")]
    Earlier(Box<Done>),
    #[error("stale version")]
    Stale,
    #[error("idempotency key reused")]
    KeyReused,
    #[error("idempotency key in progress")]
    InProgress,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Stop {
    pub(crate) fn from_framework<E: std::error::Error>(error: AggregateError<E>) -> Self {
        match error {
            AggregateError::UnexpectedError(inner) => match inner.downcast::<Stop>() {
                Ok(stop) => *stop,
                Err(other) => StoreError::Format(other.to_string()).into(),
            },
            AggregateError::AggregateConflict => StoreError::Conflict.into(),
            other => StoreError::Format(other.to_string()).into(),
        }
    }
}

fn stopped<E: std::error::Error>(stop: impl Into<Stop>) -> AggregateError<E> {
    AggregateError::UnexpectedError(Box::new(stop.into()))
}

/// Where the outcome of the commit is found after cqrs-es took the store.
#[derive(Clone, Default)]
pub(crate) struct Outcome(Arc<Mutex<Option<Done>>>);

impl Outcome {
    pub(crate) fn take(&self) -> Option<Done> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, done: Done) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
    }
}

pub(crate) struct CommandStore<'a> {
    store: &'a Store,
    request: &'a Request,
    outcome: Outcome,
}

pub(crate) struct Context<A> {
    stream: Uuid,
    version: Sequence,
    before: A,
    aggregate: A,
}

impl<A: Aggregate> AggregateContext<A> for Context<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.aggregate
    }
}

impl<'a> CommandStore<'a> {
    pub(crate) fn new(store: &'a Store, request: &'a Request) -> (Self, Outcome) {
        let outcome = Outcome::default();
        (Self { store, request, outcome: outcome.clone() }, outcome)
    }

    async fn stored<A>(&self, stream: &str) -> Result<Vec<SerializedEvent>, StoreError>
    where
        A: Guarded,
        A::Event: Event,
    {
        self.store.repository.get_events::<A>(stream).await.map_err(from_repository)
    }

    async fn load_context<A>(&self, stream: &str) -> Result<Context<A>, Stop>
    where
        A: Guarded,
        A::Event: Event,
    {
        let stream_id = Uuid::parse_str(stream).map_err(|error| StoreError::Format(error.to_string()))?;
        let loaded = match self.request.is_new {
            true => Loaded::default(),
            false => load::<A>(&self.store.pool, stream_id).await?,
        };
        let Loaded { aggregate, version, .. } = loaded;
        if self.request.expected.is_some_and(|expected| expected != version) {
            return Err(Stop::Stale);
        }
        Ok(Context { stream: stream_id, version, before: aggregate.clone(), aggregate })
    }

    async fn commit_events<A>(
        &self,
        mut events: Vec<A::Event>,
        context: Context<A>,
        metadata: HashMap<String, String>,
    ) -> Result<Done, Stop>
    where
        A: Guarded,
        A::Event: Event,
    {
        let appended = !events.is_empty();
        let guards = match appended {
            true => A::guards(&context.stream.to_string(), &context.before, &context.aggregate),
            false => Vec::new(),
        };
        let is_alone =
            appended && guards.is_empty() && self.request.idempotency.is_none() && !has_personal(&mut events);
        let done = if is_alone {
            // One statement, which is a transaction by itself: two round trips fewer.
            let mut connection = self.store.pool.acquire().await.map_err(StoreError::from)?;
            self.write(&mut connection, &context, events, guards, &metadata).await?
        } else {
            let mut tx = self.store.pool.begin().await.map_err(StoreError::from)?;
            self.take_key(&mut tx).await?;
            let done = self.write(&mut tx, &context, events, guards, &metadata).await?;
            if let Some(key) = &self.request.idempotency {
                idempotency::remember(&mut tx, key, &done.kept()?).await?;
            }
            tx.commit().await.map_err(StoreError::from)?;
            done
        };
        if appended {
            self.store.news.appended();
        }
        Ok(done)
    }

    async fn write<A>(
        &self,
        db: &mut PgConnection,
        context: &Context<A>,
        mut events: Vec<A::Event>,
        guards: Vec<Guard>,
        metadata: &HashMap<String, String>,
    ) -> Result<Done, Stop>
    where
        A: Guarded,
        A::Event: Event,
    {
        let (stream, first, appended) = (context.stream, context.version + 1, !events.is_empty());
        let keys = keys_for(db, &self.store.master, stream, first, &mut events).await?;
        let events = encode(&keys, stream, first, events)?;
        let append = Append { aggregate_type: A::TYPE, stream, first, guards, events };
        let done = append::append(db, vec![append], metadata).await?;
        if !done.lost.is_empty() {
            return Err(StoreError::AddressTaken.into());
        }
        let (epoch, touched) = match done.epoch {
            Some(epoch) => (epoch, done.touched),
            None => {
                let epoch = feed::epoch(&mut *db).await?;
                (epoch, last_of(db, A::TYPE, stream).await?)
            }
        };
        let position = PositionToken { epoch, touched };
        Ok(Done { answer: self.request.answer.clone(), position, appended, repeated: false })
    }

    /// Locks the idempotency key, then looks it up: in that order, since a statement's snapshot is older than the
    /// lock that it waited for.
    async fn take_key(&self, tx: &mut PgConnection) -> Result<(), Stop> {
        let Some(key) = &self.request.idempotency else { return Ok(()) };
        if !idempotency::try_lock(tx, key).await? {
            return Err(Stop::InProgress);
        }
        match idempotency::look_up(tx, key).await? {
            Earlier::None => Ok(()),
            Earlier::OtherBody => Err(Stop::KeyReused),
            Earlier::Answer(kept) => Err(Stop::Earlier(Box::new(Done::restore(kept)?))),
        }
    }
}

fn envelope<A>(event: SerializedEvent) -> Result<EventEnvelope<A>, StoreError>
where
    A: Guarded,
    A::Event: Event,
{
    let metadata = serde_json::from_value(event.metadata);
    Ok(EventEnvelope {
        payload: decode_stored(&event.event_type, &event.event_version, &event.payload)?,
        aggregate_id: event.aggregate_id,
        sequence: event.sequence,
        metadata: metadata.map_err(|error| StoreError::Format(error.to_string()))?,
    })
}

/// The last append of a stream: what a command that changes nothing answers.
pub(crate) async fn last_of(
    tx: &mut PgConnection,
    aggregate_type: &str,
    stream: Uuid,
) -> Result<Vec<Touched>, StoreError> {
    let touched = sqlx::query_as(
        "SELECT aggregate_type, stream_slot(aggregate_type, aggregate_id) AS slot, append_id FROM events
         WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence DESC LIMIT 1",
    )
    .bind(aggregate_type)
    .bind(stream.to_string())
    .fetch_optional(tx)
    .await?;
    Ok(touched.into_iter().collect())
}

impl<A> EventStore<A> for CommandStore<'_>
where
    A: Guarded,
    A::Event: Event,
{
    type AC = Context<A>;

    async fn load_events(&self, stream: &str) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let stored = self.stored::<A>(stream).await.map_err(stopped)?;
        stored.into_iter().map(envelope).collect::<Result<_, _>>().map_err(stopped)
    }

    async fn load_aggregate(&self, stream: &str) -> Result<Context<A>, AggregateError<A::Error>> {
        self.load_context(stream).await.map_err(stopped)
    }

    /// Returns no envelopes: they would feed cqrs-es's in-process queries, which are lost if the process dies
    /// after the commit. Read models are fed from the log.
    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: Context<A>,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let done = self.commit_events(events, context, metadata).await.map_err(stopped)?;
        self.outcome.put(done);
        Ok(Vec::new())
    }
}

fn from_repository(error: PersistenceError) -> StoreError {
    match error {
        PersistenceError::OptimisticLockError => StoreError::Conflict,
        PersistenceError::ConnectionError(inner) | PersistenceError::UnknownError(inner) => {
            match inner.downcast::<sqlx::Error>() {
                Ok(sqlx) => StoreError::from(*sqlx),
                Err(other) => StoreError::Format(other.to_string()),
            }
        }
        PersistenceError::DeserializationError(inner) => StoreError::Format(inner.to_string()),
    }
}
