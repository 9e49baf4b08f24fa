//! What the log holds of one person, oldest first: consents, opt-outs, and what became of each mail to them. No read
//! model: the streams themselves, found by the person's place in each dispatch (read model `recipients`), and of mails outside
//! campaigns by the event that each of them is about.

use crate::{Page, Slice};
use domain::dispatch::{Dispatch, DispatchEvent, Index, Refusal};
use domain::subscriber::{Subscriber, SubscriberEvent};
use domain::transactional::{Transactional, TransactionalEvent};
use domain::{CampaignId, DispatchId, PermitId, Sequence, SubscriberId};
use eventstore::{LogEvent, StoreError, decode, ids};
use sqlx::PgPool;

/// Events that are read at once. Most of a dispatch's events are about others.
const READ: i64 = 500;

/// One event, and what it says of this person.
#[derive(Debug)]
pub struct Entry {
    pub event: LogEvent,
    pub said: Said,
}

#[derive(Debug)]
pub enum Said {
    Of(Box<SubscriberEvent>),
    Mail(Mail),
}

/// A step of one mail on its way to them.
#[derive(Debug, PartialEq)]
pub struct Mail {
    /// None: a mail about a request to subscribe, or an opt-out.
    pub campaign_id: Option<CampaignId>,
    pub dispatch_id: DispatchId,
    pub step: Step,
    pub permit_id: Option<PermitId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Planned,
    /// The position of the consent that allows it; a mail outside campaigns needs none.
    Authorized(Option<i64>),
    Suppressed(String),
    Rejected(String),
    Accepted,
    Unknown,
    /// Nothing was handed over: it waits for another authorization.
    Returned,
    Deferred,
    /// The hand-over began later than its authorization allows.
    Late,
    Cancelled,
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    event: LogEvent,
    /// Of dispatches: their place, campaign and whether they were left out when it was cancelled.
    idx: Option<i16>,
    campaign_id: Option<CampaignId>,
    cancelled: Option<bool>,
}

const AFTER: &str = "
    WITH named AS (
        SELECT append_id, NULL::smallint AS idx, NULL::uuid AS campaign_id, NULL::boolean AS cancelled
        FROM events WHERE aggregate_type = 'subscriber' AND aggregate_id = $1::text
        UNION ALL
        SELECT e.append_id, r.idx, r.campaign_id, r.state = 'cancelled'
        FROM recipients r JOIN events e ON e.aggregate_type = 'dispatch' AND e.aggregate_id = r.dispatch_id::text
        WHERE r.subscriber_id = $1
        UNION ALL
        SELECT append_id, 0::smallint, NULL, false
        FROM events WHERE aggregate_type = 'transactional' AND aggregate_id = ANY($4)
    )
    SELECT l.position, l.aggregate_type, l.slot, e.aggregate_id, e.sequence, e.event_type, e.event_version,
        e.payload, e.metadata, e.recorded_at, n.idx, n.campaign_id, n.cancelled
    FROM named n JOIN events e USING (append_id) JOIN log l USING (append_id)
    WHERE l.position > $2 ORDER BY l.position LIMIT $3";

pub async fn list(pool: &PgPool, subscriber: SubscriberId, slice: Slice) -> Result<Page<Entry>, StoreError> {
    let (mut entries, mut after) = (Vec::new(), slice.above());
    let mails = mails(pool, subscriber).await?;
    loop {
        let rows: Vec<Row> = sqlx::query_as(AFTER)
            .bind(subscriber)
            .bind(after)
            .bind(READ)
            .bind(&mails)
            .fetch_all(pool)
            .await?;
        let was_last = (rows.len() as i64) < READ;
        after = rows.last().map_or(after, |row| row.event.position);
        let consents = consents(pool, subscriber, &rows).await?;
        for row in rows {
            entries.extend(entry(row, &consents)?);
        }
        if was_last || entries.len() as i64 >= slice.fetch() {
            return Ok(slice.page(entries, |entry| entry.event.position));
        }
    }
}

/// The mails outside campaigns that went to this person, if they went.
async fn mails(pool: &PgPool, subscriber: SubscriberId) -> Result<Vec<String>, StoreError> {
    let rows: Vec<(i64, Option<String>)> = sqlx::query_as(
        "SELECT sequence, payload #>> '{SubscriptionRequested,request}' FROM events
         WHERE aggregate_type = 'subscriber' AND aggregate_id = $1
           AND event_type IN ('SubscriptionRequested', 'SubscriberOptedOut', 'SubscriberOptedIn')",
    )
    .bind(subscriber.to_string())
    .fetch_all(pool)
    .await?;
    let id = |(choice, request): (i64, Option<String>)| {
        request.unwrap_or_else(|| ids::choice_mail_id(subscriber, choice.cast_unsigned()).to_string())
    };
    Ok(rows.into_iter().map(id).collect())
}

/// Sequence and position of each of the person's events, if any authorization is among the rows to be told by them.
async fn consents(
    pool: &PgPool,
    subscriber: SubscriberId,
    rows: &[Row],
) -> Result<Vec<(i64, i64)>, StoreError> {
    if rows.iter().all(|row| row.event.event_type != "SendAuthorized") {
        return Ok(Vec::new());
    }
    let positions = "SELECT e.sequence, l.position FROM events e JOIN log l USING (append_id)
                     WHERE e.aggregate_type = 'subscriber' AND e.aggregate_id = $1::text ORDER BY e.sequence";
    Ok(sqlx::query_as(positions).bind(subscriber).fetch_all(pool).await?)
}

