//! Gives up uploads that nobody completes, and removes files that nobody wants: what a request could not do, and what came
//! after it.

use crate::sender::describe;
use chrono::{DateTime, Utc};
use commands::{CommandError, Commands};
use eventstore::clock;
use media::Files;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_secs(60);
/// Of each kind in one go; the next follows at once.
const BATCH_MAX: i64 = 100;

pub struct MediaSweeper {
    pub commands: Commands,
    pub files: Arc<Files>,
}

impl MediaSweeper {
    /// Any number of them may run.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.sweep(clock::now()).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(error = %describe(&error), "media: will be swept again"),
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Whether there is more to do at once. A store that does not answer is asked again after the interval.
    pub async fn sweep(&self, now: DateTime<Utc>) -> Result<bool, CommandError> {
        let expired = match self.commands.expire_media(now, BATCH_MAX).await {
            Ok(expired) => expired,
            Err(error) => {
                tracing::warn!(error = %describe(&error), "media: uploads will be given up later");
                0
            }
        };
        let unwanted = self.commands.unwanted_files(now, BATCH_MAX).await?;
        let is_full = |count: usize| count as i64 == BATCH_MAX;
        for file in &unwanted {
            if let Err(error) = self.files.remove(&file.key, file.again).await {
                tracing::warn!(media.id = %file.media_id, %error, "a file will be removed later");
                // Or it would be the first next time as well, and those after it would stay for as long as it does.
                self.commands.note_tried(file.media_id, now).await?;
                return Ok(false);
            }
            self.commands.note_removed(file.media_id, now).await?;
        }
        Ok(is_full(expired) || is_full(unwanted.len()))
    }
}
