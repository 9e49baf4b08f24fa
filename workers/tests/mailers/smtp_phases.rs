//! Every phase in which a server can fail, by a server that follows a script.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use workers::mailers::{Mailer, Outcome, Smtp, SmtpConfig, UnknownClass};
use workers::window::Window;

use crate::support::{open_window, outgoing, plain_config};

use Step::{Body, Close, Hang, Late, Read, Say};

/// What the server does next on a connection.
#[derive(Debug, Clone, Copy)]
enum Step {
    Say(&'static str),
    /// Reads a line, which must begin so.
    Read(&'static str),
    /// Reads up to the end of data.
    Body,
    Close,
    /// Says nothing until the client closes.
    Hang,
    /// Longer than a short window.
    Late,
}

/// Both ends of one machine, so that the window is open when a message begins, and over when a late answer comes.
const SHORT_WINDOW: Duration = Duration::from_secs(2);
const LATE: Duration = Duration::from_millis(2_500);

const READY: &[Step] =
    &[Say("220 x"), Read("EHLO "), Say("250-x\r\n250 SIZE"), Read("EHLO "), Say("250-x\r\n250 SIZE")];
const MAIL: &[Step] = &[Read("MAIL FROM:<bounces@example.org>")];
const RCPT: &[Step] = &[Say("250 ok"), Read("RCPT TO:<ada@example.org>")];
const DATA: &[Step] = &[Say("250 ok"), Read("DATA")];
const SENT: &[Step] = &[Say("354 go on"), Body];

/// One list of steps per connection, in order. Gives back the lines that were read.
async fn server(connections: Vec<Vec<Step>>) -> (SmtpConfig, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let lines = tokio::spawn(async move {
        let mut lines = Vec::new();
        for steps in connections {
            let (socket, _) = listener.accept().await.unwrap();
            follow(socket, &steps, &mut lines).await;
        }
        lines
    });
    (SmtpConfig { connections: 1, message_timeout_seconds: 2, ..plain_config(port) }, lines)
}

async fn follow(socket: TcpStream, steps: &[Step], lines: &mut Vec<String>) {
    let mut stream = BufReader::new(socket);
    for step in steps {
        match step {
            Say(text) => stream.write_all(format!("{text}\r\n").as_bytes()).await.unwrap(),
            Read(start) => {
                let line = line(&mut stream).await;
                assert!(line.starts_with(start), "{line:?} instead of {start:?}");
                lines.push(line);
            }
            Body => while line(&mut stream).await != ".\r\n" {},
            Close => return,
            Late => tokio::time::sleep(LATE).await,
            Hang => while !line(&mut stream).await.is_empty() {},
        }
    }
}

/// Empty at the end of the stream.
async fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    let _ = stream.read_line(&mut line).await;
    line
}

async fn send(smtp: &Smtp, window: &Window) -> Outcome {
    smtp.hand_over(&outgoing(7, "ada@example.org"), window).await
}

/// The outcome of one message over one connection that goes through these phases.
async fn outcome(phases: &[&[Step]]) -> Outcome {
    let (config, lines) = server(vec![phases.concat()]).await;
    let smtp = Smtp::new(&config).unwrap();
    let outcome = send(&smtp, &open_window()).await;
    drop(smtp);
    lines.await.unwrap();
    outcome
}

fn deferred(code: u16) -> Outcome {
    Outcome::Deferred { code: Some(code) }
}

fn rejected(code: u16) -> Outcome {
    Outcome::Rejected { code: Some(code) }
}

const NOT_ACCEPTED: Outcome = Outcome::Deferred { code: None };
const LOST: Outcome = Outcome::Unknown { class: UnknownClass::ConnectionLost, late: false };
const TIMED_OUT: Outcome = Outcome::Unknown { class: UnknownClass::TimedOut, late: false };
const ACCEPTED: Outcome = Outcome::Accepted { provider_id: None, late: false };

#[tokio::test]
async fn before_a_session_nothing_is_accepted() {
    assert_eq!(outcome(&[&[Close]]).await, NOT_ACCEPTED);
    assert_eq!(outcome(&[&[Say("554 no")]]).await, deferred(554));
    assert_eq!(outcome(&[&[Say("220 x"), Read("EHLO"), Close]]).await, NOT_ACCEPTED);
    assert_eq!(outcome(&[&[Say("not SMTP")]]).await, NOT_ACCEPTED);
}

#[tokio::test]
async fn a_refused_sender_says_nothing_of_the_reader() {
    assert_eq!(outcome(&[READY, MAIL, &[Say("451 later")]]).await, deferred(451));
    assert_eq!(outcome(&[READY, MAIL, &[Say("550 not you")]]).await, deferred(550));
    assert_eq!(outcome(&[READY, MAIL, &[Say("530 sign in first")]]).await, deferred(530));
    assert_eq!(outcome(&[READY, MAIL, &[Say("552 too large")]]).await, rejected(552));
    assert_eq!(outcome(&[READY, MAIL, &[Say("421 closing")]]).await, deferred(421));
    assert_eq!(outcome(&[READY, MAIL, &[Close]]).await, NOT_ACCEPTED);
    assert_eq!(outcome(&[READY, MAIL, &[Hang]]).await, NOT_ACCEPTED);
}

#[tokio::test]
async fn a_refused_reader_is_rejected_or_deferred() {
    assert_eq!(outcome(&[READY, MAIL, RCPT, &[Say("450 later")]]).await, deferred(450));
    assert_eq!(outcome(&[READY, MAIL, RCPT, &[Say("550 unknown")]]).await, rejected(550));
    assert_eq!(outcome(&[READY, MAIL, RCPT, &[Say("503 out of order")]]).await, deferred(503));
    assert_eq!(outcome(&[READY, MAIL, RCPT, &[Close]]).await, NOT_ACCEPTED);
}

#[tokio::test]
async fn a_data_line_that_is_not_answered_354_accepts_nothing() {
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, &[Say("451 later")]]).await, deferred(451));
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, &[Say("421 closing")]]).await, deferred(421));
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, &[Say("554 no")]]).await, rejected(554));
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, &[Say("250 out of step")]]).await, NOT_ACCEPTED);
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, &[Close]]).await, NOT_ACCEPTED);
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, &[Hang]]).await, NOT_ACCEPTED);
}

