//! Against aiosmtpd, an SMTP server that shares no code with ours.

use std::collections::HashSet;
use std::time::Instant;

use futures::StreamExt;
use futures::stream;
use workers::mailers::{Mailer, Outcome, Reconciled, Secret, Smtp, SmtpConfig, TlsMode, UnknownClass};

use crate::support::{Ledger, open_window, outgoing, passed_window, until};

const ACCEPTED: Outcome = Outcome::Accepted { provider_id: None, late: false };

async fn send(smtp: &Smtp, to: &str) -> Outcome {
    smtp.hand_over(&outgoing(7, to), &open_window()).await
}

fn unavailable(config: &SmtpConfig) -> impl Future<Output = String> {
    let smtp = Smtp::new(config).unwrap();
    async move { smtp.prepare(1).await.unwrap_err().reason }
}

#[tokio::test]
async fn an_accepted_message_stands_in_the_ledger_as_it_was_sent() {
    let server = Ledger::start(&[]);
    let smtp = Smtp::new(&server.config()).unwrap();
    smtp.prepare(1).await.unwrap();
    let mut outgoing = outgoing(7, "ada@example.org");
    outgoing.message.extend(b".\r\n..\r\n.leading dot\r\n\r\n.\r\nlast\r\n\r\n");
    assert_eq!(smtp.hand_over(&outgoing, &open_window()).await, ACCEPTED);

    let entry = &server.entries()[0];
    assert_eq!(entry["mail_from"], "bounces@example.org");
    assert_eq!(entry["rcpt_to"][0], "ada@example.org");
    assert_eq!(entry["message_id"], "<7@example.org>");
    assert_eq!(entry["dispatch"], outgoing.dispatch.to_string());
    assert_eq!(entry["subscriber"], outgoing.subscriber.to_string());
    assert_eq!(entry["attempt"], "1");
    assert!(entry["data_at"].as_f64() <= entry["accepted_at"].as_f64());
    assert_eq!(server.message(), outgoing.message);
}

#[tokio::test]
async fn the_pool_hands_over_each_message_once() {
    let server = Ledger::start(&[]);
    let smtp =
        Smtp::new(&SmtpConfig { connections: 4, messages_per_connection: 10, ..server.config() }).unwrap();
    smtp.prepare(100).await.unwrap();
    assert_eq!(connections_to(server.port), 4);
    let (smtp, port, started) = (&smtp, server.port, Instant::now());
    let outcomes: Vec<_> = stream::iter(0..200)
        .map(|number| async move {
            let outcome = smtp.hand_over(&outgoing(number, "ada@example.org"), &open_window()).await;
            // The kernel's table is no snapshot: a closing one may stand beside its successor in a first look.
            assert!(connections_to(port) <= 4 || connections_to(port) <= 4);
            outcome
        })
        .buffer_unordered(16)
        .collect()
        .await;
    println!("{:.0} messages/s over 4 connections", 200.0 / started.elapsed().as_secs_f64());
    assert!(outcomes.iter().all(|outcome| *outcome == ACCEPTED), "{outcomes:?}");
    let readers: HashSet<_> =
        server.entries().iter().map(|entry| entry["subscriber"].as_str().unwrap().to_owned()).collect();
    assert_eq!((server.entries().len(), readers.len()), (200, 200));
}

#[tokio::test]
async fn a_refused_reader_is_told_from_one_to_try_again() {
    let server = Ledger::start(&["--fail", "standard"]);
    let smtp = Smtp::new(&SmtpConfig { connections: 1, ..server.config() }).unwrap();
    assert_eq!(send(&smtp, "tempfail@example.org").await, Outcome::Deferred { code: Some(451) });
    assert_eq!(send(&smtp, "tempfail@example.org").await, ACCEPTED);
    assert_eq!(send(&smtp, "reject@example.org").await, Outcome::Rejected { code: Some(550) });
    assert_eq!(send(&smtp, "busy@example.org").await, Outcome::Deferred { code: Some(451) });
    assert_eq!(send(&smtp, "ada@example.org").await, ACCEPTED);
    assert_eq!(server.entries().len(), 2);
}

