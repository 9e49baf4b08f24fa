//! What was handed over, as whoever took it counts it: outside of the processes under test.

use chrono::{DateTime, Utc};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// One message that was taken.
#[derive(Debug, Clone)]
pub struct Handover {
    /// SMTP: when the DATA line came, the start of the hand-over. Outbox: when the file was written, just before.
    pub at: DateTime<Utc>,
    pub dispatch: Uuid,
    pub subscriber: Uuid,
    pub attempt: u32,
    pub file: PathBuf,
}

/// The outbox counts by its links: a name is made once and never removed.
pub struct Outbox {
    dir: PathBuf,
}

/// The content of a name that was given up; the outbox's own documentation promises it.
const TOMBSTONE: &[u8] = b"postledger-tombstone\n";

impl Outbox {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Mails, not the names that were given up.
    pub fn handovers(&self) -> Vec<Handover> {
        self.names()
            .filter(|path| std::fs::read(path).unwrap() != TOMBSTONE)
            .map(|path| named(&path))
            .collect()
    }

    /// Of mails and of names that were given up.
    pub fn count(&self) -> usize {
        self.names().count()
    }

    fn names(&self) -> impl Iterator<Item = PathBuf> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "eml"))
    }
}

/// `<dispatch>.<subscriber>.<attempt>.eml`
fn named(path: &Path) -> Handover {
    let name = path.file_name().unwrap().to_str().unwrap();
    let parts: Vec<&str> = name.split('.').collect();
    let [dispatch, subscriber, attempt, "eml"] = parts[..] else { panic!("{name} is no name of a mail") };
    Handover {
        at: path.metadata().unwrap().modified().unwrap().into(),
        dispatch: dispatch.parse().unwrap(),
        subscriber: subscriber.parse().unwrap(),
        attempt: attempt.parse().unwrap(),
        file: path.to_owned(),
    }
}
