//! Who waits for something new is woken, in this process at once and in others by NOTIFY, and looks seldom by itself.
//!
//! News is a hint and never the truth: it bears nothing, it may come twice, and what is lost costs [`SAFETY_POLL`] at the most,
//! since everybody looks that often. One connection of each process listens and sends.

mod session;

use crate::StoreError;
use session::Session;
use sqlx::{PgConnection, PgPool};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Everybody looks this often, whatever they hear.
pub const SAFETY_POLL: Duration = Duration::from_secs(1);
/// After an error, before the next connection.
const RECONNECT: Duration = Duration::from_secs(1);
/// At the end of a process, for what it has not told yet.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Notified per database: each has one history.
const CHANNELS: [&str; 2] = ["postledger_appended", "postledger_moved"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Events were committed that have no position yet. Sequencers wait for it.
    Appended,
    /// The log moved, or a row was committed that a worker looks for. All others wait for it.
    Moved,
}

const TOPICS: [Topic; 2] = [Topic::Appended, Topic::Moved];

impl Topic {
    fn channel(self) -> &'static str {
        CHANNELS[self as usize]
    }
}

/// Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct News(Arc<Inner>);

#[derive(Default)]
struct Inner {
    topics: [Channel; 2],
    /// One is to be told to other processes.
    untold: Notify,
    /// What others tell arrives here. Else everybody polls.
    is_heard: AtomicBool,
}

#[derive(Default)]
struct Channel {
    /// Counts. Who waits in this process compares.
    here: watch::Sender<u64>,
    /// Others are to be told: one flag, however much is new.
    is_untold: AtomicBool,
}

impl News {
    /// After each commit that appended. A sequencer in this process is told and no other one, since it does the work.
    pub fn appended(&self) {
        self.tell_here(Topic::Appended);
        if self.channel(Topic::Appended).here.receiver_count() == 0 {
            self.tell_others(Topic::Appended);
        }
    }

    /// After events got positions, and after a commit without an event that a worker waits for.
    pub fn moved(&self) {
        self.tell_here(Topic::Moved);
        self.tell_others(Topic::Moved);
    }

    pub fn wait_for(&self, topic: Topic) -> Waiter {
        Waiter { news: self.clone(), seen: self.channel(topic).here.subscribe() }
    }

    /// Listens and tells until `stop`. Without it this process's own news alone arrive, and what others do is found by polling.
    pub async fn run(self, pool: PgPool, stop: CancellationToken) {
        let mut is_told = false;
        while !stop.is_cancelled() {
            let listening = async {
                let mut session = Session::open(&pool).await?;
                session.run(&self).await
            };
            let error = tokio::select! {
                () = stop.cancelled() => break,
                ended = listening => ended.err(),
            };
            let was_heard = self.hears(false);
            if let Some(error) = error
                && (was_heard || !is_told)
            {
                tracing::warn!(%error, "news: the listener is connected again; meanwhile everything is polled");
                is_told = true;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(RECONNECT) => {}
            }
        }
        self.hears(false);
        // Whatever is lost here is found by the others' polls.
        let _ = tokio::time::timeout(LAST_WORDS, self.tell(&pool)).await;
    }

    /// Tells other processes now: for commands that end at once.
    pub async fn tell(&self, pool: &PgPool) -> Result<(), StoreError> {
        let mut connection = pool.acquire().await?;
        Ok(self.send(&mut connection).await?)
    }

    /// Tells all processes that the log moved, or that work may be waiting.
    pub async fn announce(pool: &PgPool) -> Result<(), StoreError> {
        let news = Self::default();
        news.moved();
        news.tell(pool).await
    }

    /// NOTIFY takes a lock of the whole cluster at its commit, which would queue up the commits of all commands. So it is a
    /// transaction of its own, behind theirs.
    async fn send(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let is_untold = |topic: &Topic| self.channel(*topic).is_untold.swap(false, Ordering::SeqCst);
        let mut telling = Telling { news: self, topics: TOPICS.into_iter().filter(is_untold).collect() };
        if telling.topics.is_empty() {
            return Ok(());
        }
        let channels: Vec<&str> = telling.topics.iter().map(|topic| topic.channel()).collect();
        let notify = "SELECT pg_notify(channel, '') FROM unnest($1::text[]) channel";
        sqlx::query(notify).bind(channels).execute(connection).await?;
        telling.topics.clear();
        Ok(())
    }

    fn channel(&self, topic: Topic) -> &Channel {
        &self.0.topics[topic as usize]
    }

    fn tell_here(&self, topic: Topic) {
        self.channel(topic).here.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn tell_others(&self, topic: Topic) {
        self.channel(topic).is_untold.store(true, Ordering::SeqCst);
        self.0.untold.notify_one();
    }

    /// Where it changes, everybody looks once: something may have been missed, and pauses are others from here on. Answers what
    /// was so before.
    fn hears(&self, others: bool) -> bool {
        let before = self.0.is_heard.swap(others, Ordering::SeqCst);
        if before != others {
            TOPICS.into_iter().for_each(|topic| self.tell_here(topic));
        }
        before
    }
}

/// What is being told. Where that fails, or nobody waits for its end, it is to be told again.
struct Telling<'a> {
    news: &'a News,
    topics: Vec<Topic>,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.topics.drain(..).for_each(|topic| self.news.tell_others(topic));
    }
}

/// Waits for one topic. What is told between two waits ends the second at once.
pub struct Waiter {
    news: News,
    seen: watch::Receiver<u64>,
}

impl Waiter {
    /// How long may be waited: [`SAFETY_POLL`], or `unheard` while what other processes tell does not arrive.
    pub fn longest(&self, unheard: Duration) -> Duration {
        match self.news.0.is_heard.load(Ordering::SeqCst) {
            true => SAFETY_POLL,
            false => unheard,
        }
    }

    /// Until there is news, `least` at the least and `most` at the most: who is told often looks no more often than that.
    pub async fn wait(&mut self, least: Duration, most: Duration) {
        let least = least.min(most);
        tokio::time::sleep(least).await;
        tokio::select! {
            // Its sender is in `self.news`.
            _ = self.seen.changed() => {}
            () = tokio::time::sleep(most - least) => {}
        }
    }

    /// Until there is news, or for the longest time.
    pub async fn news(&mut self, unheard: Duration) {
        self.wait(Duration::ZERO, self.longest(unheard)).await;
    }

    /// The same, and not before `unheard` is over.
    pub async fn seldom_news(&mut self, unheard: Duration) {
        self.wait(unheard, self.longest(unheard)).await;
    }
}
