//! The SMTP server with a ledger, `smtp_ledger.py`, as a process of its own.

use crate::eventually;
use crate::ledger::Handover;
use crate::process::Process;
use crate::temp::TempDir;
use chrono::DateTime;
use serde::Deserialize;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use uuid::Uuid;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/smtp_ledger.py");
const STARTS_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Default)]
pub struct SmtpOptions {
    /// Before an accepted message is answered.
    pub delay: Duration,
    /// `tempfail=rcpt:451:1`: see the script.
    pub rules: &'static [&'static str],
    /// `USER:PASSWORD`, which it then asks for.
    pub sign_in: Option<&'static str>,
}

pub struct Smtp {
    process: Option<Process>,
    options: SmtpOptions,
    dir: TempDir,
    /// The same when it is started again.
    pub port: u16,
}

#[derive(Deserialize)]
struct Line {
    data_at: f64,
    dispatch: Uuid,
    /// Not of test mails: those are to nobody's own.
    subscriber: Option<Uuid>,
    attempt: String,
    file: PathBuf,
}

impl Smtp {
    pub async fn start(options: SmtpOptions) -> Self {
        let mut server = Self { process: None, options, dir: TempDir::new("smtp"), port: 0 };
        server.start_again().await;
        server
    }

    /// Goes on with the same ledger, after [`Smtp::kill`].
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "the SMTP server runs already");
        let log = self.dir.path().join("log");
        let _ = std::fs::remove_file(&log);
        let python = std::env::var("POSTLEDGER_TEST_PYTHON").unwrap_or_else(|_| "/usr/bin/python3".into());
        let mut command = Command::new(python);
        command
            .arg(SCRIPT)
            .args(["--until-stdin-closes", "--port", &self.port.to_string()])
            .arg("--ledger")
            .arg(self.ledger())
            .arg("--messages")
            .arg(self.dir.path().join("messages"))
            .args(["--delay-before-accept", &self.options.delay.as_secs_f64().to_string()]);
        if let Some(sign_in) = self.options.sign_in {
            command.args(["--auth", sign_in]);
        }
        for rule in self.options.rules {
            command.args(["--fail", rule]);
        }
        let mut process = Process::start("the SMTP server", &mut command, &log);
        self.port = eventually(
            "the SMTP server listens (it needs a Python with aiosmtpd)",
            STARTS_WITHIN,
            async || {
                let said = std::fs::read_to_string(&log).unwrap();
                if let Some(status) = process.ended() {
                    panic!("the SMTP server ended: {status}: {said}");
                }
                let line = said.lines().find_map(|line| line.strip_prefix("port "))?;
                Some(line.parse().unwrap())
            },
        )
        .await;
        self.process = Some(process);
    }

    /// kill -9: connections break off wherever they are. What it had accepted is in the ledger.
    pub fn kill(&mut self) {
        drop(self.process.take().expect("the SMTP server runs"));
    }

    /// Everything that was accepted, in that order.
    pub fn handovers(&self) -> Vec<Handover> {
        let ledger = std::fs::read_to_string(self.ledger()).unwrap_or_default();
        // A line without its end is being written.
        let end = ledger.rfind('\n').map_or(0, |end| end + 1);
        ledger[..end].lines().map(handover).collect()
    }

    /// How many messages were accepted.
    pub fn count(&self) -> usize {
        let ledger = std::fs::read(self.ledger()).unwrap_or_default();
        ledger.iter().filter(|byte| **byte == b'\n').count()
    }

    fn ledger(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }
}

fn handover(line: &str) -> Handover {
    let line: Line = serde_json::from_str(line).unwrap_or_else(|error| panic!("the ledger: {error}: {line}"));
    Handover {
        at: DateTime::from_timestamp_micros((line.data_at * 1e6) as i64).unwrap(),
        dispatch: line.dispatch,
        subscriber: line.subscriber.unwrap_or_default(),
        attempt: line.attempt.parse().unwrap(),
        file: line.file,
    }
}
