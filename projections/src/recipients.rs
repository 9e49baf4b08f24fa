//! Read model `recipients`: what became of everybody whom a campaign was to reach.

use crate::page::Walk;
use crate::{ApplyError, Page, Projection, Slice, dispatches, streams};
use async_trait::async_trait;
use domain::dispatch::{Dispatch, DispatchEvent, Index, Refusal, State};
use domain::{CampaignId, DispatchId, PermitId, Sequence, SubscriberId};
use eventstore::{LogEvent, StoreError};
use sqlx::{PgConnection, PgExecutor, PgPool, Postgres, QueryBuilder};
use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

pub struct Recipients;

const DISPATCHES: &str = "recipients_dispatches";

#[async_trait]
impl Projection for Recipients {
    fn name(&self) -> &'static str {
        "recipients"
    }

    fn types(&self) -> &'static [&'static str] {
        &["dispatch"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["recipients", DISPATCHES]
    }

    /// Each event may stand for 500 rows.
    fn batch_max(&self) -> usize {
        100
    }

    async fn apply(&self, tx: &mut PgConnection, events: &[LogEvent]) -> Result<(), ApplyError> {
        let streams = streams::decoded::<Dispatch>(events)?;
        let mut known = dispatches::load(tx, DISPATCHES, &streams::continued(&streams)).await?;
        let mut folded = BTreeMap::new();
        let mut changes = Changes::new();
        for (id, entries) in streams {
            let mut dispatch = known.remove(&id).unwrap_or_default();
            for (event, decoded) in entries.events {
                let said = Said::by(&decoded, &dispatch);
                dispatches::apply(&mut dispatch, event, decoded)?;
                said.note(id, &dispatch, event.position, &mut changes);
            }
            folded.insert(id, dispatch);
        }
        dispatches::store(tx, DISPATCHES, &folded).await?;
        let (planned, changed) = changes.into_iter().partition(|(_, change)| change.planned.is_some());
        insert(tx, planned).await?;
        Ok(update(tx, changed).await?)
    }
}

/// What an event says of recipients, beyond their state: that is up to the aggregate.
#[derive(Default)]
struct Said {
    indexes: Vec<Index>,
    reasons: HashMap<Index, String>,
    /// Sequences of the consents that an authorization names.
    consents: HashMap<Index, i64>,
    /// Who they are, where the event plans them.
    planned: Vec<SubscriberId>,
}

impl Said {
    fn by(event: &DispatchEvent, before: &Dispatch) -> Self {
        match event {
            DispatchEvent::Planned { recipients, .. } => Self {
                indexes: (0..).take(recipients.len()).collect(),
                planned: recipients.clone(),
                ..Self::default()
            },
            DispatchEvent::Authorized { recipients, consents, suppressed, rejected, .. } => {
                let consents =
                    recipients.iter().copied().zip(consents.iter().map(|c| c.cast_signed())).collect();
                Self { consents, ..Self::of(&[recipients], &[suppressed, rejected]) }
            }
            DispatchEvent::Settled { accepted, rejected, unknown, returned, deferred, .. } => {
                Self::of(&[accepted, unknown, returned, deferred], &[rejected])
            }
            DispatchEvent::LateHandover { .. } | DispatchEvent::TemplateTaken { .. } => Self::default(),
            DispatchEvent::Reconciled { accepted, unknown, returned, .. } => {
                Self::of(&[accepted, unknown, returned], &[])
            }
            DispatchEvent::UnknownReturned { recipients } => Self::of(&[recipients], &[]),
            DispatchEvent::Cancelled {} => Self::of(&[&before.waiting()], &[]),
        }
    }

    fn of(indexes: &[&Vec<Index>], refusals: &[&Vec<Refusal>]) -> Self {
        let refusals = || refusals.iter().copied().flatten();
        Self {
            indexes: indexes.iter().copied().flatten().copied().chain(refusals().map(|r| r.index)).collect(),
            reasons: refusals().map(|refusal| (refusal.index, refusal.reason.clone())).collect(),
            ..Self::default()
        }
    }

    /// Adds to `changes` what the event made of each recipient that it names.
    fn note(mut self, id: DispatchId, after: &Dispatch, position: i64, changes: &mut Changes) {
        for index in std::mem::take(&mut self.indexes) {
            let Some(recipient) = after.recipients.get(usize::from(index)) else { continue };
            let change = changes.entry((id, index)).or_default();
            change.state = RecipientState::of(recipient.state);
            change.reason = self.reasons.remove(&index);
            change.position = position;
            match recipient.state {
                State::Authorized(permit) => {
                    let consent = self.consents.get(&index).copied();
                    change.leave = Leave::Given(permit, consent, recipient.template_version);
                    change.attempts += 1;
                }
                State::Pending | State::Cancelled => change.leave = Leave::Spent,
                State::Accepted | State::Suppressed | State::Rejected | State::Unknown(_) => {}
            }
            if let Some(subscriber) = self.planned.get(usize::from(index)) {
                change.planned = Some((after.campaign_id, *subscriber));
            }
        }
    }
}

