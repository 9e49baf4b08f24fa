//! Finishes erasures: mailers forget what they keep of the erased, and then the database does. Whoever dies meanwhile leaves
//! the erasure for the next one, and of two that do the same both are right.

use super::Sender;
use commands::CommandError;

impl Sender {
    /// Works on the erasures that can be finished, if there are any.
    pub async fn step_erasures(&self) -> Result<bool, CommandError> {
        let Some(remains) = self.commands.remains().await? else { return Ok(false) };
        for mailer in self.mailers.values() {
            if let Err(down) = mailer.forget(&remains.readers).await {
                tracing::warn!(reason = down.reason, "erasures: will be tried again");
                return Ok(false);
            }
        }
        self.commands.erase_remains(&remains).await?;
        self.commands.end_erasures(remains).await?;
        Ok(true)
    }
}
