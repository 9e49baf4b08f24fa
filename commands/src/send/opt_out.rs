//! Authorizes mails that tell of an opt-out or an opt-in. The former are the one mail that goes to who opted out, and so have a rule of
//! their own: they go while that very opt-out is in force and is the last one, to the address that the person has now, and never
//! where mail bounces or is called spam. Those of an opt-in go while something of it is in force. All of that is looked at under the
//! gate's lock, and the permit names its reader: an erasure or another opt-out waits for it as for any other.

use super::authorize::NewPermit;
use super::{Authorized, Lease};
use crate::{CommandError, Commands, reader_key};
use domain::consent::Scope;
use domain::dispatch::{Index, Refusal};
use domain::subscriber::Subscriber;
use domain::transactional::{OptInMail, OptOutMail, Transactional, TransactionalCommand};
use domain::{AddressHash, GroupId, SubscriberId};
use eventstore::{Loaded, ids, load_in};
use sqlx::PgConnection;
use std::time::Duration;

/// Of its one recipient.
const ONLY: Index = 0;

impl Commands {
    /// `made` is the word of why there is no mail, or the address that it goes to.
    pub async fn authorize_choice_mail(
        &self,
        lease: Lease,
        dispatch: Loaded<Transactional>,
        told: Told<'_>,
        mailer: &str,
        made: Result<AddressHash, &'static str>,
        hold: Duration,
    ) -> Result<Authorized<Transactional>, CommandError> {
        let Some(mut tx) = self.may_send(None).await? else { return Ok(Authorized::Stopped) };
        let subscriber = told.subscriber();
        let refusal = |reason: &str| vec![Refusal { index: ONLY, reason: reason.into() }];
        let (mut allowed, mut suppressed, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
        match made {
            Err(reason) => rejected = refusal(reason),
            Ok(address) => {
                lock_gate(&mut tx, subscriber, address).await?;
                let person = load_in::<Subscriber>(&mut tx, subscriber).await?.aggregate;
                match told.why_not(&person) {
                    Some(reason) => suppressed = refusal(reason),
                    None if person.address_hash == Some(address) => allowed = vec![ONLY],
                    // It waits, and is made anew for the address that they have by now.
                    None => {}
                }
            }
        }
        let readers = vec![reader_key(subscriber)];
        let permit = NewPermit { id: ids::new_id(), campaign: None, mailer, readers, hold };
        let authorize = TransactionalCommand::Authorize {
            permit_id: permit.id,
            allowed: allowed.clone(),
            suppressed,
            rejected,
        };
        self.conclude(tx, lease, dispatch, authorize, permit, allowed).await
    }
}

/// Whoever opts in or out, changes the address or is erased sets this row.
async fn lock_gate(
    tx: &mut PgConnection,
    subscriber: SubscriberId,
    address: AddressHash,
) -> Result<(), CommandError> {
    sqlx::query("SELECT FROM gates WHERE address_hash = $1 AND subscriber_id = $2 FOR NO KEY UPDATE")
        .bind(address.0.as_slice())
        .bind(subscriber)
        .execute(tx)
        .await?;
    Ok(())
}

/// What such a mail tells of.
#[derive(Clone, Copy)]
pub enum Told<'a> {
    OptOut(&'a OptOutMail),
    OptIn(&'a OptInMail),
}

impl<'a> Told<'a> {
    pub fn subscriber(self) -> SubscriberId {
        match self {
            Self::OptOut(mail) => mail.subscriber_id,
            Self::OptIn(mail) => mail.subscriber_id,
        }
    }

    pub fn scope(self) -> &'a Scope {
        match self {
            Self::OptOut(mail) => &mail.scope,
            Self::OptIn(mail) => &mail.scope,
        }
    }

    fn why_not(self, person: &Subscriber) -> Option<&'static str> {
        match self {
            Self::OptOut(mail) => why_not_of_opt_out(mail, person),
            Self::OptIn(mail) => why_not_of_opt_in(mail, person),
        }
    }
}

fn why_not_of_opt_in(mail: &OptInMail, person: &Subscriber) -> Option<&'static str> {
    let holds = !person.global_opt_out
        && match &mail.scope {
            Scope::Global => true,
            Scope::Groups(groups) => groups.iter().any(|group| person.is_subscribed(*group)),
        };
    match () {
        () if person.address.is_none() => Some("erased"),
        () if person.unwanted => Some("unwanted"),
        () if !holds => Some("opted_out_again"),
        () => None,
    }
}

fn why_not_of_opt_out(mail: &OptOutMail, person: &Subscriber) -> Option<&'static str> {
    let is_out = |group: &GroupId| person.groups.get(group) == Some(&None);
    let holds = match &mail.scope {
        Scope::Global => person.global_opt_out,
        Scope::Groups(groups) => person.global_opt_out || groups.iter().any(is_out),
    };
    let is_last = person.opted_out.as_ref().is_some_and(|last| last.sequence == mail.opt_out);
    match () {
        () if person.address.is_none() => Some("erased"),
        () if person.unwanted => Some("unwanted"),
        () if !is_last => Some("superseded"),
        () if !holds => Some("opted_in_again"),
        () => None,
    }
}
