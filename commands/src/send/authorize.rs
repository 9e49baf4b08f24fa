use super::may_send::MaySend;
use super::{Claim, Lease};
use crate::{CommandError, Commands, Context, permits, reader_key};
use domain::dispatch::{Authorization, Dispatch, DispatchCommand, DispatchError, Index, Refusal};
use domain::{AddressHash, CampaignId, Event, GroupId, Guarded, PermitId, Sequence, SubscriberId};
use eventstore::memory::Durable;
use eventstore::restore;
use eventstore::{Decided, Loaded, StoreError, append, ids, sealing::SubjectKeys};
use sqlx::PgConnection;
use std::collections::HashMap;
use std::time::Duration;

/// A recipient with a mail ready to go to this address.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub index: Index,
    pub subscriber: SubscriberId,
    pub address: AddressHash,
}

/// Recipients without a mail, whatever their gates say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Refused {
    /// Suppressed, as their gates are: it is for ever.
    pub erased: Vec<Index>,
    /// Rejected.
    pub unsendable: Vec<Refusal>,
}

/// What the mails of a chunk were made for and from.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    pub group: GroupId,
    pub mailer: &'a str,
    /// Of the campaign's template.
    pub template_version: Sequence,
    /// The same, where it is not the one that the campaign was frozen with.
    pub taken_version: Option<Sequence>,
}

/// How authorizing recipients of a dispatch ended; `dispatch` is the dispatch as it is by now.
#[derive(Debug)]
pub enum Authorized<A> {
    /// Calls may start for these recipients, within W of the clocks read before.
    Permit { permit: PermitId, allowed: Vec<Index>, dispatch: Loaded<A> },
    /// All of them were refused; the dispatch knows it.
    Nobody { dispatch: Loaded<A> },
    /// Nobody knows whether the permit was stored: it has to be settled without a call.
    InDoubt { permit: PermitId, allowed: Vec<Index> },
    /// The campaign does not send any more, or another version of its template, or nothing is sent now.
    Stopped,
    /// Somebody else has the dispatch.
    Lost,
}

/// A permit to be opened for the people behind `readers`.
pub(super) struct NewPermit<'a> {
    pub id: PermitId,
    pub campaign: Option<CampaignId>,
    pub mailer: &'a str,
    pub readers: Vec<i64>,
    /// How long after now nobody else may act for this worker (W, its margin and the call's time-out).
    pub hold: Duration,
}

#[derive(sqlx::FromRow)]
struct GateRow {
    address_hash: Vec<u8>,
    subscriber_id: SubscriberId,
    suppressed: bool,
    is_left: bool,
    member: bool,
    consent: Option<i64>,
}

impl Commands {
    /// One short transaction: the state of sending and the campaign's under their locks, the gates under theirs, the permit, the event.
    ///
    /// `hold`: how long after now nobody else may act for this worker (W, its margin and the call's time-out).
    pub async fn authorize(
        &self,
        claim: &Claim,
        dispatch: Loaded<Dispatch>,
        made: Made<'_>,
        candidates: &[Candidate],
        refused: Refused,
        hold: Duration,
    ) -> Result<Authorized<Dispatch>, CommandError> {
        let Some(mut tx) = self.may_send(Some((claim.campaign_id, made.template_version))).await? else {
            return Ok(Authorized::Stopped);
        };
        let gates = lock_gates(&mut tx, candidates, made.group).await?;
        let (allowed, mut suppressed) = judge(candidates, &gates);
        let erased = refused.erased.into_iter();
        suppressed.extend(erased.map(|index| Refusal { index, reason: "erased".into() }));
        let recipients: Vec<Index> = allowed.iter().map(|(index, _)| *index).collect();
        let is_allowed = |candidate: &&Candidate| recipients.binary_search(&candidate.index).is_ok();
        let permit = NewPermit {
            id: ids::new_id(),
            campaign: Some(claim.campaign_id),
            mailer: made.mailer,
            readers: candidates.iter().filter(is_allowed).map(|c| reader_key(c.subscriber)).collect(),
            hold,
        };
        let authorization = Authorization {
            permit_id: permit.id,
            template_version: made.taken_version,
            allowed,
            suppressed,
            rejected: refused.unsendable,
        };
        let authorize = DispatchCommand::Authorize(authorization);
        self.conclude(tx, claim.lease, dispatch, authorize, permit, recipients).await
    }

