//! What an erasure leaves outside the person's own events, whose key is destroyed with it: mails in the outbox, requests for
//! mails outside campaigns, which have keys of their own, and the address cells of rows that an import rejected.
//!
//! `erasures` names the people who are not done with. All that is known of their addresses by then are keyed hashes, so
//! what was sealed for nobody in particular is opened and looked through. Every step may be repeated.

use crate::{CommandError, Commands, imports, permits};
use domain::{AddressHash, EmailAddress, SubscriberId};
use eventstore::{ids, sealing};
use sqlx::types::Json;
use std::collections::HashSet;
use uuid::Uuid;

/// People whom one look through everything is made for.
const AT_ONCE: i64 = 500;

/// Of all addresses that erased people ever had.
const HASHES: &str = "
    SELECT e.payload -> e.event_type -> 'address_hash' AS hash, r.recorded_at AS erased_at
    FROM erasures r JOIN events e ON e.aggregate_type = 'subscriber' AND e.aggregate_id = r.subscriber_id::text
    WHERE r.subscriber_id = ANY($1) AND e.payload -> e.event_type ? 'address_hash'";

/// People of whom something may be left.
#[derive(Debug, Clone, PartialEq)]
pub struct Remains {
    subscribers: Vec<SubscriberId>,
    /// Of all addresses that they ever had.
    hashes: HashSet<AddressHash>,
    /// Mails outside campaigns to one of these addresses.
    mails: Vec<Uuid>,
    /// Who they are in the names of mails.
    pub readers: HashSet<Uuid>,
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
    /// uploaded before have ended.
    pub async fn remains(&self) -> Result<Option<Remains>, CommandError> {
        let subscribers: Vec<SubscriberId> = sqlx::query_scalar(
            "SELECT subscriber_id FROM erasures e
             WHERE NOT EXISTS (
                 SELECT FROM imports i
                 WHERE i.status IN ('spooling', 'queued', 'running') AND i.created_at < e.recorded_at)
             ORDER BY recorded_at LIMIT $1",
        )
        .bind(AT_ONCE)
        .fetch_all(&self.store.pool)
        .await?;
        if subscribers.is_empty() {
            return Ok(None);
        }
        // Closed gates open no more of them: they come to an end.
        if !permits::open_for_readers(&self.store.pool, &subscribers).await?.is_empty() {
            return Ok(None);
        }
        let hashes = self.hashes_of(&subscribers).await?;
        let mails = self.mails_to(&subscribers).await?;
        let mut readers: HashSet<Uuid> = subscribers.iter().copied().collect();
        for (mail, recipients) in &mails {
            let places = (0..).zip(recipients).filter(|(_, recipient)| hashes.contains(recipient));
            readers.extend(places.map(|(place, _)| ids::recipient_id(*mail, place)));
        }
        let mails = mails.into_iter().map(|(mail, _)| mail).collect();
        Ok(Some(Remains { subscribers, hashes, mails, readers }))
    }

    async fn hashes_of(&self, subscribers: &[SubscriberId]) -> Result<HashSet<AddressHash>, CommandError> {
        let hashes: Vec<Json<AddressHash>> = sqlx::query_scalar(&format!("SELECT hash FROM ({HASHES}) h"))
            .bind(subscribers)
            .fetch_all(&self.store.pool)
            .await?;
        Ok(hashes.into_iter().map(|hash| hash.0).collect())
    }

    /// Mails outside campaigns that were requested for one of their addresses before the erasure, with all their
    /// recipients. Those of accounts are to users.
    async fn mails_to(
        &self,
        subscribers: &[SubscriberId],
    ) -> Result<Vec<(Uuid, Vec<AddressHash>)>, CommandError> {
        let mails: Vec<(Uuid, Json<Vec<AddressHash>>)> = sqlx::query_as(&format!(
            "SELECT DISTINCT e.aggregate_id::uuid, coalesce(e.payload -> e.event_type -> 'address_hashes',
                 jsonb_build_array(e.payload -> e.event_type -> 'address_hash'))
             FROM ({HASHES}) h JOIN events e ON e.payload -> e.event_type @> jsonb_build_object('address_hash', h.hash)
                 OR e.payload -> e.event_type @> jsonb_build_object('address_hashes', jsonb_build_array(h.hash))
             WHERE e.aggregate_type = 'transactional' AND e.sequence = 1
               AND e.event_type <> 'AccountMailRequested' AND e.recorded_at < h.erased_at"
        ))
        .bind(subscribers)
        .fetch_all(&self.store.pool)
        .await?;
        Ok(mails.into_iter().map(|(mail, recipients)| (mail, recipients.0)).collect())
    }

    /// Erases what is left in the database. Mails that were to others as well lose the record of all their addresses.
    pub async fn erase_remains(&self, remains: &Remains) -> Result<(), CommandError> {
        sealing::destroy(&self.store.pool, &remains.mails).await?;
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
