//! One contract for both carriers, on a real Postgres and a real Apache Kafka.
//!
//! `POSTLEDGER_TEST_KAFKA` names the brokers, `host:port`. Without it librdkafka's mock cluster takes their place: it
//! cannot make, delete or enlarge topics, so tests that need this say that they did not run. With `CI=true` its use is a
//! failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../../projections/tests/it/log.rs"]
#[allow(dead_code, reason = "shared with the tests of the read models, which use all of it")]
mod log;
#[path = "../../../projections/tests/it/picky.rs"]
#[allow(dead_code, reason = "shared likewise")]
mod picky;
#[path = "../../../projections/tests/it/world.rs"]
#[allow(dead_code, reason = "shared likewise")]
mod world;

mod brokers;
mod check;
mod contract;
mod healing;
mod lost_history;
mod preferences;
mod records;
mod relay;
mod stage;
