//! The API as its clients see it: through the router, on a real Postgres, with the sequencer and the projectors
//! running as they do in one process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod access;
mod account_links;
mod admin_races;
mod audit;
mod auth;
mod bodies;
mod compression;
mod conventions;
mod cors;
mod emails;
mod erasure;
mod groups;
mod health;
mod idempotency;
mod imports;
mod json_by_chance;
mod kinds;
mod limits;
mod lists;
mod log_head;
mod logs;
mod media;
mod newer_template;
mod oauth;
mod one_click;
mod openapi;
mod page;
mod password_races;
mod position;
mod preferences;
mod progress;
mod proxies;
mod recipients;
mod reference;
mod refresh;
mod scanners;
mod seed;
mod server;
mod set_by_us;
mod sql;
mod staff_opt_out;
mod stale_links;
mod store;
mod subscribers;
mod subscriptions;
mod support;
mod templates;
mod test_mail;
mod timing;
mod unreadable;
mod users;
