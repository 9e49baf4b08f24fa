//! One message over one connection, and what each step's failure means (RFC 5321 sections 3.3 and 4.2).
//!
//! The start is the DATA line: up to its positive answer nothing can have been accepted. Once the body has begun, only a
//! final answer tells.

use std::fmt::Display;
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Noop, Quit, Rcpt, Rset};
use lettre::transport::smtp::extension::{Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use tokio::time::{Instant, timeout};

use super::super::{Outcome, UnknownClass};
use super::gate::{Gate, Passage};
use super::letter::Letter;
use crate::window::Window;

/// A session that was idle for less is used without asking whether it still lives.
const TRUSTED_IDLE: Duration = Duration::from_secs(5);

/// How long a farewell may take.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The time that a server has. A window that passes meanwhile cuts no answer short: the session stays in step, and takes the
/// next message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub connect: Duration,
    pub command: Duration,
    pub message: Duration,
}

/// The first command on a session that had been idle failed: the server had closed it. Nothing is lost, and a fresh
/// session may try.
#[derive(Debug)]
pub(super) struct Stale;

/// Why a command got no positive answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Code(u16),
    /// The connection ended, or its answers make no sense.
    Lost,
    TimedOut,
}

pub(super) struct Session {
    connection: AsyncSmtpConnection,
    gate: Gate,
    size_max: Option<u64>,
    used_at: Instant,
    messages: u32,
    /// It has been in the pool, where the server may have closed it.
    pub was_idle: bool,
    /// A transaction was begun and not ended: RSET comes first.
    begun: bool,
    /// Answers and commands are in step.
    usable: bool,
}

impl Session {
    pub(super) fn new(connection: AsyncSmtpConnection, gate: Gate, size_max: Option<u64>) -> Self {
        let used_at = Instant::now();
        Self { connection, gate, size_max, used_at, messages: 0, was_idle: false, begun: false, usable: true }
    }

    /// Whether it may take another message.
    pub(super) fn is_usable(&self, messages_max: u32) -> bool {
        self.usable && self.messages < messages_max
    }

    /// Whether the server still answers; asked only after a pause.
    pub(super) async fn is_alive(&mut self, limit: Duration) -> bool {
        self.used_at.elapsed() < TRUSTED_IDLE || self.exchange(Noop, limit).await.is_ok_and(is_completion)
    }

    /// Says goodbye, so that the server does not log a lost connection.
    pub(super) async fn close(mut self) {
        if self.usable {
            let _ = timeout(QUIT_TIMEOUT, self.connection.command(Quit)).await;
        }
    }

    pub(super) async fn deliver(
        &mut self,
        letter: &Letter<'_>,
        window: &Window,
        limits: &Limits,
    ) -> Result<Outcome, Stale> {
        if !self.can_carry(letter) {
            return Ok(Outcome::Rejected { code: None });
        }
        if let Some(outcome) = self.address(letter, window, limits.command).await? {
            return Ok(outcome);
        }
        Ok(match self.start(window, limits.command).await {
            Ok(late) => self.transfer(letter, late, limits.message).await,
            Err(outcome) => outcome,
        })
    }

    /// RFC 1870, RFC 6152 and RFC 6531: what the server does not offer can't be sent to it.
    fn can_carry(&self, letter: &Letter<'_>) -> bool {
        let offers = |extension| self.connection.server_info().supports_feature(extension);
        let fits = self.size_max.is_none_or(|bytes_max| letter.declared_bytes() as u64 <= bytes_max);
        fits && (!letter.eight_bit || offers(Extension::EightBitMime))
            && (!letter.utf8_addresses || offers(Extension::SmtpUtfEight))
    }

    /// RSET where needed, MAIL and RCPT, none of them once the window has passed: what we had no time for is no deferral of
    /// the reader. An outcome means that it ends here.
    async fn address(
        &mut self,
        letter: &Letter<'_>,
        window: &Window,
        limit: Duration,
    ) -> Result<Option<Outcome>, Stale> {
        if window.check().is_err() {
            return Ok(Some(Outcome::NotStarted));
        }
        if self.begun {
            match self.completed(Rset, limit).await {
                Ok(()) => self.begun = false,
                Err(_) if self.was_idle => return Err(Stale),
                Err(failure) => return Ok(Some(refusal_of_sender(failure))),
            }
            if window.check().is_err() {
                return Ok(Some(Outcome::NotStarted));
            }
        }
        self.messages += 1;
        match self.completed(Mail::new(letter.from.clone(), self.parameters(letter)), limit).await {
            Ok(()) => self.begun = true,
            Err(Failure::Lost | Failure::Code(421)) if self.was_idle => return Err(Stale),
            Err(failure) => return Ok(Some(refusal_of_sender(failure))),
        }
        if window.check().is_err() {
            return Ok(Some(Outcome::NotStarted));
        }
        let rcpt = self.completed(Rcpt::new(letter.to.clone(), vec![]), limit).await;
        Ok(rcpt.err().map(refusal_of_reader))
    }

