//! Keeps `index.html` in the outbox: the newest messages, to be read in a browser without any server.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Outbox;
use super::page::{self, Preview};
use super::store::{Kind, Store, TOMBSTONE};

/// How many messages the page shows.
const NEWEST_MAX: usize = 200;

/// The page is written at most this often.
const EVERY: Duration = Duration::from_secs(2);

/// After a look through a large directory the next one waits this many times as long: at most 5 % of a core.
const PAUSE_FACTOR: u32 = 20;

/// Of a larger message the page shows the beginning.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;

/// Writes the page while messages arrive or are emptied, whichever process did that.
pub struct OutboxIndex;

impl OutboxIndex {
    /// Runs until the shutdown, after which it writes the page once more.
    #[must_use]
    pub fn spawn(outbox: &Outbox, shutdown: CancellationToken) -> JoinHandle<()> {
        tokio::spawn(keep(Index::new(Arc::clone(&outbox.store)), shutdown))
    }
}

async fn keep(mut index: Index, shutdown: CancellationToken) {
    let mut failing = false;
    loop {
        let last = shutdown.is_cancelled();
        let started = Instant::now();
        let refreshed = spawn_blocking(move || {
            let result = index.refresh();
            (index, result)
        });
        let Ok((back, result)) = refreshed.await else { return };
        index = back;
        if let Err(error) = &result
            && !failing
        {
            tracing::warn!(%error, "the outbox's index could not be written");
        }
        failing = result.is_err();
        if last {
            return;
        }
        tokio::select! {
            () = sleep(EVERY.max(started.elapsed() * PAUSE_FACTOR)) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// A message's file as the directory tells of it. In this order of fields the newest is the greatest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Entry {
    seconds: i64,
    nanoseconds: i64,
    name: String,
    bytes: u64,
}

/// What the page was made of.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listing {
    newest: Vec<Entry>,
    total: usize,
}

#[derive(Debug)]
struct Index {
    store: Arc<Store>,
    listing: Listing,
    /// The directory's time of change at the last look; `None` if the next look must not rely on it.
    looked_at: Option<(i64, i64)>,
    previews: HashMap<Entry, Preview>,
    written: bool,
}

impl Index {
    fn new(store: Arc<Store>) -> Self {
        Self { store, listing: Listing::default(), looked_at: None, previews: HashMap::new(), written: false }
    }

    fn refresh(&mut self) -> io::Result<()> {
        let changed_at = self.changed_at()?;
        let same_names = self.written && changed_at.is_some() && changed_at == self.looked_at;
        if same_names && !self.touched() {
            return Ok(());
        }
        self.looked_at = changed_at;
        let listing = self.look()?;
        if !self.written || listing != self.listing {
            self.listing = listing;
            self.read_previews();
            self.write()?;
            self.written = true;
        }
        Ok(())
    }

    /// When a name was added last. Times are coarse: within a second, one more name may follow at the same time.
    fn changed_at(&self) -> io::Result<Option<(i64, i64)>> {
        let dir = fs::metadata(self.store.dir())?;
        let settled = clock_gettime(ClockId::Realtime).tv_sec - dir.mtime() > 1;
        Ok(settled.then_some((dir.mtime(), dir.mtime_nsec())))
    }

    /// Whether a listed message was emptied: the directory does not tell.
    fn touched(&self) -> bool {
        let same = |entry: &Entry| self.entry(&entry.name).is_ok_and(|now| now.as_ref() == Some(entry));
        !self.listing.newest.iter().all(same)
    }

    /// Looks through the names; reads no message.
    fn look(&self) -> io::Result<Listing> {
        let mut newest = BinaryHeap::with_capacity(NEWEST_MAX + 1);
        let mut total = 0;
        for file in fs::read_dir(self.store.dir())? {
            let Ok(name) = file?.file_name().into_string() else { continue };
            if !name.ends_with(".eml") {
                continue;
            }
            let Some(entry) = self.entry(&name)? else { continue };
            total += 1;
            newest.push(Reverse(entry));
            if newest.len() > NEWEST_MAX {
                newest.pop();
            }
        }
        let newest = newest.into_sorted_vec().into_iter().map(|Reverse(entry)| entry).collect();
        Ok(Listing { newest, total })
    }

    /// `None` for a tombstone and for what is gone.
    fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        let file = match fs::metadata(self.store.dir().join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if file.size() == TOMBSTONE.len() as u64 && self.store.kind(name)? == Some(Kind::Tombstone) {
            return Ok(None);
        }
        let (seconds, nanoseconds) = (file.mtime(), file.mtime_nsec());
        Ok(Some(Entry { seconds, nanoseconds, name: name.to_owned(), bytes: file.size() }))
    }

    /// Reads what is new on the page and forgets what is no longer on it.
    fn read_previews(&mut self) {
        let mut known = mem::take(&mut self.previews);
        for entry in &self.listing.newest {
            let preview = known.remove(entry).unwrap_or_else(|| self.read(entry));
            self.previews.insert(entry.clone(), preview);
        }
    }

    fn read(&self, entry: &Entry) -> Preview {
        let mut content = Vec::new();
        let path = self.store.dir().join(&entry.name);
        let read = File::open(path).and_then(|file| file.take(MESSAGE_BYTES_MAX).read_to_end(&mut content));
        if read.is_err() {
            content.clear();
        }
        Preview::of(&entry.name, entry.seconds, &content)
    }

    fn write(&self) -> io::Result<()> {
        let previews: Vec<_> =
            self.listing.newest.iter().filter_map(|entry| self.previews.get(entry)).collect();
        let page = page::render(&previews, self.listing.total)?;
        let temporary = self.store.temporary("index.html");
        fs::write(&temporary, page)?;
        fs::rename(&temporary, self.store.dir().join("index.html"))
    }
}
