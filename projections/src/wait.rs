//! Queries that wait until their read models have what a command did.
//!
//! All that wait in a process are looked after by one task, with one statement for many of them: if each polled for
//! itself, a busy server would be busy with waiting.

use crate::{Backoff, Projection};
use eventstore::PositionToken;
use sqlx::PgPool;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// How long a query waits at the most.
pub const WAIT_MAX: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);
/// Queries that are looked after, and those that come meanwhile. Others wait for a place, within their own time.
const WAITING_MAX: usize = 4_096;
const ARRIVALS_MAX: usize = 1_024;
/// Events that one look asks for, or a single query's where these are more.
const EVENTS_PER_LOOK: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    #[error("the position is of another epoch: the log was restored since")]
    ForeignEpoch,
    /// No command answered this token.
    #[error("the position names an event that was never recorded")]
    Unknown,
    /// Where the database did not answer, the process's log tells why.
    #[error("the read model has not caught up in time")]
    TimedOut,
}

/// The task that looks after a process's waiting queries. Cheap to clone; it ends with the last clone.
#[derive(Clone)]
pub struct Waits(mpsc::Sender<Waiting>);

struct Waiting {
    epoch: Uuid,
    append_ids: Vec<i64>,
    models: Vec<Model>,
    answer: oneshot::Sender<Result<(), WaitError>>,
}

/// A projection's name and the types that it follows.
type Model = (&'static str, &'static [&'static str]);

impl Waits {
    pub fn start(pool: PgPool) -> Self {
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        tokio::spawn(look_after(pool, arrivals));
        Self(sender)
    }

    /// Waits until all of `models` have done what the token names; types that a model does not follow are done.
    pub async fn until(
        &self,
        models: &[&dyn Projection],
        token: &PositionToken,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            epoch: token.epoch,
            append_ids: token.touched.iter().map(|touched| touched.append_id).collect(),
            models: models.iter().map(|model| (model.name(), model.types())).collect(),
            answer,
        };
        let outcome = async {
            self.0.send(waiting).await.ok()?;
            answered.await.ok()
        };
        tokio::time::timeout(timeout, outcome).await.ok().flatten().unwrap_or(Err(WaitError::TimedOut))
    }
}

async fn look_after(pool: PgPool, mut arrivals: mpsc::Receiver<Waiting>) {
    let mut waiting = VecDeque::new();
    let mut backoff = Backoff::default();
    loop {
        if waiting.is_empty() {
            let Some(first) = arrivals.recv().await else { return };
            waiting.push_back(first);
        }
        while waiting.len() < WAITING_MAX
            && let Ok(next) = arrivals.try_recv()
        {
            waiting.push_back(next);
        }
        waiting.retain(|one| !one.answer.is_closed());
        let few = take_few(&mut waiting);
        let pause = match Seen::look(&pool, &few).await {
            Ok(seen) => {
                backoff.reset();
                waiting.extend(few.into_iter().filter_map(|one| seen.settle(one)));
                PAUSE
            }
            Err(error) => {
                tracing::warn!(%error, "waiting queries cannot be looked after, and wait on");
                waiting.extend(few);
                backoff.pause()
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Those that have waited longest for a look.
fn take_few(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut events = 0;
    let mut few = Vec::new();
    while events < EVENTS_PER_LOOK
        && let Some(one) = waiting.pop_front()
    {
        events += one.append_ids.len();
        few.push(one);
    }
    few
}

/// What one look saw: the log's epoch, and the events that were asked for.
struct Seen {
    epoch: Uuid,
    events: HashMap<i64, Event>,
}

struct Event {
    aggregate_type: String,
    /// `None`: the sequencer has not come to it.
    position: Option<i64>,
    /// How far the projections are in its slot.
    done: HashMap<String, i64>,
}

/// An event and a projection's checkpoint. All but the epoch is missing where no event was found.
#[derive(sqlx::FromRow)]
struct Row {
    epoch: Uuid,
    append_id: Option<i64>,
    aggregate_type: Option<String>,
    position: Option<i64>,
    projection: Option<String>,
    done: Option<i64>,
}

impl Seen {
    /// Type and slot are taken from what was recorded, never from the token.
    async fn look(pool: &PgPool, few: &[Waiting]) -> Result<Self, sqlx::Error> {
        let append_ids: BTreeSet<i64> = few.iter().flat_map(|one| one.append_ids.iter().copied()).collect();
        let names: BTreeSet<&str> =
            few.iter().flat_map(|one| one.models.iter().map(|(name, _)| *name)).collect();
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT h.epoch, e.append_id, e.aggregate_type, l.position, c.projection, c.position AS done
             FROM log_epoch h
             LEFT JOIN events e ON e.append_id = ANY($1)
             LEFT JOIN log l ON l.append_id = e.append_id
             LEFT JOIN checkpoints c
                 ON c.projection = ANY($2) AND c.aggregate_type = l.aggregate_type AND c.slot = l.slot
                 AND c.epoch = h.epoch",
        )
        .bind(append_ids.into_iter().collect::<Vec<_>>())
        .bind(names.into_iter().collect::<Vec<_>>())
        .fetch_all(pool)
        .await?;
        let epoch = rows.first().map(|row| row.epoch).ok_or(sqlx::Error::RowNotFound)?;
        let mut events = HashMap::<i64, Event>::new();
        for row in rows {
            let (Some(append_id), Some(aggregate_type)) = (row.append_id, row.aggregate_type) else {
                continue;
            };
            let event = Event { aggregate_type, position: row.position, done: HashMap::new() };
            let event = events.entry(append_id).or_insert(event);
            event.done.extend(row.projection.zip(row.done));
        }
        Ok(Self { epoch, events })
    }

    /// Answers a query that need not wait any more, or gives it back.
    fn settle(&self, one: Waiting) -> Option<Waiting> {
        let Some(outcome) = self.outcome(&one) else { return Some(one) };
        // Who gave up meanwhile does not listen.
        let _ = one.answer.send(outcome);
        None
    }

    fn outcome(&self, one: &Waiting) -> Option<Result<(), WaitError>> {
        if one.epoch != self.epoch {
            return Some(Err(WaitError::ForeignEpoch));
        }
        let events: Option<Vec<&Event>> = one.append_ids.iter().map(|id| self.events.get(id)).collect();
        let Some(events) = events else { return Some(Err(WaitError::Unknown)) };
        events.iter().all(|event| one.models.iter().all(|model| event.is_done_by(model))).then_some(Ok(()))
    }
}

impl Event {
    fn is_done_by(&self, (name, types): &Model) -> bool {
        let follows = types.contains(&self.aggregate_type.as_str());
        !follows
            || self
                .position
                .is_some_and(|position| self.done.get(*name).is_some_and(|done| *done >= position))
    }
}
