//! The whole product over REST, on a real Postgres, with processes that are really killed.
//!
//! One module for each promise; what they share is in the library. Sizes are constants at each module's top, made for
//! two cores and a debug build. Run one of them: `./run test --test it opt_out_race`.

// A test says what went wrong by a panic, and its futures hold whole stacks.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

mod account;
mod blows;
mod scene;
mod search;

mod bad_input;
mod campaign_flow;
mod config;
mod crash;
mod dead_letters;
mod erasure;
mod frozen_worker;
mod fuzz;
mod gateway;
mod idle;
mod kafka;
mod log_repair;
mod logs;
mod mailer_down;
mod many_processes;
mod media;
mod metrics;
mod oauth;
mod operator_import;
mod opt_out_alone;
mod opt_out_race;
mod pages;
mod passwords;
mod pause_and_cancel;
mod poison;
mod preference_centre;
mod read_your_writes;
mod rebuild;
mod restart;
mod restored;
mod schedule;
mod schedulers;
mod scripts;
mod shutdown;
mod slow_provider;
mod smtp_answers;
mod subscriptions;
mod test_mail;
