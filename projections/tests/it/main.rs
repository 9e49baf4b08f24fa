//! Read models on a real Postgres.

mod campaigns;
mod consumer;
mod dead_letters;
mod embedded;
mod group_members;
mod lists;
mod log;
mod picky;
mod rebuild;
mod recipients;
mod wait;
mod world;
