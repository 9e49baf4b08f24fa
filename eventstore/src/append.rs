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
            Guard::ClaimGate(gate) => Some(gate.address),
            Guard::SetGate(_) | Guard::Campaign(_) | Guard::Dispatch(_) => None,
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

async fn insert(
    tx: &mut PgConnection,
    appends: Vec<Append>,
    metadata: &Metadata,
) -> Result<Vec<Row>, StoreError> {
    let count = appends.iter().map(|append| append.events.len()).sum();
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut types = Vec::with_capacity(count);
    let mut streams = Vec::with_capacity(count);
    let mut sequences = Vec::with_capacity(count);
    let mut event_types = Vec::with_capacity(count);
    let mut versions = Vec::with_capacity(count);
    let mut payloads = Vec::with_capacity(count);
    for append in appends {
        let stream = append.stream.to_string();
        for (sequence, event) in (append.first..).zip(append.events) {
            types.push(append.aggregate_type);
            streams.push(stream.clone());
            sequences.push(sequence.cast_signed());
            event_types.push(event.event_type);
            versions.push(event.event_version);
            payloads.push(event.payload);
        }
    }
    let rows = sqlx::query_as(
        "INSERT INTO events
             (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT *, $7 FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::jsonb[])
         RETURNING aggregate_type, stream_slot(aggregate_type, aggregate_id) AS slot, append_id,
             (SELECT epoch FROM log_head) AS epoch",
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