#[tokio::test]
async fn after_the_body_only_an_answer_tells() {
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, SENT, &[Say("250 ok"), Hang]]).await, ACCEPTED);
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, SENT, &[Say("451 later")]]).await, deferred(451));
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, SENT, &[Say("554 no")]]).await, rejected(554));
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, SENT, &[Close]]).await, LOST);
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, SENT, &[Say("garbage")]]).await, LOST);
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, SENT, &[Say("250-unfinished"), Close]]).await, LOST);
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, SENT, &[Say("354 out of step")]]).await, LOST);
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, SENT, &[Hang]]).await, TIMED_OUT);
    assert_eq!(outcome(&[READY, MAIL, RCPT, DATA, &[Say("354 go on"), Close]]).await, LOST);
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_is_replaced() {
    let first = [READY, MAIL, RCPT, DATA, SENT, &[Say("250 ok")]].concat();
    for farewell in [&[Say("421 idle for too long"), Close][..], &[Close]] {
        let (config, lines) = server(vec![[&first, farewell].concat(), first.clone()]).await;
        let smtp = Smtp::new(&config).unwrap();
        assert_eq!(send(&smtp, &open_window()).await, ACCEPTED);
        assert_eq!(send(&smtp, &open_window()).await, ACCEPTED);
        drop(smtp);
        assert_eq!(lines.await.unwrap().iter().filter(|line| *line == "DATA\r\n").count(), 2);
    }
}

#[tokio::test]
async fn a_connection_that_fails_before_the_body_is_not_tried_twice() {
    // A session that was never idle: the second connection of the script must stay unused.
    let (config, lines) = server(vec![[READY, MAIL, &[Close]].concat(), vec![]]).await;
    let smtp = Smtp::new(&config).unwrap();
    assert_eq!(send(&smtp, &open_window()).await, NOT_ACCEPTED);
    assert!(!lines.is_finished());
    lines.abort();
}

