//! A link that lets somebody choose a password. Its secret is drawn here, for one attempt: a mail that did not go leaves
//! nothing that opens anything.

use super::Sender;
use super::single::{Made, ONLY, Single, parted, unless_unreadable};
use super::transactional::Decided;
use crate::mailers::{Mailer, Outgoing};
use crate::window::Window;
use commands::send::Lease;
use commands::{AccountToken, CommandError};
use domain::DispatchId;
use domain::transactional::{AccountMail, AccountMailKind, Transactional};
use eventstore::Loaded;
use mail::Address;
use mail::account::{self, Letter};

/// Where the links lead: pages with a form, which post the link's token.
#[derive(Debug, Clone)]
pub struct AccountPages {
    pub password_reset: String,
    pub invitation: String,
}

impl AccountPages {
    /// The token is base64url: nothing in it needs to be escaped.
    fn link(&self, kind: AccountMailKind, token: &str) -> String {
        let page = match kind {
            AccountMailKind::PasswordReset => &self.password_reset,
            AccountMailKind::Invitation => &self.invitation,
        };
        let separator = if page.contains('?') { '&' } else { '?' };
        format!("{page}{separator}token={token}")
    }
}

impl Sender {
    pub(super) async fn decide_on_account(
        &self,
        lease: Lease,
        dispatch: Loaded<Transactional>,
        mail: &AccountMail,
        mailer: &dyn Mailer,
    ) -> Result<Decided, CommandError> {
        let attempt = dispatch.aggregate.recipients.first().map_or(0, |recipient| recipient.attempts) + 1;
        let made = self.make_account_mail(lease.dispatch_id, mail, attempt).await;
        let made = unless_unreadable(lease.dispatch_id, made)?;
        let window = Window::open(self.commands.timing.window);
        let (name, hold) = (mailer.name(), self.hold(mailer));
        let (token, mails) = parted(made);
        let authorized = self.commands.authorize_account_mail(lease, dispatch, name, token, hold).await?;
        Ok(Decided { mails, window, authorized })
    }

    async fn make_account_mail(
        &self,
        dispatch: DispatchId,
        mail: &AccountMail,
        attempt: u16,
    ) -> Result<Made<AccountToken>, CommandError> {
        let Some(user) = mail.user_id else { return Ok(Err("no_user")) };
        let Some(address) = self.commands.address_of(user).await? else {
            return Ok(Err("erased"));
        };
        let token = AccountToken::draw(mail.kind)?;
        let outgoing = self.account_mail(dispatch, mail.kind, attempt, address, &token);
        Ok(outgoing.map(|outgoing| (token, outgoing)))
    }

    fn account_mail(
        &self,
        dispatch: DispatchId,
        kind: AccountMailKind,
        attempt: u16,
        address: String,
        token: &AccountToken,
    ) -> Result<Outgoing, &'static str> {
        let link = self.settings.account_pages.link(kind, token.text());
        let letter = Letter { sender: self.sender_name(), email: &address, link: &link };
        let written = match kind {
            AccountMailKind::PasswordReset => account::password_reset(&letter),
            AccountMailKind::Invitation => account::invitation(&letter),
        };
        let to = Address { email: address, name: None };
        self.single(Single { kind: kind.as_str(), dispatch, index: ONLY, attempt, to, list: None }, &written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_have_a_query_of_its_own() {
        let pages = AccountPages {
            password_reset: "https://a.example/reset".into(),
            invitation: "https://a.example/?page=join".into(),
        };
        let link = |kind| pages.link(kind, "t");
        assert_eq!(link(AccountMailKind::PasswordReset), "https://a.example/reset?token=t");
        assert_eq!(link(AccountMailKind::Invitation), "https://a.example/?page=join&token=t");
    }
}