fn entry(row: Row, consents: &[(i64, i64)]) -> Result<Option<Entry>, StoreError> {
    let Row { event, idx, campaign_id, cancelled } = row;
    let Some(idx) = idx else {
        let said = Said::Of(Box::new(decode::<Subscriber>(&event)?));
        return Ok(Some(Entry { event, said }));
    };
    let dispatch_id = event.stream_id().map_err(|error| StoreError::Format(error.to_string()))?;
    let position = |consent: Sequence| {
        let found = consents.binary_search_by_key(&consent.cast_signed(), |(sequence, _)| *sequence);
        found.ok().and_then(|place| consents.get(place)).map(|(_, position)| *position)
    };
    let (idx, cancelled) = (idx.cast_unsigned(), cancelled == Some(true));
    let (step, permit_id) = match campaign_id {
        Some(_) => step(decode::<Dispatch>(&event)?, idx, cancelled, position),
        None => step_outside_campaigns(decode::<Transactional>(&event)?, idx),
    };
    Ok(step.map(|step| Entry { said: Said::Mail(Mail { campaign_id, dispatch_id, step, permit_id }), event }))
}

/// What the event says of the recipient at this place; `None`: it is about others.
fn step(
    event: DispatchEvent,
    idx: Index,
    cancelled: bool,
    position: impl Fn(Sequence) -> Option<i64>,
) -> (Option<Step>, Option<PermitId>) {
    let named = |indexes: &[Index], step: Step| indexes.contains(&idx).then_some(step);
    let refused = |refusals: Vec<Refusal>| refusals.into_iter().find(|refusal| refusal.index == idx);
    match event {
        DispatchEvent::Planned { .. } => (Some(Step::Planned), None),
        DispatchEvent::TemplateTaken { .. } => (None, None),
        DispatchEvent::Authorized { permit_id, recipients, consents, suppressed, rejected } => {
            let mut leaves = recipients.iter().zip(consents);
            let leave = leaves.find(|(index, _)| **index == idx).and_then(|(_, consent)| position(consent));
            let step = leave
                .map(|consent| Step::Authorized(Some(consent)))
                .or_else(|| refused(suppressed).map(|refusal| Step::Suppressed(refusal.reason)))
                .or_else(|| refused(rejected).map(|refusal| Step::Rejected(refusal.reason)));
            (step, Some(permit_id))
        }
        DispatchEvent::Settled { permit_id, accepted, rejected, unknown, returned, deferred } => {
            let step = named(&accepted, Step::Accepted)
                .or_else(|| refused(rejected).map(|refusal| Step::Rejected(refusal.reason)))
                .or_else(|| named(&unknown, Step::Unknown))
                .or_else(|| named(&returned, Step::Returned))
                .or_else(|| named(&deferred, Step::Deferred));
            (step, Some(permit_id))
        }
        DispatchEvent::LateHandover { permit_id, recipients } => {
            (named(&recipients, Step::Late), Some(permit_id))
        }
        DispatchEvent::Reconciled { permit_id, accepted, unknown, returned } => {
            let step = named(&accepted, Step::Accepted)
                .or_else(|| named(&unknown, Step::Unknown))
                .or_else(|| named(&returned, Step::Returned));
            (step, Some(permit_id))
        }
        DispatchEvent::UnknownReturned { recipients } => (named(&recipients, Step::Returned), None),
        DispatchEvent::Cancelled {} => (cancelled.then_some(Step::Cancelled), None),
    }
}

fn step_outside_campaigns(event: TransactionalEvent, idx: Index) -> (Option<Step>, Option<PermitId>) {
    let named = |indexes: &[Index], step: Step| indexes.contains(&idx).then_some(step);
    let refused = |refusals: Vec<Refusal>| refusals.into_iter().find(|refusal| refusal.index == idx);
    match event {
        TransactionalEvent::TestRequested(_)
        | TransactionalEvent::AccountRequested(_)
        | TransactionalEvent::SubscriptionRequested(_)
        | TransactionalEvent::OptOutRequested(_)
        | TransactionalEvent::OptInRequested(_) => (Some(Step::Planned), None),
        TransactionalEvent::Authorized { permit_id, recipients, suppressed, rejected } => {
            let step = named(&recipients, Step::Authorized(None))
                .or_else(|| refused(suppressed).map(|refusal| Step::Suppressed(refusal.reason)))
                .or_else(|| refused(rejected).map(|refusal| Step::Rejected(refusal.reason)));
            (step, Some(permit_id))
        }
        TransactionalEvent::Settled { permit_id, accepted, rejected, unknown, returned, late } => {
            let step = named(&late, Step::Late)
                .or_else(|| named(&accepted, Step::Accepted))
                .or_else(|| refused(rejected).map(|refusal| Step::Rejected(refusal.reason)))
                .or_else(|| named(&unknown, Step::Unknown))
                .or_else(|| named(&returned, Step::Returned));
            (step, Some(permit_id))
        }
        TransactionalEvent::Expired { reason } => {
            (Some(Step::Rejected(reason.unwrap_or_else(|| "expired".to_owned()))), None)
        }
    }
}
