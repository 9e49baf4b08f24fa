//! Gives each event its dense global position.
//!
//! Rows become visible out of the order of their append_ids, so a reader that polls for larger ids loses some. The
//! sequencer takes what is visible in `pending` and numbers it under the lock of `log_head`, so that any number of
//! sequencers take turns. Order within a stream and under a gate's lock is kept: whoever appends second does so
//! after the first committed, with a larger append_id, and a snapshot that shows the second shows the first.
//!
//! What a sequencer remembers between two batches belongs to one database session ([`session`]).

mod session;

use crate::news::Topic;
use crate::{Store, StoreError};
use session::Session;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Events numbered in one transaction. Under a flood, whoever comes next waits for such a batch.
pub const BATCH: i64 = 2_000;
/// While other processes are not heard, what they appended is noticed after this time.
const POLL: Duration = Duration::from_millis(20);
/// Between two batches, so that a stream of small commits is numbered in groups and not one by one. The first event
/// after a silence does not wait.
const GATHER: Duration = Duration::from_millis(2);
const RETRY: Duration = Duration::from_millis(200);
/// A step that takes longer has lost its connection without a word, and begins anew with another one. It waits for the head's
/// lock for 5 s at the most: a process that stands still loses it then.
const STEP_MAX: Duration = Duration::from_secs(30);

pub struct Sequencer {
    store: Store,
    session: Option<Session>,
}

impl Sequencer {
    pub fn new(store: Store) -> Self {
        Self { store, session: None }
    }

    /// Numbers events until `stop`; failures are logged and tried again.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut complaint = Complaint::default();
        let mut appended = self.store.news.wait_for(Topic::Appended);
        while !stop.is_cancelled() {
            let stepped = tokio::time::timeout(STEP_MAX, self.step()).await;
            let pause = match stepped.unwrap_or(Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut))) {
                Ok(numbered) => {
                    complaint.withdraw();
                    match numbered {
                        BATCH => continue,
                        0 => appended.longest(POLL),
                        _ => {
                            tokio::time::sleep(GATHER).await;
                            continue;
                        }
                    }
                }
                Err(error) => {
                    complaint.raise(&error);
                    RETRY
                }
            };
            tokio::select! {
                () = appended.wait(Duration::ZERO, pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Numbers one batch; returns its size. After any error the next step begins a new session.
    pub async fn step(&mut self) -> Result<i64, StoreError> {
        // Taken out first: an error drops the session with its mark, and so does a caller that does not wait for the end.
        let mut session = match self.session.take() {
            Some(session) => session,
            None => Session::open(&self.store.pool).await?,
        };
        let numbered = session.step().await?;
        self.session = Some(session);
        if numbered > 0 {
            self.store.news.moved();
        }
        Ok(numbered)
    }
}

/// What keeps the sequencer from its work is told when it begins, changes and ends, and not with each try.
#[derive(Default)]
struct Complaint(Option<Discriminant<StoreError>>);

impl Complaint {
    fn raise(&mut self, error: &StoreError) {
        if self.0.replace(discriminant(error)) != Some(discriminant(error)) {
            tracing::error!(%error, "sequencer: events get no positions; it goes on trying");
        }
    }

    fn withdraw(&mut self) {
        if self.0.take().is_some() {
            tracing::info!("sequencer: at work again");
        }
    }
}
