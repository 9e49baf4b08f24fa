//! The event store on a real Postgres (`DATABASE_URL`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod commands;
mod crashing;
mod golden;
mod guards;
mod lost;
mod migrations;
mod news;
mod sequencing;
mod snapshots;
mod support;
