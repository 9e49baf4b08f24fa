//! The write side: every command that changes something, and the process managers that follow up on them
//! (scheduling, freezing, sending). Commands check other streams by their events or a guard, never by a read model.

mod account_mails;
mod accounts;
mod attempts;
pub mod attributes;
mod campaigns;
mod context;
mod deaths;
mod erasure;
mod error;
mod groups;
mod idempotent;
pub mod imports;
mod mail_limits;
mod media;
mod opt_out_mails;
mod optout;
mod passwords;
pub mod people;
mod permits;
mod secrets;
pub mod send;
mod subscribers;
mod subscriptions;
mod templates;
mod test_mail;
mod tries;

pub use account_mails::{AccountLink, AccountToken};
pub use accounts::{
    ApiKeyRow, Identity, KEY_PREFIX, NewApiKey, NewUser, SESSION_LIFE, SessionRow, SignedIn, UserPatch,
    UserRow,
};
pub use attempts::Work;
pub use campaigns::{CampaignPatch, NewCampaign, SCHEDULE_PAST_MAX_SECONDS};
pub use context::Context;
pub use deaths::given_up;
pub use erasure::Remains;
pub use error::{CommandError, FieldError};
pub use groups::GroupPatch;
pub use media::{NewMedium, UPLOAD_BEGINS_WITHIN, UnwantedFile};
pub use optout::{OptOut, Preferences};
pub use passwords::{PASSWORD_MAX_BYTES, Password, PasswordError, Passwords, Verdict};
pub use permits::{LONGEST, reader_key};
pub use secrets::Given;
pub use subscribers::{NewSubscriber, SubscriberDetails, SubscriberPatch};
pub use subscriptions::{NewSubscription, SubscriptionLink, SubscriptionToken};
pub use templates::Behind;
pub use test_mail::{TestFields, TestRecipients};

/// What is said of a person, a mail or a cell that cannot be read: damaged, or of a later release.
pub const UNREADABLE: &str = "unreadable";

use eventstore::Store;
use std::sync::Arc;
use std::time::Duration;

/// The promise about time that sending makes to opt-outs.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// W: a provider call may start only this long after the clocks were read before its authorization.
    pub window: Duration,
    /// For clocks that are read a moment before the write that they allow.
    pub margin: Duration,
}

/// The configured mailers.
#[derive(Debug, Clone)]
pub struct MailerNames {
    pub all: Vec<String>,
    /// Of campaigns and test mails that name none.
    pub default: String,
}

impl MailerNames {
    /// The first is the default.
    pub fn of<const N: usize>(names: [&str; N]) -> Self {
        let all: Vec<String> = names.map(str::to_owned).into();
        Self { default: all.first().cloned().unwrap_or_default(), all }
    }
}

/// Everything that can be commanded. Cheap to clone.
#[derive(Clone)]
pub struct Commands {
    pub store: Store,
    /// Opt-outs have connections of their own: nothing else can keep them waiting.
    opt_outs: Store,
    pub timing: Timing,
    mailers: MailerNames,
    pub passwords: Arc<Passwords>,
    refusals: Arc<accounts::Refusals>,
    /// Whom test mails may go to besides users.
    pub test_recipients: Arc<TestRecipients>,
    import_quota: imports::Quota,
}

impl Commands {
    pub fn new(store: Store, opt_out_pool: sqlx::PgPool, timing: Timing, mailers: MailerNames) -> Self {
        let opt_outs = store.with_pool(opt_out_pool);
        Self {
            opt_outs,
            store,
            timing,
            mailers,
            passwords: Arc::default(),
            refusals: Arc::default(),
            test_recipients: Arc::default(),
            import_quota: imports::Quota::default(),
        }
    }

    pub fn with_import_quota(self, import_quota: imports::Quota) -> Self {
        Self { import_quota, ..self }
    }

    /// For what a reader has to see before they can opt out.
    pub fn opt_out_pool(&self) -> &sqlx::PgPool {
        &self.opt_outs.pool
    }
}
