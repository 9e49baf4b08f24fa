use super::{lock, record, sessions, set_version};
use crate::account_mails::forget_links;
use crate::passwords::Password;
use crate::{CommandError, Commands, Context};
use chrono::{DateTime, Utc};
use domain::UserId;
use domain::session::{EndReason, Refusal};
use domain::user::{User, UserCommand};
use domain::visit::Visit;
use eventstore::sealing::SubjectKeys;

impl Commands {
    /// Changes a user's own password, who proves to know the present one. Ends all their sessions.
    pub async fn change_password(
        &self,
        context: &Context,
        user: UserId,
        present: Password,
        new: Password,
        visit: Visit,
    ) -> Result<(), CommandError> {
        let stored: Option<(String, DateTime<Utc>)> =
            sqlx::query_as("SELECT phc, changed_at FROM passwords WHERE user_id = $1")
                .bind(user)
                .fetch_optional(&self.store.pool)
                .await?;
        let (phc, changed_at) = stored.unzip();
        if !self.passwords.verify(present, phc.as_deref()).await?.matches {
            // Who guesses with a stolen token leaves a trace, as at the door.
            self.refuse(context, Some(user), Refusal::WrongPassword, visit).await?;
            return Err(CommandError::invalid("current_password", "is not your password"));
        }
        let phc = self.passwords.hash(new).await?;
        let mut tx = self.store.pool.begin().await?;
        lock(&mut tx, user).await?;
        let changed = sqlx::query(
            "UPDATE passwords SET phc = $2, changed_at = clock_timestamp() WHERE user_id = $1 AND changed_at = $3",
        )
        .bind(user)
        .bind(phc)
        .bind(changed_at)
        .execute(&mut *tx)
        .await?;
        if changed.rows_affected() == 0 {
            return Err(CommandError::Conflict);
        }
        let recorded =
            record::<User>(&mut tx, user, &SubjectKeys::new(), UserCommand::SetPassword, context).await?;
        set_version(&mut tx, user, recorded.version).await?;
        forget_links(&mut tx, user).await?;
        let all = sessions::lock_all(&mut tx, user).await?;
        sessions::end(&mut tx, &all, EndReason::PasswordChanged, context).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(())
    }
}
