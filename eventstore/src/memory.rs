//! What a process has seen of the log, and a file that outlives it: a database that was put back in its place bears every mark that
//! it had, and only who remembers more can tell.

use crate::restore::Seen;
use crate::{StoreError, ids};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, PoisonError, RwLock};
use tokio::task::spawn_blocking;

#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("what was seen of the log can't be written: {0}")]
    File(#[from] io::Error),
}

/// Whether a write has to outlive the machine as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    Yes,
    No,
}

#[derive(Debug, Default)]
pub struct Memory {
    /// Without one it ends with the process.
    file: OnceLock<PathBuf>,
    seen: RwLock<Option<Seen>>,
}

impl Memory {
    /// Takes up what the file says, and writes there from now on. What can't be read is no memory, and told.
    pub fn keep_in(&self, file: PathBuf) {
        match read(&file) {
            Ok(seen) => self.set(seen),
            Err(error) => {
                tracing::warn!(%error, file = %file.display(), "what was seen of the log can't be read");
            }
        }
        // A process has one.
        let _ = self.file.set(file);
    }

    pub fn seen(&self) -> Option<Seen> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is older than what is known is no news.
    pub async fn remember(&self, seen: Seen, durable: Durable) -> Result<(), MemoryError> {
        if self.seen().is_some_and(|known| known.epoch == seen.epoch && known.recorded_at > seen.recorded_at)
        {
            return Ok(());
        }
        self.set(Some(seen.clone()));
        let Some(file) = self.file.get().cloned() else { return Ok(()) };
        Ok(spawn_blocking(move || write(&file, &seen, durable)).await.map_err(StoreError::from)??)
    }

    fn set(&self, seen: Option<Seen>) {
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

fn read(file: &Path) -> io::Result<Option<Seen>> {
    match std::fs::read(file) {
        Ok(json) => serde_json::from_slice(&json).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Several may write at once: each by a name of its own, and the last one stays.
fn write(file: &Path, seen: &Seen, durable: Durable) -> io::Result<()> {
    let new = file.with_extension(format!("{}.new", ids::new_id()));
    let written = File::create(&new).and_then(|mut open| {
        open.write_all(&serde_json::to_vec(seen)?)?;
        if durable == Durable::Yes { open.sync_all() } else { Ok(()) }
    });
    let kept = written.and_then(|()| std::fs::rename(&new, file));
    if kept.is_err() {
        // What is left of it would be there for ever.
        let _ = std::fs::remove_file(&new);
    }
    kept
}