    fn parameters(&self, letter: &Letter<'_>) -> Vec<MailParameter> {
        let mut parameters = Vec::new();
        if self.size_max.is_some() {
            parameters.push(MailParameter::Size(letter.declared_bytes()));
        }
        if letter.eight_bit {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        if letter.utf8_addresses {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        parameters
    }

    /// The DATA line, through the gate. `Ok` tells whether it was late; an error is an outcome without a body.
    async fn start(&mut self, window: &Window, limit: Duration) -> Result<bool, Outcome> {
        if window.check().is_err() {
            return Err(Outcome::NotStarted);
        }
        self.gate.arm(window);
        let answer = self.exchange(Data, limit).await;
        match (self.gate.disarm(), answer) {
            (Passage::Written { late }, Ok(354)) => Ok(late),
            (Passage::Written { .. }, Err(Failure::Code(code))) => {
                Err(refusal_of_reader(Failure::Code(code)))
            }
            (Passage::Written { .. }, _) | (Passage::Waiting, _) => {
                self.usable = false;
                Err(Outcome::Deferred { code: None })
            }
            (Passage::Refused, _) => {
                self.usable = false;
                Err(Outcome::NotStarted)
            }
        }
    }

    /// The body and the final answer. lettre does the dot-stuffing (RFC 5321 section 4.5.2) and adds the end of data.
    async fn transfer(&mut self, letter: &Letter<'_>, late: bool, limit: Duration) -> Outcome {
        let body = std::iter::once(letter.body);
        let answer = timeout(limit, self.connection.message_iter(body)).await;
        match self.judge(answer.ok()) {
            Ok(code) if is_completion(code) => {
                self.begun = false;
                Outcome::Accepted { provider_id: None, late }
            }
            Err(Failure::Code(code)) => refusal_of_reader(Failure::Code(code)),
            Err(Failure::TimedOut) => Outcome::Unknown { class: UnknownClass::TimedOut, late },
            Ok(_) | Err(Failure::Lost) => {
                self.usable = false;
                Outcome::Unknown { class: UnknownClass::ConnectionLost, late }
            }
        }
    }

    async fn completed(&mut self, command: impl Display, limit: Duration) -> Result<(), Failure> {
        let code = self.exchange(command, limit).await?;
        if is_completion(code) {
            return Ok(());
        }
        self.usable = false;
        Err(Failure::Lost)
    }

    async fn exchange(&mut self, command: impl Display, limit: Duration) -> Result<u16, Failure> {
        let answer = timeout(limit, self.connection.command(command)).await;
        self.judge(answer.ok())
    }

    /// Reads an answer, and notes if the session is of no more use. `None` is a time-out.
    fn judge(&mut self, answer: Option<Result<Response, Error>>) -> Result<u16, Failure> {
        self.used_at = Instant::now();
        let failure = match answer {
            Some(Ok(response)) => return Ok(response.code().into()),
            Some(Err(error)) => error.status().map_or(Failure::Lost, |code| Failure::Code(code.into())),
            None => Failure::TimedOut,
        };
        // RFC 5321 section 3.8: after 421 the server closes.
        self.usable &= matches!(failure, Failure::Code(code) if code != 421);
        Err(failure)
    }
}

fn is_completion(code: u16) -> bool {
    (200..300).contains(&code)
}

/// RSET or MAIL failed: that is about us and says nothing of the reader, unless the message is too large (RFC 1870
/// section 6.1).
fn refusal_of_sender(failure: Failure) -> Outcome {
    match failure {
        Failure::Code(552) => Outcome::Rejected { code: Some(552) },
        Failure::Code(code) => Outcome::Deferred { code: Some(code) },
        Failure::Lost | Failure::TimedOut => Outcome::Deferred { code: None },
    }
}

/// RCPT, DATA or the body was refused, or there was no answer before the body.
fn refusal_of_reader(failure: Failure) -> Outcome {
    match failure {
        Failure::Code(code) if code >= 500 && !is_about_session(code) => {
            Outcome::Rejected { code: Some(code) }
        }
        Failure::Code(code) => Outcome::Deferred { code: Some(code) },
        Failure::Lost | Failure::TimedOut => Outcome::Deferred { code: None },
    }
}

/// Commands out of order or unknown (RFC 5321 section 4.2.2), and a sign-in or encryption that is missing (RFC 4954
/// section 6): the reader has no part in it.
fn is_about_session(code: u16) -> bool {
    matches!(code, 502..=504 | 530 | 534 | 535 | 538)
}
