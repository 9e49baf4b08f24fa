//! What an erasure leaves outside the person's own events, whose key is destroyed with it: mails in the outbox, requests for
//! mails outside campaigns, which have keys of their own, and the address cells of rows that an import rejected.
//!
//! `erasures` names the people who are not done with. All that is known of their addresses by then are keyed hashes, so
//! what was sealed for nobody in particular is opened and looked through. Every step may be repeated.

use crate::{CommandError, Commands, imports, permits};
use domain::{AddressHash, DispatchId, EmailAddress, SubscriberId};
use eventstore::{ids, sealing, snapshots};
use sqlx::types::Json;
use std::collections::HashSet;
use uuid::Uuid;

/// People whom one look through everything is made for.
const AT_ONCE: i64 = 500;

/// Of all addresses that erased people ever had.
const HASHES: &str = "
    SELECT r.subscriber_id, r.recorded_at AS erased_at, e.payload -> e.event_type -> 'address_hash' AS hash
    FROM erasures r JOIN events e ON e.aggregate_type = 'subscriber' AND e.aggregate_id = r.subscriber_id::text
    WHERE r.subscriber_id = ANY($1) AND e.payload -> e.event_type ? 'address_hash'";

/// People of whom something may be left.
#[derive(Debug, Clone, PartialEq)]
pub struct Remains {
    subscribers: Vec<SubscriberId>,
    /// Of all addresses that they ever had.
    hashes: HashSet<AddressHash>,
    /// Who they are in the names of mails.
    pub readers: HashSet<Uuid>,
}

/// A mail outside campaigns to one of a person's addresses, or filled with their fields.
#[derive(sqlx::FromRow)]
struct Mail {
    subscriber_id: SubscriberId,
    dispatch_id: DispatchId,
    /// Of all its recipients.
    address_hashes: Json<Vec<AddressHash>>,
    /// It is a test, filled with their fields.
    shows_them: bool,
    is_pending: bool,
}

impl Mail {
    /// What stands for these people in the names of its files. A test that shows one of them is theirs, whoever got it.
    fn readers<'a>(&'a self, hashes: &'a HashSet<AddressHash>) -> impl Iterator<Item = Uuid> + 'a {
        let is_theirs = |recipient: &AddressHash| self.shows_them || hashes.contains(recipient);
        let theirs = (0..).zip(&self.address_hashes.0).filter(move |(_, recipient)| is_theirs(recipient));
        theirs.map(|(place, _)| ids::recipient_id(self.dispatch_id, place))
    }
}

impl Commands {
    /// The subscriber who has, or had, this address.
    pub async fn subscriber_at(&self, address: &EmailAddress) -> Result<Option<SubscriberId>, CommandError> {
        let hash = self.store.master.address_hash(address);
        Ok(sqlx::query_scalar("SELECT subscriber_id FROM gates WHERE address_hash = $1")
            .bind(hash.0.as_slice())
            .fetch_optional(&self.store.pool)
            .await?)
    }

    /// Whether something of this person may still lie outside their events.
    pub async fn has_remains(&self, id: SubscriberId) -> Result<bool, CommandError> {
        Ok(sqlx::query_scalar("SELECT EXISTS (SELECT FROM erasures WHERE subscriber_id = $1)")
            .bind(id)
            .fetch_one(&self.store.pool)
            .await?)
    }

    /// Erased people of whom nothing new can be written any more: no mail to them is under way, and imports that were
    /// uploaded before have ended. Mails outside campaigns that were requested before lose the keys of their addresses, so
    /// that those that wait are given up.
    pub async fn remains(&self) -> Result<Option<Remains>, CommandError> {
        let mut subscribers: Vec<SubscriberId> = sqlx::query_scalar(
            "SELECT subscriber_id FROM erasures e
             WHERE NOT EXISTS (
                 SELECT FROM imports i
                 WHERE i.status IN ('spooling', 'queued', 'running') AND i.created_at < e.recorded_at)
             ORDER BY tried_at NULLS FIRST, recorded_at LIMIT $1",
        )
        .bind(AT_ONCE)
        .fetch_all(&self.store.pool)
        .await?;
        // Closed gates open no more permits of them: they come to an end.
        if !permits::open_for_readers(&self.store.pool, &subscribers).await?.is_empty() {
            self.look_at_others_first(&subscribers).await?;
            return Ok(None);
        }
        let mails = self.end_mails(&subscribers).await?;
        let waiting: HashSet<SubscriberId> =
            mails.iter().filter(|mail| mail.is_pending).map(|mail| mail.subscriber_id).collect();
        self.look_at_others_first(&Vec::from_iter(waiting.iter().copied())).await?;
        subscribers.retain(|subscriber| !waiting.contains(subscriber));
        if subscribers.is_empty() {
            return Ok(None);
        }
        let hashes = self.hashes_of(&subscribers).await?;
        let mailed = mails.iter().flat_map(|mail| mail.readers(&hashes));
        let readers = subscribers.iter().copied().chain(mailed).collect();
        Ok(Some(Remains { subscribers, hashes, readers }))
    }

