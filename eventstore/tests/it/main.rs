//! The event store on a real Postgres (`DATABASE_URL`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod commands;
mod golden;
mod guards;
mod sequencing;
mod support;
