//! The outcome of calls is told until the database takes it: the worker that made them is the only witness.

use super::describe;
use commands::CommandError;
use domain::DispatchId;
use eventstore::StoreError;
use std::time::Duration;

const RETRY: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Refusals by a database that answers: a mistake of ours, which the permit's end clears up.
const REFUSALS_MAX: u32 = 10;

/// The pauses between tries of one settlement.
pub struct Insistence {
    pause: Duration,
    refusals: u32,
}

impl Default for Insistence {
    fn default() -> Self {
        Self { pause: RETRY, refusals: 0 }
    }
}

impl Insistence {
    /// Waits before the next try, or gives an error back that no try can mend.
    pub async fn wait_after(
        &mut self,
        error: CommandError,
        dispatch: DispatchId,
    ) -> Result<(), CommandError> {
        // What cannot be read or written now cannot be later either.
        if let CommandError::Failed(StoreError::Format(_) | StoreError::Key(_)) = error {
            return Err(error);
        }
        self.refusals += u32::from(!error.is_passing());
        if self.refusals >= REFUSALS_MAX {
            return Err(error);
        }
        tracing::warn!(error = %describe(&error), dispatch.id = %dispatch, "settlement: will try again");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(RETRY_MAX);
        Ok(())
    }
}