    /// Something of these people is under way, and others may be done before it ends.
    async fn look_at_others_first(&self, subscribers: &[SubscriberId]) -> Result<(), CommandError> {
        if subscribers.is_empty() {
            return Ok(());
        }
        sqlx::query("UPDATE erasures SET tried_at = clock_timestamp() WHERE subscriber_id = ANY($1)")
            .bind(subscribers)
            .execute(&self.store.pool)
            .await?;
        Ok(())
    }

    /// Destroys the keys of mails outside campaigns that were requested for these people before their erasure, then looks which
    /// of them have not ended: with its key gone, a mail that was not made yet never is.
    async fn end_mails(&self, subscribers: &[SubscriberId]) -> Result<Vec<Mail>, CommandError> {
        let mails = self.mails_to(subscribers).await?;
        let keys: Vec<Uuid> = mails.iter().map(|mail| mail.dispatch_id).collect();
        sealing::destroy(&self.store.pool, &keys).await?;
        self.mails_to(subscribers).await
    }

    /// Those of accounts are to users, and not among them.
    async fn mails_to(&self, subscribers: &[SubscriberId]) -> Result<Vec<Mail>, CommandError> {
        let mails = format!(
            "SELECT DISTINCT h.subscriber_id, e.aggregate_id::uuid AS dispatch_id,
                 coalesce(e.payload -> e.event_type -> 'address_hashes',
                     jsonb_build_array(e.payload -> e.event_type -> 'address_hash')) AS address_hashes,
                 e.payload -> e.event_type @> jsonb_build_object('shown', jsonb_build_object('subscriber', h.subscriber_id))
                     AS shows_them,
                 EXISTS (SELECT FROM dispatch_work w
                         WHERE w.dispatch_id = e.aggregate_id::uuid AND w.pending > 0) AS is_pending
             FROM ({HASHES}) h JOIN events e ON e.payload -> e.event_type @> jsonb_build_object('address_hash', h.hash)
                 OR e.payload -> e.event_type @> jsonb_build_object('address_hashes', jsonb_build_array(h.hash))
                 OR e.payload -> e.event_type @> jsonb_build_object('shown', jsonb_build_object('subscriber', h.subscriber_id))
             WHERE e.aggregate_type = 'transactional' AND e.sequence = 1
               AND e.event_type <> 'AccountMailRequested' AND e.recorded_at < h.erased_at"
        );
        Ok(sqlx::query_as(&mails).bind(subscribers).fetch_all(&self.store.pool).await?)
    }

    async fn hashes_of(&self, subscribers: &[SubscriberId]) -> Result<HashSet<AddressHash>, CommandError> {
        let hashes: Vec<Json<AddressHash>> = sqlx::query_scalar(&format!("SELECT hash FROM ({HASHES}) h"))
            .bind(subscribers)
            .fetch_all(&self.store.pool)
            .await?;
        Ok(hashes.into_iter().map(|hash| hash.0).collect())
    }

    /// Erases what is left in the database.
    pub async fn erase_remains(&self, remains: &Remains) -> Result<(), CommandError> {
        snapshots::forget(&self.store.pool, &remains.subscribers).await?;
        imports::erase_rejected(&self.store, &remains.hashes).await
    }

    /// Nothing is left of these people.
    pub async fn end_erasures(&self, remains: Remains) -> Result<(), CommandError> {
        sqlx::query("DELETE FROM erasures WHERE subscriber_id = ANY($1)")
            .bind(&remains.subscribers)
            .execute(&self.store.pool)
            .await?;
        tracing::info!(people = remains.subscribers.len(), "erasures completed");
        Ok(())
    }
}
