//! What the end-to-end tests stand on: a real stack of processes on a real Postgres, a client that speaks REST alone,
//! ledgers of every hand-over outside of the processes under test, and a dirty subscriber export.
//!
//! Nothing here knows a crate of the product. Postgres is read where a promise is about what was recorded
//! ([`Trail`]), and written by the tests that damage something.
//!
//! The environment says where things are; `./run test` sets it:
//! - `POSTLEDGER_TEST_POSTGRES`: URL of a superuser. Each stack makes a database of its own and drops it.
//! - `POSTLEDGER_TEST_BINARY`: the built `postledger`; else the one beside the test's own binary.
//! - `POSTLEDGER_TEST_PYTHON`: a Python with aiosmtpd; else `/usr/bin/python3`.
//! - `POSTLEDGER_TEST_KAFKA_SCRIPT`, `POSTLEDGER_TEST_KAFKA_NODE`: `scripts/kafka-node.sh`, and the folder of one of its
//!   nodes: tests that stop a broker make one of their own beside it. Without them they do not run, and say so.
//! - `POSTLEDGER_TEST_POSTGRES_SCRIPT`: `scripts/postgres-node.sh`, for tests that crash a Postgres. Likewise.
//! - `POSTLEDGER_TEST_SCHEMATHESIS`: its `schemathesis`, with what e2e/fuzz/requirements.txt lists. Likewise.
//!   `POSTLEDGER_TEST_FUZZ_EXAMPLES`: so many examples of each operation, other ones each time.
//! - `POSTLEDGER_TEST_OPENID`: a folder with the modules of `openid/package.json`, for tests that sign in at a provider.
//! - `POSTLEDGER_TEST_MOTO`: its `moto_server`, with what e2e/moto/requirements.txt lists. Likewise.
//! - `POSTLEDGER_TEST_AXE`: the same of `axe/package.json`, for tests that look at pages. `POSTLEDGER_TEST_SCREENSHOTS`: a folder
//!   that gets what they saw; else nothing is kept.
//! - `POSTLEDGER_TEST_SEED`: repeats a run; else a new one is drawn and printed.

// A test's helper says what went wrong by a panic, and observes with clocks of its own.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod accessibility;
mod broker;
mod browser;
mod client;
mod database;
mod export;
mod html;
mod ledger;
mod mail;
mod media_store;
mod metrics;
mod moto;
mod openid;
mod page;
mod postgres;
mod process;
mod random;
mod script;
mod smtp;
mod stack;
mod temp;
mod trail;
mod wait;

pub use accessibility::Axe;
pub use broker::Broker;
pub use browser::{Browser, Look, Visitor};
pub use client::{Answer, Campaign, Client, Draft, Import, POSITION, Recipient, RejectedRow, Report};
pub use database::Database;
pub use export::{Export, Reader};
pub use ledger::{Handover, Outbox};
pub use mail::Mail;
pub use media_store::MediaStore;
pub use metrics::Metrics;
pub use moto::Moto;
pub use openid::{Back, CLIENT_ID, CLIENT_SECRET, OpenId, OpenIdOptions, login_by};
pub use page::serve_page;
pub use random::Random;
pub use script::path as test_tool;
pub use smtp::{Smtp, SmtpOptions};
pub use stack::{Settings, Stack};
pub use temp::TempDir;
pub use trail::{DispatchTrail, Trail};
pub use wait::{eventually, stays};

use chrono::{DateTime, Utc};
use std::io::Write;

/// The clock of this machine, which ledgers and the database use as well.
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Past the harness, which shows what a test prints only where it fails.
pub(crate) fn say_aloud(what: &str) {
    let _ = writeln!(std::io::stderr(), "*** {what} ***");
}

/// An id that nothing has.
pub fn new_id() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}
