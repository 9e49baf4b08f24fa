//! Passwords that are chosen by the link of a mail.

use super::{record, sessions, set_version};
use crate::account_mails::spend_link;
use crate::passwords::Password;
use crate::{CommandError, Commands, Context};
use domain::UserId;
use domain::session::{EndReason, Refusal};
use domain::transactional::AccountMailKind;
use domain::user::{User, UserCommand};
use domain::visit::Visit;
use eventstore::sealing;

/// The same for a link that never was, is over, was used, or is of another kind.
const REFUSED: CommandError = CommandError::Unauthorized("the link is not valid any more: ask for a new one");

impl Commands {
    /// Ends all sessions of the link's user, and answers who that is.
    pub async fn choose_password(
        &self,
        context: &Context,
        kind: AccountMailKind,
        token: &str,
        new: Password,
        visit: Visit,
    ) -> Result<UserId, CommandError> {
        // Only who holds a link gets a turn to hash.
        if self.account_link(kind, token).await?.is_none() {
            self.refuse(context, None, Refusal::WrongToken, visit).await?;
            return Err(REFUSED);
        }
        let phc = self.passwords.hash(new).await?;
        match self.spend_for_password(context, kind, token, phc, visit.clone()).await {
            Err(CommandError::Unauthorized(_)) => {
                self.refuse(context, None, Refusal::WrongToken, visit).await?;
                Err(REFUSED)
            }
            other => other,
        }
    }

    async fn spend_for_password(
        &self,
        context: &Context,
        kind: AccountMailKind,
        token: &str,
        phc: String,
        visit: Visit,
    ) -> Result<UserId, CommandError> {
        let mut tx = self.store.pool.begin().await?;
        let user = spend_link(&mut tx, kind, token).await?.ok_or(REFUSED)?;
        let context = Context { actor: format!("user:{user}"), ..context.clone() };
        let set = "INSERT INTO passwords (user_id, phc) VALUES ($1, $2)
                   ON CONFLICT (user_id) DO UPDATE SET phc = $2, changed_at = clock_timestamp()";
        sqlx::query(set).bind(user).bind(phc).execute(&mut *tx).await?;
        let command = match kind {
            AccountMailKind::PasswordReset => UserCommand::ResetPassword { visit },
            AccountMailKind::Invitation => UserCommand::AcceptInvitation { visit },
        };
        let keys = sealing::fetch(&mut *tx, &self.store.master, &[user]).await?;
        let recorded =
            record::<User>(&mut tx, user, &keys, command, &context).await.map_err(|error| match error {
                // Disabled since the link was looked at.
                CommandError::Forbidden { .. } => REFUSED,
                other => other,
            })?;
        set_version(&mut tx, user, recorded.version).await?;
        let all = sessions::lock_all(&mut tx, user).await?;
        sessions::end(&mut tx, &all, EndReason::PasswordChanged, &context).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(user)
    }
}
