//! The event store: appends under guards, the sequencer that orders the log, reading it, and the sealing of personal
//! data. The log is the truth; everything else can be wiped and filled again from it.

mod append;
pub mod byte_key;
pub mod clock;
mod codec;
mod command_store;
mod error;
pub mod feed;
mod guards;
pub mod idempotency;
pub mod ids;
pub mod keys;
mod load;
pub mod lost;
pub mod memory;
mod migrate;
pub mod news;
mod pool;
mod position;
pub mod restore;
pub mod sealing;
pub mod sending;
pub mod sequencer;
pub mod service_keys;
pub mod snapshots;
mod store;
mod uses;

pub use append::{Append, Appended, append};
pub use codec::{Metadata, canonical, decode, encode};
pub use error::StoreError;
pub use feed::{Head, LogEvent};
pub use guards::{LEFT_WITHOUT_OPT_OUT, campaign_lock};
pub use idempotency::IdempotencyKey;
pub use load::{Decided, Each, Loaded, load, load_at, load_each, load_each_in, load_in, load_many};
pub use migrate::{Tries, migrate, waited_for_a_lock};
pub use news::News;
pub use pool::{connect, session};
pub use position::{MalformedToken, PositionToken, Touched};
pub use store::{Done, ExecuteError, Request, Store};

/// The migrations of the whole database.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");