#[tokio::test]
async fn silence_after_the_body_is_unknown_whatever_the_server_did() {
    let server = Ledger::start(&["--fail", "standard"]);
    let smtp = Smtp::new(&SmtpConfig { connections: 1, ..server.config() }).unwrap();
    let hasty = Smtp::new(&SmtpConfig { message_timeout_seconds: 1, ..server.config() }).unwrap();
    let lost = Outcome::Unknown { class: UnknownClass::ConnectionLost, late: false };
    assert_eq!(send(&smtp, "dropafterdata@example.org").await, lost);
    assert_eq!(server.entries().len(), 0);
    assert_eq!(send(&smtp, "silent@example.org").await, lost);
    assert_eq!(server.entries().len(), 1);
    let timed_out = Outcome::Unknown { class: UnknownClass::TimedOut, late: false };
    assert_eq!(send(&hasty, "slow@example.org").await, timed_out);
    until("the slow server accepts", || server.entries().len() == 2).await;
    assert_eq!(send(&smtp, "ada@example.org").await, ACCEPTED);
    let message = outgoing(7, "ada@example.org");
    assert_eq!(smtp.reconcile(message.dispatch, message.subscriber, 1).await, Reconciled::Unknown);
}

#[tokio::test]
async fn nothing_starts_after_the_window() {
    let server = Ledger::start(&[]);
    let smtp = Smtp::new(&SmtpConfig { connections: 1, ..server.config() }).unwrap();
    smtp.prepare(1).await.unwrap();
    let message = outgoing(7, "ada@example.org");
    assert_eq!(smtp.hand_over(&message, &passed_window().await).await, Outcome::NotStarted);
    assert_eq!(smtp.hand_over(&message, &open_window()).await, ACCEPTED);
    assert_eq!(server.entries().len(), 1);
}

#[tokio::test]
async fn starttls_needs_a_trusted_certificate() {
    let server = Ledger::start(&["--starttls"]);
    let required = SmtpConfig { host: "localhost".into(), tls: TlsMode::Required, ..server.config() };
    let trusting = SmtpConfig { ca_file: server.cert.clone(), ..required.clone() };
    assert_eq!(send(&Smtp::new(&trusting).unwrap(), "ada@example.org").await, ACCEPTED);
    let opportunistic = SmtpConfig { tls: TlsMode::Opportunistic, ..trusting };
    assert_eq!(send(&Smtp::new(&opportunistic).unwrap(), "ada@example.org").await, ACCEPTED);
    let reason = unavailable(&required).await;
    assert!(reason.contains("STARTTLS") && reason.contains("certificate"), "{reason}");
}

#[tokio::test]
async fn starttls_that_is_not_offered_is_an_error_only_if_required() {
    let server = Ledger::start(&[]);
    let required = SmtpConfig { tls: TlsMode::Required, ..server.config() };
    let reason = unavailable(&required).await;
    assert!(reason.contains("does not offer"), "{reason}");
    let opportunistic = SmtpConfig { tls: TlsMode::Opportunistic, ..required };
    assert_eq!(send(&Smtp::new(&opportunistic).unwrap(), "ada@example.org").await, ACCEPTED);
}

#[tokio::test]
async fn implicit_tls_needs_a_trusted_certificate() {
    let server = Ledger::start(&["--implicit-tls"]);
    let implicit = SmtpConfig { host: "localhost".into(), tls: TlsMode::Implicit, ..server.config() };
    let trusting = SmtpConfig { ca_file: server.cert.clone(), ..implicit.clone() };
    assert_eq!(send(&Smtp::new(&trusting).unwrap(), "ada@example.org").await, ACCEPTED);
    let reason = unavailable(&implicit).await;
    assert!(reason.contains("TLS") && reason.contains("certificate"), "{reason}");
}

