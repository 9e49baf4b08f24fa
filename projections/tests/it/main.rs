//! Read models on a real Postgres.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod campaigns;
mod consumer;
mod dead_letters;
mod embedded;
mod group_members;
mod lists;
mod log;
mod opt_outs_by_group;
mod picky;
mod rebuild;
mod recipients;
mod repair;
mod wait;
mod world;
