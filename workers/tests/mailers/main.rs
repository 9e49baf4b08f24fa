//! The mailers against the real thing: an independent SMTP server, a server that fails by script, a directory.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod outbox;
mod smtp;
mod smtp_phases;
mod support;