#[tokio::test]
async fn signs_in_by_plain_and_by_login() {
    for mechanism in ["PLAIN", "LOGIN"] {
        let server = Ledger::start(&["--starttls", "--auth", "user:hunter2", "--auth-mechanism", mechanism]);
        let right = SmtpConfig {
            host: "localhost".into(),
            tls: TlsMode::Required,
            ca_file: server.cert.clone(),
            username: Some(Secret::from("user".to_owned())),
            password: Some(Secret::from("hunter2".to_owned())),
            ..server.config()
        };
        assert_eq!(send(&Smtp::new(&right).unwrap(), "ada@example.org").await, ACCEPTED);
        let wrong = SmtpConfig { password: Some(Secret::from("hunter3".to_owned())), ..right };
        let reason = unavailable(&wrong).await;
        assert_eq!(reason, "smtp: AUTH: the server answered 535");
        let deferred = send(&Smtp::new(&wrong).unwrap(), "ada@example.org").await;
        assert_eq!(deferred, Outcome::Deferred { code: Some(535) });
    }
}

#[tokio::test]
async fn a_message_larger_than_announced_is_not_tried() {
    let server = Ledger::start(&["--size-limit", "1000"]);
    let smtp = Smtp::new(&server.config()).unwrap();
    let mut message = outgoing(7, "ada@example.org");
    while message.message.len() <= 1000 {
        message.message.extend(b"x\r\n");
    }
    assert_eq!(smtp.hand_over(&message, &open_window()).await, Outcome::Rejected { code: None });
    assert_eq!(send(&smtp, "ada@example.org").await, ACCEPTED);
    assert_eq!(server.entries().len(), 1);
}

#[tokio::test]
async fn a_domain_beyond_ascii_arrives_in_a_labels() {
    let server = Ledger::start(&[]);
    let smtp = Smtp::new(&server.config()).unwrap();
    assert_eq!(send(&smtp, "ada@b\u{fc}cher.example").await, ACCEPTED);
    assert_eq!(send(&smtp, "j\u{fc}rgen@example.org").await, ACCEPTED);
    assert_eq!(server.entries()[0]["rcpt_to"][0], "ada@xn--bcher-kva.example");
    assert_eq!(server.entries()[1]["rcpt_to"][0], "j\u{fc}rgen@example.org");
}

#[tokio::test]
async fn idle_connections_that_the_server_closed_cost_no_message() {
    let server = Ledger::start(&["--idle-timeout", "2"]);
    let smtp = Smtp::new(&SmtpConfig { connections: 2, ..server.config() }).unwrap();
    smtp.prepare(2).await.unwrap();
    assert_eq!(send(&smtp, "ada@example.org").await, ACCEPTED);
    until("the server closes both", || connections_to(server.port) == 0).await;
    assert_eq!(send(&smtp, "ada@example.org").await, ACCEPTED);
    smtp.prepare(2).await.unwrap();
    assert_eq!(send(&smtp, "ada@example.org").await, ACCEPTED);
}

/// Established ones, by the kernel's word; half-closed ones do not count.
fn connections_to(port: u16) -> usize {
    let remote = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let established = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words[2] == remote && words[3] == "01"
    };
    table.lines().skip(1).filter(established).count()
}

#[tokio::test]
async fn the_rate_cap_holds_in_every_second() {
    let server = Ledger::start(&[]);
    let config = SmtpConfig { messages_per_second: 20, ..server.config() };
    let smtp = Smtp::new(&config).unwrap();
    smtp.prepare(8).await.unwrap();
    let mut sent = 0;
    while sent < 40 {
        for _ in 0..smtp.take_tokens(10).await {
            assert_eq!(send(&smtp, "ada@example.org").await, ACCEPTED);
            sent += 1;
        }
    }
    let starts: Vec<_> = server.entries().iter().map(|entry| entry["data_at"].as_f64().unwrap()).collect();
    let busiest = starts
        .iter()
        .map(|first| starts.iter().filter(|start| (*first..first + 1.0).contains(*start)).count())
        .max();
    // The cap, one burst of a quarter second, and some slack for a message delayed on its way.
    assert!(busiest <= Some(20 + 5 + 2), "{busiest:?}");
}

#[tokio::test]
async fn a_server_that_does_not_listen_is_unavailable() {
    let port = {
        let server = Ledger::start(&[]);
        server.port
    };
    let config = crate::support::plain_config(port);
    let reason = unavailable(&config).await;
    assert!(reason.contains("refused"), "{reason}");
    assert_eq!(send(&Smtp::new(&config).unwrap(), "ada@example.org").await, Outcome::Deferred { code: None });
}
