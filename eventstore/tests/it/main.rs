//! The event store on a real Postgres (`DATABASE_URL`).

mod commands;
mod golden;
mod guards;
mod sequencing;
mod support;
