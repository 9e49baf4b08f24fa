//! The outbox's files. Everything here blocks.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

/// The whole content of a tombstone. No message is like it: a message begins with a header field, which has a colon.
pub(super) const TOMBSTONE: &[u8] = b"postledger-tombstone\n";

/// Temporary files older than this have lost their process. A living one keeps a file for milliseconds.
const ABANDONED_AFTER_SECONDS: i64 = 3_600;

/// `prepare` fails below this much free space, so that a disk running full stops a campaign between chunks.
const FREE_BYTES_MIN: u64 = 16 << 20;
/// Mails hold addresses and links that opt out for ever: for their owner alone.
const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// The name that an attempt's message or tombstone gets.
#[must_use]
pub fn file_name(dispatch: Uuid, subscriber: Uuid, attempt: u32) -> String {
    format!("{dispatch}.{subscriber}.{attempt}.eml")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Emptied ones too: an erasure takes the content, not the fact.
    Mail,
    Tombstone,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Linked {
    New,
    Taken(Kind),
}

#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    tmp: PathBuf,
    /// Sets this process's temporary files apart: processes in containers often share the id 1.
    process: String,
    staged: AtomicU64,
    swept_at_seconds: AtomicI64,
}

/// A temporary file, durable, removed when dropped; a link to it stays.
#[derive(Debug)]
pub(super) struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // What can't be removed now is swept an hour later.
        let _ = fs::remove_file(&self.0);
    }
}

impl Store {
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let tmp = dir.join("tmp");
        DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(&tmp)?;
        let now = clock_gettime(ClockId::Realtime);
        let process = format!("{}-{}-{}", std::process::id(), now.tv_sec, now.tv_nsec);
        let (staged, swept_at_seconds) = (AtomicU64::new(0), AtomicI64::new(0));
        let store = Self { dir: dir.to_owned(), tmp, process, staged, swept_at_seconds };
        store.probe()?;
        store.sync_names()?;
        if let Some(parent) = store.dir.canonicalize()?.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(store)
    }

    pub(super) fn tmp(&self) -> &Path {
        &self.tmp
    }

    /// Writes what is to get this name into a temporary file and makes it durable.
    pub(super) fn stage(&self, name: &str, content: &[u8]) -> io::Result<Staged> {
        let (mut file, staged) = self.create(name)?;
        file.write_all(content)?;
        file.sync_all()?;
        Ok(staged)
    }

    fn create(&self, name: &str) -> io::Result<(File, Staged)> {
        let path = self.temporary(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE_FILE).open(&path)?;
        Ok((file, Staged(path)))
    }

    /// A name below `tmp/` that nobody else uses; it tells what the file is for.
    pub(super) fn temporary(&self, name: &str) -> PathBuf {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        self.tmp.join(format!("{}-{number}.{name}.tmp", self.process))
    }

    /// Gives a staged file its name, which is the start of a hand-over. Exactly one link to a name wins.
    pub(super) fn link(&self, staged: &Staged, name: &str) -> io::Result<Linked> {
        match fs::hard_link(&staged.0, self.dir.join(name)) {
            Ok(()) => Ok(Linked::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.kind(name)?.map(Linked::Taken).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// What bears that name; `None` if nothing does.
    pub(super) fn kind(&self, name: &str) -> io::Result<Option<Kind>> {
        let file = match File::open(self.dir.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut start = Vec::with_capacity(TOMBSTONE.len() + 1);
        file.take(TOMBSTONE.len() as u64 + 1).read_to_end(&mut start)?;
        Ok(Some(if start == TOMBSTONE { Kind::Tombstone } else { Kind::Mail }))
    }

    /// Makes the names durable.
    pub(super) fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// Whether a message could be written and linked now. Sweeps, once an hour.
    pub(super) fn probe(&self) -> io::Result<()> {
        self.sweep(clock_gettime(ClockId::Realtime).tv_sec)?;
        let space = rustix::fs::statvfs(&self.dir)?;
        if space.f_bavail.saturating_mul(space.f_frsize) < FREE_BYTES_MIN {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (mut file, staged) = self.create("probe")?;
        file.write_all(b"probe\n")?;
        let linked = Staged(self.temporary("probe"));
        fs::hard_link(&staged.0, &linked.0)
    }

    /// Removes what processes left that died between writing and linking. Others may be writing: their files are young.
    fn sweep(&self, now_seconds: i64) -> io::Result<()> {
        let swept_at_seconds = self.swept_at_seconds.swap(now_seconds, Ordering::Relaxed);
        if now_seconds - swept_at_seconds < ABANDONED_AFTER_SECONDS {
            self.swept_at_seconds.store(swept_at_seconds, Ordering::Relaxed);
            return Ok(());
        }
        for entry in fs::read_dir(&self.tmp)? {
            let path = entry?.path();
            let abandoned = |file: fs::Metadata| now_seconds - file.mtime() > ABANDONED_AFTER_SECONDS;
            if path.extension().is_some_and(|ext| ext == "tmp") && path.metadata().is_ok_and(abandoned) {
                // Another process may sweep at the same time.
                let _ = fs::remove_file(&path);
            }
        }
        Ok(())
    }
}
