//! Commands on a real Postgres.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod erasure;
mod imports;
mod lost_answers;
mod permits;
mod swaps;
mod uses;