    /// Under the locks that said who may be written to: the permit, the lease, the event, the commit.
    pub(super) async fn conclude<A>(
        &self,
        mut tx: MaySend,
        lease: Lease,
        dispatch: Loaded<A>,
        authorize: A::Command,
        permit: NewPermit<'_>,
        allowed: Vec<Index>,
    ) -> Result<Authorized<A>, CommandError>
    where
        A: Guarded<Error = DispatchError>,
        A::Event: Event,
    {
        let (id, hold) = (permit.id, permit.hold);
        if !allowed.is_empty() {
            open_permit(&mut tx, lease, permit, permits::start_within_ms(self.timing)).await?;
        }
        if !renew_lease(&mut tx, lease, hold).await? {
            return Ok(Authorized::Lost);
        }
        let decided = match Decided::decide(lease.dispatch_id, dispatch, authorize).await {
            Ok(decided) => decided,
            Err(DispatchError::NotPending(_)) => return Ok(Authorized::Lost),
            Err(error) => return Err(StoreError::Format(error.to_string()).into()),
        };
        let dispatch = decided.loaded_after();
        let events = decided.into_append(&SubjectKeys::new())?;
        match append(&mut tx, vec![events], &Context::system("sender").metadata()).await {
            Ok(_) => {}
            Err(StoreError::Conflict) => return Ok(Authorized::Lost),
            Err(error) => return Err(error.into()),
        }
        let event = restore::event(&mut *tx, A::TYPE, lease.dispatch_id, dispatch.version).await?;
        if let Err(error) = tx.commit().await {
            tracing::warn!(%error, dispatch.id = %lease.dispatch_id, "authorization: the commit's answer was lost");
            return Ok(Authorized::InDoubt { permit: id, allowed });
        }
        self.store.news.appended();
        // Before the mails go: whatever database is here later has to have this.
        if let Some(event) = event
            && let Err(error) = self.store.memory.remember(event, Durable::No).await
        {
            tracing::warn!(%error, "a restore of the database might not be noticed");
        }
        Ok(match allowed.is_empty() {
            true => Authorized::Nobody { dispatch },
            false => Authorized::Permit { permit: id, allowed, dispatch },
        })
    }
}

/// In the order of the hashes, so that two authorizations of the same readers cannot deadlock.
async fn lock_gates(
    tx: &mut PgConnection,
    candidates: &[Candidate],
    group: GroupId,
) -> Result<HashMap<Vec<u8>, GateRow>, CommandError> {
    let rows: Vec<GateRow> = sqlx::query_as(
        "SELECT address_hash, subscriber_id, suppressed, is_left, groups ? $2 AS member, (groups ->> $2)::bigint AS consent
         FROM gates WHERE address_hash = ANY($1) ORDER BY address_hash FOR NO KEY UPDATE",
    )
    .bind(candidates.iter().map(|c| c.address.0.as_slice()).collect::<Vec<_>>())
    .bind(group.to_string())
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.address_hash.clone(), row)).collect())
}

/// Who may be written to by which consent, and why the others may not. A missing gate counts as suppressed. Whoever
/// got another address since their mail was made is in neither list: they wait, and their mail is made anew.
fn judge(
    candidates: &[Candidate],
    gates: &HashMap<Vec<u8>, GateRow>,
) -> (Vec<(Index, Sequence)>, Vec<Refusal>) {
    let mut allowed = Vec::with_capacity(candidates.len());
    let mut suppressed = Vec::new();
    for candidate in candidates {
        let verdict = match gates.get(candidate.address.0.as_slice()) {
            None => Err("no_gate"),
            Some(gate) if gate.subscriber_id != candidate.subscriber => Err("address_changed"),
            Some(gate) if gate.is_left => continue,
            Some(gate) if gate.suppressed => Err("opted_out"),
            Some(GateRow { consent: Some(consent), .. }) => Ok(consent.cast_unsigned()),
            Some(gate) if gate.member => Err("opted_out_of_group"),
            Some(_) => Err("left_group"),
        };
        match verdict {
            Ok(consent) => allowed.push((candidate.index, consent)),
            Err(reason) => suppressed.push(Refusal { index: candidate.index, reason: reason.into() }),
        }
    }
    (allowed, suppressed)
}

async fn open_permit(
    tx: &mut PgConnection,
    lease: Lease,
    permit: NewPermit<'_>,
    start_within_ms: i32,
) -> Result<(), CommandError> {
    sqlx::query(
        "INSERT INTO permits (permit_id, campaign_id, dispatch_id, mailer, readers, expires_at, start_within_ms)
         VALUES ($1, $2, $3, $4, $5, clock_timestamp() + make_interval(secs => $6), $7)",
    )
    .bind(permit.id)
    .bind(permit.campaign)
    .bind(lease.dispatch_id)
    .bind(permit.mailer)
    .bind(permit.readers)
    .bind(permit.hold.as_secs_f64())
    .bind(start_within_ms)
    .execute(tx)
    .await?;
    Ok(())
}

async fn renew_lease(tx: &mut PgConnection, lease: Lease, hold: Duration) -> Result<bool, CommandError> {
    let renewed = sqlx::query(
        "UPDATE dispatch_work SET leased_until = clock_timestamp() + make_interval(secs => $3)
         WHERE dispatch_id = $1 AND fence = $2",
    )
    .bind(lease.dispatch_id)
    .bind(lease.fence)
    .bind(hold.as_secs_f64())
    .execute(tx)
    .await?;
    Ok(renewed.rows_affected() == 1)
}
