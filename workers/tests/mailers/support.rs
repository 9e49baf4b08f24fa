//! What the tests of the mailers share.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use uuid::Uuid;
use workers::mailers::{Outgoing, SmtpConfig, TlsMode};
use workers::window::Window;

pub const DEADLINE: Duration = Duration::from_secs(30);

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e/smtp_ledger.py");

/// A directory that is removed with its value.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mailers-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The SMTP server with a ledger, a process of its own.
pub struct Ledger {
    process: Child,
    dir: TempDir,
    pub port: u16,
    pub cert: Option<PathBuf>,
}

impl Ledger {
    pub fn start(arguments: &[&str]) -> Self {
        let dir = TempDir::new();
        let mut process = Command::new("/usr/bin/python3")
            .arg(SCRIPT)
            .arg("--ledger")
            .arg(dir.path().join("ledger"))
            .arg("--messages")
            .arg(dir.path().join("messages"))
            .arg("--until-stdin-closes")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("/usr/bin/python3 runs e2e/smtp_ledger.py: './run test' installs what it needs");
        let (cert, port) = first_words(&mut process);
        Self { process, dir, port, cert }
    }

    /// Without encryption, and with time-outs that a test can wait for.
    pub fn config(&self) -> SmtpConfig {
        plain_config(self.port)
    }

    pub fn entries(&self) -> Vec<Value> {
        let ledger = fs::read_to_string(self.dir.path().join("ledger")).unwrap_or_default();
        ledger.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The only message that was accepted.
    pub fn message(&self) -> Vec<u8> {
        let entries = self.entries();
        assert_eq!(entries.len(), 1);
        fs::read(entries[0]["file"].as_str().unwrap()).unwrap()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads what the server prints once it listens, and panics with its own words if it does not.
fn first_words(process: &mut Child) -> (Option<PathBuf>, u16) {
    let (sender, lines) = mpsc::channel();
    let stdout = process.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut cert = None;
    let deadline = Instant::now() + DEADLINE;
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        match line.split_once(' ') {
            Some(("cert", path)) => cert = Some(PathBuf::from(path)),
            Some(("port", port)) => return (cert, port.parse().unwrap()),
            _ => panic!("unexpected: {line}"),
        }
    }
    let _ = process.kill();
    let mut why = String::new();
    let _ = process.stderr.take().unwrap().read_to_string(&mut why);
    panic!("the SMTP server did not start: {why}");
}

pub fn plain_config(port: u16) -> SmtpConfig {
    SmtpConfig {
        host: "127.0.0.1".into(),
        port,
        tls: TlsMode::None,
        connect_timeout_seconds: 5,
        command_timeout_seconds: 2,
        message_timeout_seconds: 5,
        ..SmtpConfig::default()
    }
}

/// A message to a reader; the number makes the ids.
pub fn outgoing(number: u128, to: &str) -> Outgoing {
    let (dispatch, subscriber) = (Uuid::from_u128(1), Uuid::from_u128(number));
    let message = format!(
        "From: News <news@example.org>\r\nTo: <{to}>\r\nSubject: Message {number}\r\n\
         Message-ID: <{number}@example.org>\r\nX-Postledger-Dispatch: {dispatch}\r\n\
         X-Postledger-Subscriber: {subscriber}\r\nX-Postledger-Attempt: 1\r\n\
         X-Postledger-Campaign: {dispatch}\r\n\r\nHello\r\n"
    );
    Outgoing {
        dispatch,
        subscriber,
        attempt: 1,
        envelope_from: "bounces@example.org".into(),
        envelope_to: to.into(),
        message: message.into_bytes(),
    }
}

/// A window wide enough for any test.
pub fn open_window() -> Window {
    Window::open(Duration::from_secs(60))
}

/// A window that has passed.
pub async fn passed_window() -> Window {
    let window = Window::open(Duration::from_micros(1));
    until("the window passes", || window.is_late()).await;
    window
}

/// Waits for a condition; panics at the deadline.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
