//! One command on one stream: the framework decides, [`crate::command_store`] keeps what it decided.

use crate::codec::Metadata;
use crate::command_store::{CommandStore, Stop, last_of};
use crate::feed;
use crate::idempotency::{self, Earlier, IdempotencyKey};
use crate::memory::Memory;
use crate::news::News;
use crate::position::PositionToken;
use crate::{StoreError, keys::MasterKey};
use cqrs_es::{AggregateError, CqrsFramework};
use domain::{Event, Guarded, Sequence};
use postgres_es::PostgresEventRepository;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Tries of one command that meets conflicts or a database that goes away, before the caller is told.
const TRIES_MAX: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// Postgres as Postledger uses it. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub pool: PgPool,
    pub master: Arc<MasterKey>,
    /// Told after each commit that appended: a sequencer wakes.
    pub news: News,
    /// Nothing is authorized on a log that lacks what this process has seen.
    pub memory: Arc<Memory>,
    pub(crate) repository: Arc<PostgresEventRepository>,
}

/// Everything about a command but the command.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub metadata: Metadata,
    pub idempotency: Option<IdempotencyKey>,
    /// What is answered, now and to a repeat of the key.
    pub answer: Value,
    /// The version that the client has seen (`If-Match`).
    pub expected: Option<Sequence>,
    /// The stream cannot exist yet, since its id was just made: nothing is loaded.
    pub is_new: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {
    pub answer: Value,
    pub position: PositionToken,
    /// False: nothing changed, or an earlier answer is repeated.
    #[serde(skip)]
    pub appended: bool,
    /// It is the first answer to an idempotency key again: what it says was so then. Whatever was kept is such a one.
    #[serde(skip, default = "kept")]
    pub repeated: bool,
}

fn kept() -> bool {
    true
}

#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<E: std::error::Error> {
    #[error("{0}")]
    Rejected(E),
    #[error("the version seen is stale")]
    Stale,
    #[error("the idempotency key was used with another body")]
    KeyReused,
    #[error("a command with the same idempotency key is running")]
    InProgress,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    pub fn new(pool: PgPool, master: Arc<MasterKey>) -> Self {
        let repository = Arc::new(PostgresEventRepository::new(pool.clone()));
        Self { pool, master, news: News::default(), memory: Arc::default(), repository }
    }

    /// The same store over a pool of its own, so that one kind of command never waits for others' connections.
    pub fn with_pool(&self, pool: PgPool) -> Self {
        let (news, memory) = (self.news.clone(), self.memory.clone());
        Self { news, memory, ..Self::new(pool, self.master.clone()) }
    }

    /// Runs one command on one stream: loads, decides, appends, commits; retries conflicts, bounded.
    pub async fn execute<A>(
        &self,
        stream: Uuid,
        command: A::Command,
        request: Request,
    ) -> Result<Done, ExecuteError<A::Error>>
    where
        A: Guarded + 'static,
        A::Event: Event,
        A::Command: Clone,
    {
        let mut tries = 1;
        loop {
            match self.execute_once::<A>(stream, command.clone(), &request).await {
                Err(ExecuteError::Store(error)) if error.is_transient() && tries < TRIES_MAX => {
                    // The answer of a commit may have been lost.
                    if let Some(done) = self.created::<A>(stream, &request).await {
                        return Ok(done);
                    }
                    tracing::debug!(%error, tries, "command is tried again");
                    tokio::time::sleep(RETRY_DELAY * tries).await;
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    /// What a creation has done whose try failed: nobody else knows the id that was drawn for it, so what is in its stream is its
    /// own. Where this cannot be asked either, the next try will be.
    async fn created<A: Guarded>(&self, stream: Uuid, request: &Request) -> Option<Done> {
        if !request.is_new {
            return None;
        }
        let mut connection = self.pool.acquire().await.ok()?;
        let touched = last_of(&mut connection, A::TYPE, stream).await.ok()?;
        if touched.is_empty() {
            return None;
        }
        let epoch = feed::epoch(&mut *connection).await.ok()?;
        let position = PositionToken { epoch, touched };
        Some(Done { answer: request.answer.clone(), position, appended: true, repeated: false })
    }

    async fn execute_once<A>(
        &self,
        stream: Uuid,
        command: A::Command,
        request: &Request,
    ) -> Result<Done, ExecuteError<A::Error>>
    where
        A: Guarded + 'static,
        A::Event: Event,
    {
        let (commands, done) = CommandStore::new(self, request);
        let framework = CqrsFramework::<A, _>::new(commands, Vec::new(), ());
        let metadata = request.metadata.clone();
        match framework.execute_with_metadata(&stream.to_string(), command, metadata).await {
            Ok(()) => done.take().ok_or_else(|| StoreError::Format("nothing was committed".into()).into()),
            Err(AggregateError::UserError(error)) => {
                self.earlier_or(request, ExecuteError::Rejected(error)).await
            }
            Err(error) => match Stop::from_framework(error) {
                Stop::Earlier(done) => Ok(*done),
                Stop::Stale => self.earlier_or(request, ExecuteError::Stale).await,
                Stop::KeyReused => Err(ExecuteError::KeyReused),
                Stop::InProgress => Err(ExecuteError::InProgress),
                Stop::Store(error) => Err(ExecuteError::Store(error)),
            },
        }
    }

    /// The answer that was given to this key before, if any: it counts, and not the refusal that its own success
    /// caused.
    async fn earlier_or<E: std::error::Error>(
        &self,
        request: &Request,
        refusal: ExecuteError<E>,
    ) -> Result<Done, ExecuteError<E>> {
        let Some(key) = &request.idempotency else { return Err(refusal) };
        match idempotency::look_up(&self.pool, key).await? {
            Earlier::None => Err(refusal),
            Earlier::OtherBody => Err(ExecuteError::KeyReused),
            Earlier::Answer(kept) => Ok(Done::restore(kept)?),
        }
    }
}

impl Done {
    pub(crate) fn restore(kept: Value) -> Result<Self, StoreError> {
        serde_json::from_value(kept).map_err(|error| StoreError::Format(error.to_string()))
    }

    pub(crate) fn kept(&self) -> Result<Value, StoreError> {
        serde_json::to_value(self).map_err(|error| StoreError::Format(error.to_string()))
    }
}
