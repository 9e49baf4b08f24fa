//! Freezing and sending on a real Postgres, in one process, step by step. Processes that are killed are tried from
//! outside, in `e2e`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod account_mail;
mod consent_mail;
mod erasure;
mod flow;
mod freezing;
mod gate;
mod left_behind;
mod lint;
mod mailer_down;
mod maintenance;
mod newer_template;
mod poison;
mod readers;
mod restored;
mod retention;
mod sending_off;
mod support;
mod test_mail;
mod unreadable;
