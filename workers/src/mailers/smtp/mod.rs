//! SMTP submission (RFC 5321, RFC 6409) over a bounded pool of connections.
//!
//! lettre speaks the protocol, one command at a time, so that the phase of every failure is known. Its feature `tracing`
//! stays off: it logs addresses, whole messages and passwords.

mod config;
mod connect;
mod gate;
mod letter;
mod pool;
mod session;

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

pub use self::config::{Secret, SmtpConfig, SmtpConfigError, TlsMode};
use self::connect::Connector;
use self::letter::Letter;
use self::pool::{Pool, Slot};
use self::session::{Limits, Session};
use super::{Mailer, Outcome, Outgoing, RateCap, Reconciled, Unavailable};
use crate::window::Window;

pub struct Smtp {
    pool: Pool,
    rate: RateCap,
    connect_timeout: Duration,
    command_timeout: Duration,
    message_timeout: Duration,
}

impl Smtp {
    /// Checks the configuration and reads the certificate authorities; connects to nothing. Blocks.
    pub fn new(config: &SmtpConfig) -> Result<Self, SmtpConfigError> {
        config.check()?;
        Ok(Self {
            pool: Pool::new(Connector::new(config)?, config.connections, config.messages_per_connection),
            rate: RateCap::new(config.messages_per_second),
            connect_timeout: config.connect_timeout(),
            command_timeout: config.command_timeout(),
            message_timeout: config.message_timeout(),
        })
    }

    /// An idle session, or a new one; the outcome if there is none.
    async fn session(&self, slot: &Slot, limits: &Limits) -> Result<Session, Outcome> {
        match self.pool.idle(slot) {
            Some(session) => Ok(session),
            None => self.fresh_session(slot, limits).await,
        }
    }

    async fn fresh_session(&self, slot: &Slot, limits: &Limits) -> Result<Session, Outcome> {
        self.pool.open(slot, limits.connect).await.map_err(|error| {
            tracing::debug!(%error, "no smtp session");
            Outcome::Deferred { code: error.code }
        })
    }

    /// Sends over an idle session and, if the server had closed that one, over a fresh one.
    async fn send(&self, slot: Slot, letter: &Letter<'_>, window: &Window, limits: &Limits) -> Outcome {
        let mut session = match self.session(&slot, limits).await {
            Ok(session) => session,
            Err(outcome) => return outcome,
        };
        let mut delivered = session.deliver(letter, window, limits).await;
        if delivered.is_err() {
            session = match self.fresh_session(&slot, limits).await {
                Ok(session) => session,
                Err(outcome) => return outcome,
            };
            delivered = session.deliver(letter, window, limits).await;
        }
        self.pool.put_back(slot, session);
        delivered.unwrap_or(Outcome::Deferred { code: None })
    }
}

#[async_trait]
impl Mailer for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }

    fn concurrency(&self) -> usize {
        self.pool.size()
    }

    /// Everything up to the DATA line, its answer, the body and its answer.
    fn call_timeout(&self) -> Duration {
        self.connect_timeout + self.command_timeout + self.message_timeout
    }

    /// Takes at most the connect time-out and two command time-outs (one to wait for a slot, one to ask an idle session).
    async fn prepare(&self, calls: usize) -> Result<(), Unavailable> {
        let prepared = self.pool.prepare(calls, self.connect_timeout, self.command_timeout).await;
        prepared.map_err(|error| Unavailable::new(format!("smtp: {error}")))
    }

    async fn take_tokens(&self, n: usize) -> usize {
        self.rate.take(n).await
    }

    async fn hand_over(&self, message: &Outgoing, window: &Window) -> Outcome {
        if window.check().is_err() {
            return Outcome::NotStarted;
        }
        let letter = match Letter::new(message) {
            Ok(letter) => letter,
            Err(reason) => {
                let (dispatch, subscriber) = (message.dispatch, message.subscriber);
                tracing::warn!(dispatch.id = %dispatch, subscriber.id = %subscriber, %reason, "not sendable");
                return Outcome::Rejected { code: None };
            }
        };
        let limits = Limits {
            connect: self.connect_timeout,
            command: self.command_timeout,
            message: self.message_timeout,
        };
        match self.pool.slot(Instant::now() + window.remaining()).await {
            Some(slot) => self.send(slot, &letter, window, &limits).await,
            None => Outcome::NotStarted,
        }
    }

    /// The server alone knows.
    async fn reconcile(&self, _dispatch: Uuid, _subscriber: Uuid, _attempt: u32) -> Reconciled {
        Reconciled::Unknown
    }

    async fn settle_barrier(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::window::scripted::window;

    /// A server that takes everything on one connection; tells whether it was given a DATA line.
    async fn serve(listener: TcpListener) -> bool {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(socket);
        let (mut line, mut data) = (String::new(), false);
        stream.write_all(b"220 x\r\n").await.unwrap();
        while stream.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
            let in_body = data && line != ".\r\n";
            data |= line == "DATA\r\n";
            let answer: &[u8] = if line == "DATA\r\n" { b"354 x\r\n" } else { b"250 x\r\n" };
            if !in_body || line == "DATA\r\n" {
                stream.write_all(answer).await.unwrap();
            }
            line.clear();
        }
        data
    }

    /// The outcome when the clocks run past the window after that many readings, and whether DATA was said.
    async fn outcome(readings_in_time: usize) -> (Outcome, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(serve(listener));
        let config =
            SmtpConfig { host: "127.0.0.1".into(), port, tls: TlsMode::None, ..SmtpConfig::default() };
        let smtp = Smtp::new(&config).unwrap();
        smtp.prepare(1).await.unwrap();
        let message = Outgoing {
            dispatch: Uuid::from_u128(1),
            subscriber: Uuid::from_u128(2),
            attempt: 1,
            envelope_from: "news@example.org".into(),
            envelope_to: "ada@example.org".into(),
            message: b"Subject: hello\r\n\r\nhello\r\n".to_vec(),
        };
        let mut readings = vec![(1_000, 1_000); readings_in_time];
        readings.push((2_001, 2_001));
        let outcome = smtp.hand_over(&message, &window(&readings)).await;
        drop(smtp);
        (outcome, server.await.unwrap())
    }

    #[tokio::test]
    async fn the_window_is_checked_last_at_the_data_line_and_read_again_after_it() {
        // Read for the start, for what remains, before MAIL, before RCPT, before DATA, at the socket, after the write.
        for readings_in_time in 0..6 {
            assert_eq!(outcome(readings_in_time).await, (Outcome::NotStarted, false), "{readings_in_time}");
        }
        let accepted = |late| Outcome::Accepted { provider_id: None, late };
        assert_eq!(outcome(6).await, (accepted(true), true));
        assert_eq!(outcome(7).await, (accepted(false), true));
    }
}
