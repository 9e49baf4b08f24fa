//! Authorizes mails of a double opt-in. No opt-out stops them: whoever left may come back, and nobody else can do it for
//! them. What a provider said of the address does: nothing goes where mail bounces or is called spam.

use super::authorize::NewPermit;
use super::{Authorized, Lease};
use crate::subscriptions::{SubscriptionToken, let_link_count};
use crate::{CommandError, Commands, Context, reader_key};
use domain::dispatch::{Index, Refusal};
use domain::subscriber::{Subscriber, SubscriberCommand, SubscriptionRequest};
use domain::transactional::{Transactional, TransactionalCommand};
use domain::{AddressHash, SubscriberId};
use eventstore::sealing;
use eventstore::{Decided, Loaded, StoreError, append, ids, load_in};
use sqlx::PgConnection;
use std::time::Duration;

/// Of its one recipient.
const ONLY: Index = 0;

/// Who has the address.
#[derive(sqlx::FromRow)]
struct Owner {
    subscriber_id: SubscriberId,
    is_left: bool,
    is_erased: bool,
    /// When the mail was asked for already.
    erased_since: bool,
    opted_out_since: bool,
}

/// Whom the request is recorded of.
enum Person {
    Known(Box<Loaded<Subscriber>>),
    New,
    /// Whoever had the address was erased, or has another one now. Nothing is recorded before they confirm: what keeps the
    /// address suppressed must not end by a stranger's word.
    Gone,
}

impl Commands {
    /// One short transaction: whose the address is, under the gate's lock; the request in that person's stream; the
    /// permit; and from the commit on the link in this very mail counts. `made` is the word of why there is none.
    pub async fn authorize_subscription_mail(
        &self,
        lease: Lease,
        mail: Loaded<Transactional>,
        mailer: &str,
        made: Result<(SubscriptionRequest, SubscriptionToken), &'static str>,
        hold: Duration,
    ) -> Result<Authorized<Transactional>, CommandError> {
        let Some(mut tx) = self.may_send(None).await? else { return Ok(Authorized::Stopped) };
        let (mut allowed, mut suppressed, mut rejected, mut readers) = (vec![], vec![], vec![], vec![]);
        let refusal = |reason: &str| vec![Refusal { index: ONLY, reason: reason.into() }];
        match made {
            Err(reason) => rejected = refusal(reason),
            Ok((request, token)) => match find_person(&mut tx, lease, request.address_hash).await? {
                Err(reason) => suppressed = refusal(reason),
                Ok((id, person)) => {
                    match self.note_request(&mut tx, id, person, request).await {
                        Ok(()) => {}
                        Err(CommandError::Conflict) => return Ok(Authorized::Lost),
                        Err(error) => return Err(error),
                    }
                    let_link_count(&mut tx, lease.dispatch_id, id, &token).await?;
                    allowed = vec![ONLY];
                    readers = vec![reader_key(id)];
                }
            },
        }
        let permit = NewPermit { id: ids::new_id(), campaign: None, mailer, readers, hold };
        let authorize = TransactionalCommand::Authorize {
            permit_id: permit.id,
            allowed: allowed.clone(),
            suppressed,
            rejected,
        };
        self.conclude(tx, lease, mail, authorize, permit, allowed).await
    }

    /// Before the permit and the work are locked: whoever waits for those writes to nobody's stream.
    async fn note_request(
        &self,
        tx: &mut PgConnection,
        id: SubscriberId,
        person: Person,
        request: SubscriptionRequest,
    ) -> Result<(), CommandError> {
        let (loaded, keys) = match person {
            Person::Known(loaded) => (*loaded, sealing::fetch(&mut *tx, &self.store.master, &[id]).await?),
            Person::New => (Loaded::default(), sealing::create(&mut *tx, &self.store.master, &[id]).await?),
            Person::Gone => return Ok(()),
        };
        let request = SubscriberCommand::RequestSubscription(Box::new(request));
        let decided = Decided::<Subscriber>::decide(id, loaded, request).await?;
        if decided.events.is_empty() {
            return Ok(());
        }
        let events = vec![decided.into_append(&keys)?];
        let appended = append(tx, events, &Context::system("sender").metadata()).await?;
        match appended.lost.is_empty() {
            true => Ok(()),
            // Somebody was added with this address in this moment.
            false => Err(StoreError::Conflict.into()),
        }
    }
}

/// Locks in one statement and looks in the next: a statement's snapshot is older than the lock that it waited for.
async fn find_person(
    tx: &mut PgConnection,
    mail: Lease,
    address: AddressHash,
) -> Result<Result<(SubscriberId, Person), &'static str>, CommandError> {
    sqlx::query("SELECT FROM gates WHERE address_hash = $1 FOR NO KEY UPDATE")
        .bind(address.0.as_slice())
        .execute(&mut *tx)
        .await?;
    let owner: Option<Owner> = sqlx::query_as(
        "SELECT g.subscriber_id, g.is_left, k.destroyed_at IS NOT NULL AS is_erased,
             coalesce(k.destroyed_at > r.requested_at, false) AS erased_since,
             EXISTS (SELECT FROM events e
                 WHERE e.aggregate_type = 'subscriber' AND e.aggregate_id = g.subscriber_id::text
                     AND e.event_type = 'SubscriberOptedOut' AND e.recorded_at > r.requested_at) AS opted_out_since
         FROM gates g LEFT JOIN subscription_requests r ON r.dispatch_id = $2
             LEFT JOIN subject_keys k ON k.subject_id = g.subscriber_id
         WHERE g.address_hash = $1",
    )
    .bind(address.0.as_slice())
    .bind(mail.dispatch_id)
    .fetch_optional(&mut *tx)
    .await?;
    let id = match owner {
        None => return Ok(Ok((ids::new_id(), Person::New))),
        // What was asked before it ends with it.
        Some(Owner { erased_since: true, .. }) => return Ok(Err("erased")),
        Some(Owner { is_erased: true, .. } | Owner { is_left: true, .. }) => {
            return Ok(Ok((ids::new_id(), Person::Gone)));
        }
        // An opt-out takes back what was asked before it, and whoever wants it all the same asks once more.
        Some(Owner { opted_out_since: true, .. }) => return Ok(Err("opted_out")),
        Some(Owner { subscriber_id, .. }) => subscriber_id,
    };
    let loaded = load_in::<Subscriber>(tx, id).await?;
    Ok(match loaded.aggregate.unwanted {
        true => Err("unwanted"),
        false => Ok((id, Person::Known(Box::new(loaded)))),
    })
}
