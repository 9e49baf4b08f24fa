//! The outcome of calls is told until the database takes it: the worker that made them is the only witness.

use super::describe;
use commands::CommandError;
use domain::DispatchId;
use eventstore::StoreError;
use std::time::Duration;

const RETRY: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The pauses between tries of one settlement.
pub struct Insistence(Duration);

impl Default for Insistence {
    fn default() -> Self {
        Self(RETRY)
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
        tracing::warn!(error = %describe(&error), dispatch.id = %dispatch, "settlement: will try again");
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(RETRY_MAX);
        Ok(())
    }
}
