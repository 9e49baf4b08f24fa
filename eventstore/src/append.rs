//! Appending to streams: guards first, as statements of their own, then every event in one statement.

use crate::codec::{Encoded, Metadata};
use crate::position::{Touched, last_per_slot};
use crate::{StoreError, guards};
use domain::{Guard, Sequence};
use sqlx::PgConnection;
use std::collections::HashSet;
use uuid::Uuid;

/// New events of one stream and what must hold for them.
#[derive(Debug, Clone)]
pub struct Append {
    pub aggregate_type: &'static str,
    pub stream: Uuid,
    /// Sequence of the first event.
    pub first: Sequence,
    pub events: Vec<Encoded>,
    pub guards: Vec<Guard>,
}

impl Append {
    fn claims(&self) -> impl Iterator<Item = domain::AddressHash> {
        self.guards.iter().filter_map(|guard| match guard {
            Guard::ClaimGate(gate) | Guard::ReclaimGate(gate) => Some(gate.address),
            Guard::SetGate(_)
            | Guard::Campaign(_)
            | Guard::Use(_)
            | Guard::Show(_)
            | Guard::Remove(_)
            | Guard::Dispatch(_)
            | Guard::Media(_)
            | Guard::Erase(_)
            | Guard::ChoiceMail(_) => None,
        })
    }
}

#[derive(Debug, Default)]
pub struct Appended {
    pub touched: Vec<Touched>,
    /// The log's, where anything was appended.
    pub epoch: Option<Uuid>,
    /// Streams left out because an address that they claim was taken.
    pub lost: HashSet<Uuid>,
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    touched: Touched,
    epoch: Uuid,
}

/// Appends all streams or, of those that claim addresses, the winners.
///
/// The guards come before the events, or the log could show a send after an opt-out that never happened: an
/// append_id must be drawn under the locks that order it. Without guards it is one statement, and whole by itself.
pub async fn append(
    tx: &mut PgConnection,
    mut appends: Vec<Append>,
    metadata: &Metadata,
) -> Result<Appended, StoreError> {
    let guards = appends.iter().flat_map(|append| append.guards.clone()).collect();
    let taken = guards::enforce(&mut *tx, guards).await?;
    let lost: HashSet<Uuid> = match taken.is_empty() {
        true => HashSet::new(),
        false => {
            let loses = |append: &&Append| append.claims().any(|hash| taken.contains(&hash));
            appends.iter().filter(loses).map(|append| append.stream).collect()
        }
    };
    appends.retain(|append| !lost.contains(&append.stream));
    let rows = insert(tx, appends, metadata).await?;
    let epoch = rows.first().map(|row| row.epoch);
    let touched = last_per_slot(rows.into_iter().map(|row| row.touched).collect());
    Ok(Appended { touched, epoch, lost })
}

struct NewEvent {
    aggregate_type: &'static str,
    stream: Uuid,
    sequence: i64,
    event: Encoded,
}

async fn insert(
    tx: &mut PgConnection,
    appends: Vec<Append>,
    metadata: &Metadata,
) -> Result<Vec<Row>, StoreError> {
    let rows = appends.into_iter().flat_map(|append| {
        let Append { aggregate_type, stream, first, events, .. } = append;
        (first..).zip(events).map(move |(sequence, event)| {
            let sequence = sequence.cast_signed();
            NewEvent { aggregate_type, stream, sequence, event }
        })
    });
    match <[NewEvent; 1]>::try_from(rows.collect::<Vec<_>>()) {
        Ok([one]) => Ok(vec![insert_one(tx, one, metadata).await?]),
        Err(none) if none.is_empty() => Ok(Vec::new()),
        Err(many) => insert_many(tx, many, metadata).await,
    }
}

/// Most commands append one event. Arrays would be planned anew each time, which costs more than the insert.
async fn insert_one(tx: &mut PgConnection, one: NewEvent, metadata: &Metadata) -> Result<Row, StoreError> {
    let row = sqlx::query_as(
        "INSERT INTO events
             (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         RETURNING aggregate_type, stream_slot(aggregate_type, aggregate_id) AS slot, append_id,
             (SELECT epoch FROM log_epoch) AS epoch",
    )
    .bind(one.aggregate_type)
    .bind(one.stream.to_string())
    .bind(one.sequence)
    .bind(one.event.event_type)
    .bind(one.event.event_version)
    .bind(one.event.payload)
    .bind(sqlx::types::Json(metadata))
    .fetch_one(tx)
    .await?;
    Ok(row)
}

async fn insert_many(
    tx: &mut PgConnection,
    many: Vec<NewEvent>,
    metadata: &Metadata,
) -> Result<Vec<Row>, StoreError> {
    let mut types = Vec::with_capacity(many.len());
    let mut streams = Vec::with_capacity(many.len());
    let mut sequences = Vec::with_capacity(many.len());
    let mut event_types = Vec::with_capacity(many.len());
    let mut versions = Vec::with_capacity(many.len());
    let mut payloads = Vec::with_capacity(many.len());
    for one in many {
        types.push(one.aggregate_type);
        streams.push(one.stream.to_string());
        sequences.push(one.sequence);
        event_types.push(one.event.event_type);
        versions.push(one.event.event_version);
        payloads.push(one.event.payload);
    }
    let rows = sqlx::query_as(
        "INSERT INTO events
             (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT *, $7 FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::jsonb[])
         RETURNING aggregate_type, stream_slot(aggregate_type, aggregate_id) AS slot, append_id,
             (SELECT epoch FROM log_epoch) AS epoch",
    )
    .bind(types)
    .bind(streams)
    .bind(sequences)
    .bind(event_types)
    .bind(versions)
    .bind(payloads)
    .bind(sqlx::types::Json(metadata))
    .fetch_all(tx)
    .await?;
    Ok(rows)
}
