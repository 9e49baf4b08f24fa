//! One connection that listens and sends.

use super::{CHANNELS, News, TOPICS};
use crate::pool;
use sqlx::postgres::{PgListener, PgNotification, PgPoolOptions};
use sqlx::{Acquire, Executor, PgPool};
use std::time::Duration;
use tokio::time::Instant;

/// Between two notifications of a process, so that a stream of commits is few of them. The first after a silence goes at once.
const GATHER: Duration = Duration::from_millis(10);
/// A process asks itself this often whether it still hears: a connection may die without a word.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// What it tells itself comes back within this time, or does not come.
const ECHO_WITHIN: Duration = Duration::from_secs(1);
/// A statement that takes longer has lost its connection.
const SEND_MAX: Duration = Duration::from_secs(5);
/// Nobody is woken by it.
const ECHO: &str = "postledger_echo";
/// A notification is a transaction with an id, which would wait for the disk; it has nothing to keep.
const SETTINGS: &str = "SET synchronous_commit = off; SET lock_timeout = '5s'; SET jit = off";

pub(super) struct Session {
    listener: PgListener,
    /// Our own backend: what it tells is known here.
    own: u32,
    next_send: Instant,
    is_deaf: bool,
}

impl Session {
    pub async fn open(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let options = pool.connect_options().as_ref().clone().application_name("postledger news");
        // For this one connection, and never for a second one.
        let one = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let one = one.acquire_timeout(pool::CONNECT_TIMEOUT).connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&one).await?;
        listener.eager_reconnect(false);
        listener.execute(SETTINGS).await?;
        listener.listen_all(CHANNELS.into_iter().chain([ECHO])).await?;
        let own: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut listener).await?;
        Ok(Self { listener, own: own.cast_unsigned(), next_send: Instant::now(), is_deaf: false })
    }

    /// Until an error.
    pub async fn run(&mut self, news: &News) -> Result<(), sqlx::Error> {
        loop {
            self.check(news).await?;
            let end = Instant::now() + CHECK_EVERY;
            while Instant::now() < end {
                self.exchange(news, end).await?;
            }
        }
    }

    /// Hears or tells once.
    async fn exchange(&mut self, news: &News, end: Instant) -> Result<(), sqlx::Error> {
        let next_send = self.next_send;
        let to_tell = async {
            tokio::time::sleep_until(next_send).await;
            news.0.untold.notified().await;
        };
        tokio::select! {
            () = tokio::time::sleep_until(end) => {}
            () = to_tell => {
                let sent = tokio::time::timeout(SEND_MAX, news.send(self.listener.acquire().await?)).await;
                sent.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
                self.next_send = Instant::now() + GATHER;
            }
            received = self.listener.try_recv() => self.hear(news, &Self::one(received)?),
        }
        Ok(())
    }

    /// A pooler that lends a connection per transaction takes LISTEN without an error, and its notifications go to nobody. So
    /// this process tells itself something and sees whether it comes.
    async fn check(&mut self, news: &News) -> Result<(), sqlx::Error> {
        let until = Instant::now() + ECHO_WITHIN;
        let notify = sqlx::query("SELECT pg_notify($1, '')").bind(ECHO);
        let sent = tokio::time::timeout(SEND_MAX, notify.execute(&mut self.listener)).await;
        sent.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        while let Ok(received) = tokio::time::timeout_at(until, self.listener.try_recv()).await {
            let notification = Self::one(received)?;
            self.hear(news, &notification);
            if notification.process_id() == self.own && notification.channel() == ECHO {
                if !news.hears(true) {
                    tracing::info!("news: other processes are heard");
                }
                self.is_deaf = false;
                return Ok(());
            }
        }
        if !std::mem::replace(&mut self.is_deaf, true) {
            tracing::warn!(
                "news: notifications do not arrive (a pooler of transactions?): everything is polled"
            );
        }
        news.hears(false);
        Ok(())
    }

    fn hear(&self, news: &News, notification: &PgNotification) {
        if notification.process_id() == self.own {
            return;
        }
        let told = TOPICS.into_iter().find(|topic| topic.channel() == notification.channel());
        if let Some(topic) = told {
            news.tell_here(topic);
        }
    }

    /// None: the connection ended.
    fn one(received: Result<Option<PgNotification>, sqlx::Error>) -> Result<PgNotification, sqlx::Error> {
        received?.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into())
    }
}