type Changes = BTreeMap<(DispatchId, Index), Change>;

/// What a batch makes of one recipient.
#[derive(Default)]
struct Change {
    planned: Option<(CampaignId, SubscriberId)>,
    state: RecipientState,
    reason: Option<String>,
    attempts: i16,
    leave: Leave,
    position: i64,
}

/// Leave to send: the permit, the sequence of the consent, and the template's version where it is not the one that was frozen.
#[derive(Default)]
enum Leave {
    #[default]
    Unchanged,
    Given(PermitId, Option<i64>, Option<Sequence>),
    Spent,
}

impl Change {
    fn permit(&self) -> Option<PermitId> {
        match self.leave {
            Leave::Given(permit, ..) => Some(permit),
            Leave::Unchanged | Leave::Spent => None,
        }
    }

    fn consent(&self) -> Option<i64> {
        match self.leave {
            Leave::Given(_, consent, _) => consent,
            Leave::Unchanged | Leave::Spent => None,
        }
    }

    fn template_version(&self) -> Option<i64> {
        match self.leave {
            Leave::Given(_, _, version) => version.map(Sequence::cast_signed),
            Leave::Unchanged | Leave::Spent => None,
        }
    }
}

async fn insert(tx: &mut PgConnection, planned: Changes) -> Result<(), sqlx::Error> {
    if planned.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO recipients (dispatch_id, idx, campaign_id, subscriber_id, state, reason, attempts, permit_id,
             consent_sequence, changed_position, template_version)
         SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::uuid[], $5::text[], $6::text[],
             $7::smallint[], $8::uuid[], $9::bigint[], $10::bigint[], $11::bigint[])",
    )
    .bind(planned.keys().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(planned.keys().map(|(_, index)| index.cast_signed()).collect::<Vec<_>>())
    .bind(planned.values().map(|change| change.planned.map(|(campaign, _)| campaign)).collect::<Vec<_>>())
    .bind(planned.values().map(|change| change.planned.map(|(_, subscriber)| subscriber)).collect::<Vec<_>>())
    .bind(planned.values().map(|change| change.state.word()).collect::<Vec<_>>())
    .bind(planned.values().map(|change| change.reason.as_deref()).collect::<Vec<_>>())
    .bind(planned.values().map(|change| change.attempts).collect::<Vec<_>>())
    .bind(planned.values().map(Change::permit).collect::<Vec<_>>())
    .bind(planned.values().map(Change::consent).collect::<Vec<_>>())
    .bind(planned.values().map(|change| change.position).collect::<Vec<_>>())
    .bind(planned.values().map(Change::template_version).collect::<Vec<_>>())
    .execute(tx)
    .await
    .map(drop)
}

async fn update(tx: &mut PgConnection, changed: Changes) -> Result<(), sqlx::Error> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE recipients r SET
             state = c.state, reason = c.reason, attempts = r.attempts + c.attempts,
             permit_id = CASE WHEN c.keeps THEN r.permit_id ELSE c.permit_id END,
             consent_sequence = CASE WHEN c.keeps THEN r.consent_sequence ELSE c.consent_sequence END,
             template_version = CASE WHEN c.keeps THEN r.template_version ELSE c.template_version END,
             changed_position = c.position
         FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::smallint[], $6::boolean[], $7::uuid[],
                 $8::bigint[], $9::bigint[], $10::bigint[])
             c (dispatch_id, idx, state, reason, attempts, keeps, permit_id, consent_sequence, position, template_version)
         WHERE r.dispatch_id = c.dispatch_id AND r.idx = c.idx",
    )
    .bind(changed.keys().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(changed.keys().map(|(_, index)| index.cast_signed()).collect::<Vec<_>>())
    .bind(changed.values().map(|change| change.state.word()).collect::<Vec<_>>())
    .bind(changed.values().map(|change| change.reason.as_deref()).collect::<Vec<_>>())
    .bind(changed.values().map(|change| change.attempts).collect::<Vec<_>>())
    .bind(changed.values().map(|change| matches!(change.leave, Leave::Unchanged)).collect::<Vec<_>>())
    .bind(changed.values().map(Change::permit).collect::<Vec<_>>())
    .bind(changed.values().map(Change::consent).collect::<Vec<_>>())
    .bind(changed.values().map(|change| change.position).collect::<Vec<_>>())
    .bind(changed.values().map(Change::template_version).collect::<Vec<_>>())
    .execute(tx)
    .await
    .map(drop)
}

/// The API's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RecipientState {
    #[default]
    Pending,
    Accepted,
    Suppressed,
    Rejected,
    Unknown,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a recipient's state is pending, accepted, suppressed, rejected, unknown or cancelled")]
pub struct NoSuchState;

