//! The same steps for mails outside campaigns. They need no group's consent; a test mail obeys suppression all the same.

use super::authorize::NewPermit;
use super::settle::Closes;
use super::{Authorized, Lease};
use crate::{CommandError, Commands, reader_key};
use domain::dispatch::{Index, Refusal, Settlement};
use domain::transactional::{Transactional, TransactionalCommand};
use domain::{DispatchId, SubscriberId};
use eventstore::{Loaded, ids};
use sqlx::PgConnection;
use std::collections::HashMap;
use std::time::Duration;

/// Whom an address of a test mail belongs to, if anybody.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct TestReader {
    address_hash: Vec<u8>,
    pub subscriber_id: SubscriberId,
    pub suppressed: bool,
    pub is_left: bool,
}

impl Commands {
    /// The subscribers among the recipients of a test mail, by the hash of the address.
    pub async fn test_readers(
        &self,
        mail: &Transactional,
    ) -> Result<HashMap<Vec<u8>, TestReader>, CommandError> {
        let mut connection = self.store.pool.acquire().await?;
        read_gates(&mut connection, mail, "").await
    }

    /// One short transaction: the gates under their locks, the permit, the event. An address that has no gate is
    /// nobody's who could have opted out.
    pub async fn authorize_test(
        &self,
        lease: Lease,
        mail: Loaded<Transactional>,
        mailer: &str,
        candidates: &[Index],
        mut unsendable: Vec<Refusal>,
        hold: Duration,
    ) -> Result<Authorized<Transactional>, CommandError> {
        let Some(mut tx) = self.may_send(None).await? else { return Ok(Authorized::Stopped) };
        let gates = read_gates(&mut tx, &mail.aggregate, "ORDER BY address_hash FOR NO KEY UPDATE").await?;
        let shown = mail.aggregate.shown_subscriber();
        let candidates = match shown {
            Some(shown) if !is_there(&mut tx, shown).await? => {
                let erased = |index: &Index| Refusal { index: *index, reason: "erased".into() };
                unsendable.extend(candidates.iter().map(erased));
                &[]
            }
            _ => candidates,
        };
        let (mut allowed, mut suppressed) = (Vec::new(), Vec::new());
        // An erasure waits for a mail that shows its person as for one to them.
        let mut readers = Vec::from_iter(shown.map(reader_key));
        for index in candidates {
            let Some(recipient) = mail.aggregate.recipients.get(usize::from(*index)) else { continue };
            let gate = gates.get(recipient.address_hash.0.as_slice());
            match gate.and_then(refusal) {
                Some(reason) => suppressed.push(Refusal { index: *index, reason: reason.into() }),
                None => {
                    allowed.push(*index);
                    readers.extend(gate.map(|gate| reader_key(gate.subscriber_id)));
                }
            }
        }
        let permit = NewPermit { id: ids::new_id(), campaign: None, mailer, readers, hold };
        let authorize = TransactionalCommand::Authorize {
            permit_id: permit.id,
            allowed: allowed.clone(),
            suppressed,
            rejected: unsendable,
        };
        self.conclude(tx, lease, mail, authorize, permit, allowed).await
    }

    /// Records what came of a permit's calls, by its worker.
    pub async fn settle_transactional(
        &self,
        id: DispatchId,
        settlement: Settlement,
    ) -> Result<Loaded<Transactional>, CommandError> {
        let closes = Closes::Own(settlement.permit_id);
        self.change(id, None, TransactionalCommand::Settle(settlement), closes).await
    }

    /// The same by whoever clears up after a worker that died.
    pub async fn reconcile_transactional(
        &self,
        id: DispatchId,
        settlement: Settlement,
    ) -> Result<Loaded<Transactional>, CommandError> {
        let closes = Closes::Left(settlement.permit_id);
        self.change(id, None, TransactionalCommand::Settle(settlement), closes).await
    }

    /// Gives up what was not sent: in time, or for this reason.
    pub async fn expire_transactional(
        &self,
        id: DispatchId,
        reason: Option<&'static str>,
    ) -> Result<(), CommandError> {
        self.change::<Transactional>(id, None, TransactionalCommand::Expire { reason }, Closes::Nothing)
            .await
            .map(|_| ())
    }
}

/// Whether this person was not erased; none is until `tx` ends.
async fn is_there(tx: &mut PgConnection, subscriber: SubscriberId) -> Result<bool, CommandError> {
    let key = "SELECT destroyed_at IS NULL FROM subject_keys WHERE subject_id = $1 FOR SHARE";
    let key: Option<bool> = sqlx::query_scalar(key).bind(subscriber).fetch_optional(tx).await?;
    Ok(key.unwrap_or(false))
}

fn refusal(gate: &TestReader) -> Option<&'static str> {
    match (gate.is_left, gate.suppressed) {
        (true, _) => Some("address_left"),
        (false, true) => Some("opted_out"),
        (false, false) => None,
    }
}

async fn read_gates(
    db: &mut PgConnection,
    mail: &Transactional,
    lock: &'static str,
) -> Result<HashMap<Vec<u8>, TestReader>, CommandError> {
    let hashes: Vec<&[u8]> = mail.recipients.iter().map(|r| r.address_hash.0.as_slice()).collect();
    let rows: Vec<TestReader> = sqlx::query_as(&format!(
        "SELECT address_hash, subscriber_id, suppressed, is_left FROM gates WHERE address_hash = ANY($1) {lock}"
    ))
    .bind(hashes)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.address_hash.clone(), row)).collect())
}
