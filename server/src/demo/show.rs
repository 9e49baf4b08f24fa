//! What the demonstration prints.

use std::time::{Duration, Instant};

use anyhow::ensure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::answers::Report;

/// A progress bar that also notices when nothing moves any more. It is not drawn in CI or without a terminal.
pub struct Bar {
    drawn: ProgressBar,
    name: String,
    last: (u64, u64),
    moved: Instant,
}

impl Bar {
    pub fn new(name: &str, length: u64) -> Self {
        let drawn = ProgressBar::new(length).with_message(name.to_owned());
        if std::env::var_os("CI").is_some() {
            drawn.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{msg:14} {wide_bar} {pos:>6}/{len:<6} {elapsed:>4}")
        {
            drawn.set_style(style);
        }
        Self { drawn, name: name.to_owned(), last: (length, 0), moved: Instant::now() }
    }

    pub fn set(&mut self, length: u64, position: u64) {
        if self.last != (length, position) {
            self.last = (length, position);
            self.moved = Instant::now();
        }
        // An empty bar, and not a full one, as long as the length is not known.
        self.drawn.set_length(length.max(1));
        self.drawn.set_position(position);
    }

    pub async fn wait(&self, pause: Duration, stalled_after: Duration) -> anyhow::Result<()> {
        let (length, position) = self.last;
        ensure!(
            self.moved.elapsed() < stalled_after,
            "{} stands at {position} of {length} for {} s: see the server's log",
            self.name,
            stalled_after.as_secs()
        );
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.drawn.finish_and_clear();
    }
}

pub fn reports(rows: &[(&str, &Report)]) {
    println!(
        "\n{:14} {:>8} {:>8} {:>10} {:>8} {:>7} {:>9} {:>7}",
        "", "planned", "accepted", "suppressed", "rejected", "unknown", "cancelled", "pending"
    );
    for (name, r) in rows {
        println!(
            "{name:14} {:>8} {:>8} {:>10} {:>8} {:>7} {:>9} {:>7}",
            r.planned, r.accepted, r.suppressed, r.rejected, r.unknown, r.cancelled, r.pending
        );
    }
    println!();
}