impl RecipientState {
    const ALL: [Self; 6] =
        [Self::Pending, Self::Accepted, Self::Suppressed, Self::Rejected, Self::Unknown, Self::Cancelled];

    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Suppressed => "suppressed",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
        }
    }

    fn of(state: State) -> Self {
        match state {
            State::Pending | State::Authorized(_) => Self::Pending,
            State::Accepted => Self::Accepted,
            State::Suppressed => Self::Suppressed,
            State::Rejected => Self::Rejected,
            State::Unknown(_) => Self::Unknown,
            State::Cancelled => Self::Cancelled,
        }
    }

    /// Finds the dispatches that have such a recipient, by the letters of their states.
    fn pattern(self) -> String {
        let permit = PermitId::nil();
        let states = match self {
            Self::Pending => vec![State::Pending, State::Authorized(permit)],
            Self::Accepted => vec![State::Accepted],
            Self::Suppressed => vec![State::Suppressed],
            Self::Rejected => vec![State::Rejected],
            Self::Unknown => vec![State::Unknown(permit)],
            Self::Cancelled => vec![State::Cancelled],
        };
        format!("[{}]", states.into_iter().map(dispatches::letter).collect::<String>())
    }
}

impl FromStr for RecipientState {
    type Err = NoSuchState;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.word() == word).ok_or(NoSuchState)
    }
}

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Recipient {
    pub dispatch_id: DispatchId,
    /// Place in the dispatch, from 0.
    pub idx: i16,
    /// The dispatch's page in the audience, from 0.
    pub page: i32,
    pub subscriber_id: SubscriberId,
    /// Sealed; as it is now, by the read model `subscribers`.
    pub address: Option<String>,
    pub state: String,
    pub reason: Option<String>,
    /// Authorizations so far.
    pub attempts: i16,
    pub permit_id: Option<PermitId>,
    /// Position of the consent event under which the last send was allowed.
    pub authorized_by: Option<i64>,
    /// Of the template that the mail was made from; `None` where there was none.
    pub template_version: Option<i64>,
    /// Position of the event that said this.
    pub changed_position: i64,
}

impl Recipient {
    fn key(&self) -> i64 {
        i64::from(self.page) << 16 | i64::from(self.idx)
    }
}

/// A campaign's recipients in the order of their ids. Reads `subscribers` and `campaigns` as well.
pub async fn page(
    db: impl PgExecutor<'_>,
    campaign: CampaignId,
    state: Option<RecipientState>,
    slice: Slice,
) -> Result<Page<Recipient>, StoreError> {
    let above = slice.above();
    let (page, idx) = match above {
        ..0 => (0, -1),
        key => ((key >> 16) as i32, (key & 0xffff) as i32),
    };
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT r.dispatch_id, r.idx, r.page, r.subscriber_id, s.address, r.state, r.reason, r.attempts,
             r.permit_id, l.position AS authorized_by, r.changed_position,
             CASE WHEN r.permit_id IS NOT NULL
                 THEN coalesce(r.template_version, (c.manifest ->> 'template_version')::bigint) END AS template_version
         FROM (SELECT r.*, d.page FROM recipients_dispatches d JOIN recipients r USING (dispatch_id)
               WHERE d.campaign_id = ",
    );
    query.push_bind(campaign).push(" AND d.page >= ").push_bind(page);
    query.push(" AND (d.page, r.idx) > (").push_bind(page).push(", ").push_bind(idx).push(")");
    if let Some(state) = state {
        query.push(" AND d.states ~ ").push_bind(state.pattern());
        query.push(" AND r.state = ").push_bind(state.word());
    }
    query.push(" ORDER BY d.page, r.idx LIMIT ").push_bind(slice.fetch());
    query.push(
        ") r
         LEFT JOIN subscribers s ON s.id = r.subscriber_id
         LEFT JOIN campaigns c ON c.id = r.campaign_id
         LEFT JOIN events e ON e.aggregate_type = 'subscriber' AND e.aggregate_id = r.subscriber_id::text
             AND e.sequence = r.consent_sequence
         LEFT JOIN log l ON l.append_id = e.append_id
         ORDER BY r.page, r.idx",
    );
    let rows = query.build_query_as().fetch_all(db).await?;
    Ok(slice.page(rows, Recipient::key))
}

/// All of a campaign's recipients, a page at a time. No connection is held between pages.
pub struct Pages {
    pool: PgPool,
    campaign: CampaignId,
    state: Option<RecipientState>,
    walk: Walk,
}

impl Pages {
    pub fn new(pool: PgPool, campaign: CampaignId, state: Option<RecipientState>) -> Self {
        Self { pool, campaign, state, walk: Walk::start() }
    }

    /// Up to [`PAGE_MAX`](crate::PAGE_MAX) rows; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<Recipient>>, StoreError> {
        let Some(slice) = self.walk.slice() else { return Ok(None) };
        Ok(self.walk.step(page(&self.pool, self.campaign, self.state, slice).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_states_word_is_read_back() {
        for state in RecipientState::ALL {
            assert_eq!(state.word().parse(), Ok(state));
        }
        assert_eq!("sent".parse::<RecipientState>(), Err(NoSuchState));
    }
}