#[tokio::test]
async fn a_refusal_leaves_a_connection_that_is_reset_and_used_again() {
    let refused: &[Step] = &[Say("550 unknown"), Read("RSET")];
    let accepted: &[Step] = &[Say("250 ok")];
    let steps = [READY, MAIL, RCPT, refused, accepted, MAIL, RCPT, DATA, SENT, accepted, &[Hang]].concat();
    let (config, lines) = server(vec![steps]).await;
    let smtp = Smtp::new(&config).unwrap();
    assert_eq!(send(&smtp, &open_window()).await, rejected(550));
    assert_eq!(send(&smtp, &open_window()).await, ACCEPTED);
    drop(smtp);
    lines.await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_answer_defers_and_starts_nothing() {
    let (config, lines) = server(vec![[READY, MAIL, RCPT, &[Hang]].concat()]).await;
    let smtp = Smtp::new(&config).unwrap();
    smtp.prepare(1).await.unwrap();
    assert_eq!(send(&smtp, &Window::open(Duration::from_secs(1))).await, NOT_ACCEPTED);
    drop(smtp);
    assert!(!lines.await.unwrap().contains(&"DATA\r\n".to_owned()));
}

/// Our window, not their answer, ended it: nobody is deferred, and the session takes the next message.
#[tokio::test]
async fn a_window_that_passes_before_an_answer_starts_nothing_and_keeps_the_session() {
    let ok: &[Step] = &[Say("250 ok")];
    let reset: &[Step] = &[Read("RSET"), Say("250 ok")];
    let refused: &[Step] = &[Say("550 unknown")];
    let sent: &[&[Step]] = &[MAIL, RCPT, DATA, SENT, ok, &[Hang]];
    let opening: &[&[Step]] = &[&[Late], READY];
    let mail: &[&[Step]] = &[READY, MAIL, &[Late], ok, reset];
    let rcpt: &[&[Step]] = &[READY, MAIL, RCPT, &[Late], ok, reset];
    let rset: &[&[Step]] = &[READY, MAIL, RCPT, refused, &[Read("RSET"), Late], ok];
    let cases = [("opening", opening), ("MAIL", mail), ("RCPT", rcpt), ("RSET", rset)];
    let cases = cases.map(|(phase, steps)| async move {
        let (config, lines) = server(vec![[steps, sent].concat().concat()]).await;
        let smtp =
            Smtp::new(&SmtpConfig { command_timeout_seconds: 30, connect_timeout_seconds: 30, ..config });
        let smtp = smtp.unwrap();
        if phase != "opening" {
            smtp.prepare(1).await.unwrap();
        }
        if phase == "RSET" {
            assert_eq!(send(&smtp, &open_window()).await, rejected(550));
        }
        let outcome = send(&smtp, &Window::open(SHORT_WINDOW)).await;
        assert_eq!(outcome, Outcome::NotStarted, "{phase}");
        assert_eq!(send(&smtp, &open_window()).await, ACCEPTED, "{phase}");
        drop(smtp);
        assert_eq!(lines.await.unwrap().iter().filter(|line| *line == "DATA\r\n").count(), 1, "{phase}");
    });
    futures::future::join_all(cases).await;
}

#[tokio::test]
async fn a_call_ends_within_its_time_out() {
    let (config, lines) = server(vec![[READY, MAIL, RCPT, DATA, SENT, &[Hang]].concat()]).await;
    let smtp = Smtp::new(&config).unwrap();
    let window = open_window();
    let call = tokio::time::timeout(smtp.call_timeout(), send(&smtp, &window));
    assert_eq!(call.await.unwrap(), TIMED_OUT);
    drop(smtp);
    lines.await.unwrap();
}

#[tokio::test]
async fn what_a_server_says_never_reaches_a_reason() {
    for says in ["554 ada@example.org is not welcome", "ada@example.org"] {
        let (config, _lines) = server(vec![vec![Say(says)]]).await;
        let reason = Smtp::new(&config).unwrap().prepare(1).await.unwrap_err().reason;
        assert!(!reason.contains("ada"), "{reason}");
    }
}
