//! Mailers hand messages over to whoever delivers them.
//!
//! What they promise to the sender:
//! - A hand-over *starts* only within its [`Window`], checked just before the write that starts it: the outbox's
//!   `link()`, SMTP's DATA line, an HTTP request's first byte.
//! - Nothing is tried again inside a mailer once a call has started: the outcome says what is known, the sender decides.
//! - [`Outcome::Deferred`], [`Outcome::Rejected`] and [`Outcome::NotStarted`] mean that nothing was accepted. What can't
//!   be told is [`Outcome::Unknown`].
//! - Nothing that a mailer logs or returns bears an address, a name, a provider's text or a secret.

pub mod null;
pub mod outbox;
mod rate;
pub mod smtp;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

pub use self::null::{Null, NullConfig};
pub use self::outbox::{Outbox, OutboxConfig, OutboxIndex};
pub use self::rate::RateCap;
pub use self::smtp::{Secret, Smtp, SmtpConfig, TlsMode};
use crate::window::Window;

/// One message on its way to one reader.
#[derive(Clone)]
pub struct Outgoing {
    pub dispatch: Uuid,
    pub subscriber: Uuid,
    /// Counts from 1. Each attempt is a name of its own, so that what became of it can be told.
    pub attempt: u32,
    /// The return path; empty for the null reverse-path (RFC 5321 section 4.5.5).
    pub envelope_from: String,
    pub envelope_to: String,
    /// A whole RFC 5322 message with CRLF line ends.
    pub message: Vec<u8>,
}

/// Ids and sizes only: the rest is personal data.
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("dispatch", &self.dispatch)
            .field("subscriber", &self.subscriber)
            .field("attempt", &self.attempt)
            .field("bytes", &self.message.len())
            .finish_non_exhaustive()
    }
}

/// What became of one hand-over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The provider has taken the message over.
    Accepted {
        /// The provider's id of the message, where it is known to hold no personal data.
        provider_id: Option<String>,
        /// The window was open just before the write and had passed after it.
        late: bool,
    },
    /// The window had passed before the start, or the reconciler had closed this attempt: settles as pending.
    NotStarted,
    /// Nothing was accepted and a later attempt is safe: refused connection, SMTP 4xx, HTTP 429.
    /// A code of 500 or more is the server's refusal of *us* (sender, sign-in), not of the reader.
    Deferred { code: Option<u16> },
    /// Nothing was accepted and this reader can't be reached with this message. Without a code the refusal is our own: an
    /// address or a message that can't be sent by this protocol, or one larger than the server takes.
    Rejected { code: Option<u16> },
    /// The body was begun and there is no final answer.
    Unknown { class: UnknownClass, late: bool },
}

/// Why an outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownClass {
    /// The connection ended, or the answer was none that the protocol knows.
    ConnectionLost,
    /// No answer within the call's time-out.
    TimedOut,
    /// The file system failed and does not tell whether the message is there.
    Storage,
}

impl UnknownClass {
    /// The name that is stored in events; never changes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionLost => "connection_lost",
            Self::TimedOut => "timed_out",
            Self::Storage => "storage",
        }
    }
}

/// What became of an attempt whose worker died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciled {
    Accepted,
    /// Nothing was handed over, and this attempt can't be handed over any more.
    NeverHandedOver,
    Unknown,
}

/// The mailer can't take messages now. The reason holds no personal data, no secret and no text of the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unavailable {
    pub reason: String,
}

impl Unavailable {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// Hands messages over. See the module for what an implementation promises.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// The name in configuration, events and metrics: `outbox`, `smtp`, `null`.
    fn name(&self) -> &'static str;

    /// Calls that may run at once.
    fn concurrency(&self) -> usize;

    /// Upper bound for one hand-over, whatever the other side does. The reconciler waits for it.
    fn call_timeout(&self) -> Duration;

    /// Makes connections ready so that calls can start at once. Called before the authorization, when no permit is open.
    /// An error means that the mailer is down.
    async fn prepare(&self, calls: usize) -> Result<(), Unavailable>;

    /// Takes up to `n` tokens from the rate cap and returns how many it got: at least one, after a bounded wait. Zero only
    /// if more callers wait than the cap lets through in [`RateCap::MAX_WAIT`], or if `n` is zero.
    async fn take_tokens(&self, n: usize) -> usize;

    /// Hands one message over, if its window is still open.
    async fn hand_over(&self, message: &Outgoing, window: &Window) -> Outcome;

    /// What became of an attempt whose worker died. Called only after that attempt's window and time-out have passed.
    async fn reconcile(&self, dispatch: Uuid, subscriber: Uuid, attempt: u32) -> Reconciled;

    /// Makes durable what was accepted; called once per chunk before its settlement is recorded.
    async fn settle_barrier(&self) -> Result<(), Unavailable>;

    /// Forgets what it keeps of mails to these readers, by the ids in [`Outgoing::subscriber`]; that they were handed over
    /// it still knows. Called once nothing can be handed over to them any more. Most keep nothing.
    async fn forget(&self, _readers: &HashSet<Uuid>) -> Result<(), Unavailable> {
        Ok(())
    }
}
