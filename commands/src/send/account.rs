//! Authorizes mails of accounts. No opt-out stops them: who asked for a link, or was invited, is no reader.

use super::authorize::NewPermit;
use super::{Authorized, Lease};
use crate::account_mails::{AccountToken, let_link_count};
use crate::{CommandError, Commands};
use domain::UserId;
use domain::dispatch::{Index, Refusal};
use domain::transactional::{Transactional, TransactionalCommand};
use eventstore::{Loaded, StoreError, ids, sealing};
use std::time::Duration;

/// Of its one recipient.
const ONLY: Index = 0;

impl Commands {
    /// The address of a user; none where it cannot be read any more.
    pub async fn address_of(&self, user: UserId) -> Result<Option<String>, CommandError> {
        let address = self.user(user).await?.address;
        let keys = sealing::fetch(&self.store.pool, &self.store.master, &[user]).await?;
        let opened = keys.get(&user).map(|key| key.open("address", &address)).transpose();
        Ok(opened.map_err(StoreError::from)?)
    }

    /// One short transaction: the permit, the event, and from its commit on it is the link in this very mail that counts.
    /// `made`: the token of the mail, or by its word why there is none.
    pub async fn authorize_account_mail(
        &self,
        lease: Lease,
        mail: Loaded<Transactional>,
        mailer: &str,
        made: Result<AccountToken, &'static str>,
        hold: Duration,
    ) -> Result<Authorized<Transactional>, CommandError> {
        let Some(mut tx) = self.may_send(None).await? else { return Ok(Authorized::Stopped) };
        let refusal = |reason: &str| vec![Refusal { index: ONLY, reason: reason.into() }];
        let (mut allowed, mut suppressed, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
        match made {
            Ok(token) if let_link_count(&mut tx, lease.dispatch_id, &token).await? => allowed = vec![ONLY],
            Ok(_) => suppressed = refusal("superseded"),
            Err(reason) => rejected = refusal(reason),
        }
        let permit = NewPermit { id: ids::new_id(), campaign: None, mailer, readers: Vec::new(), hold };
        let authorize = TransactionalCommand::Authorize {
            permit_id: permit.id,
            allowed: allowed.clone(),
            suppressed,
            rejected,
        };
        self.conclude(tx, lease, mail, authorize, permit, allowed).await
    }
}
