//! The events of a batch by their streams, decoded: what projectors fold.

use crate::ApplyError;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use eventstore::LogEvent;
use std::collections::BTreeMap;
use uuid::Uuid;

/// One stream's part of a batch, in order and never empty.
pub(crate) struct Entries<'a, E> {
    pub first: &'a LogEvent,
    pub last: &'a LogEvent,
    pub events: Vec<(&'a LogEvent, E)>,
}

/// Decodes the events of aggregate `A` and leaves out those of other types.
pub(crate) fn decoded<A>(events: &[LogEvent]) -> Result<BTreeMap<Uuid, Entries<'_, A::Event>>, ApplyError>
where
    A: Aggregate,
    A::Event: domain::Event,
{
    let mut streams = BTreeMap::<Uuid, Entries<'_, A::Event>>::new();
    for event in events.iter().filter(|event| event.aggregate_type == A::TYPE) {
        let (id, decoded) = (id(event)?, decode::<A>(event)?);
        let entries =
            streams.entry(id).or_insert_with(|| Entries { first: event, last: event, events: Vec::new() });
        entries.last = event;
        entries.events.push((event, decoded));
    }
    Ok(streams)
}

pub(crate) fn id(event: &LogEvent) -> Result<Uuid, ApplyError> {
    event.stream_id().map_err(|_| ApplyError::event(event, "the stream's id is no UUID"))
}

pub(crate) fn decode<A>(event: &LogEvent) -> Result<A::Event, ApplyError>
where
    A: Aggregate,
    A::Event: domain::Event,
{
    // What serde says may quote the payload, so it is not kept.
    eventstore::decode::<A>(event).map_err(|_| {
        ApplyError::event(event, format!("{} {} cannot be read", event.event_type, event.event_version))
    })
}

/// The streams that began before this batch, and so have rows to load.
pub(crate) fn continued<E>(streams: &BTreeMap<Uuid, Entries<'_, E>>) -> Vec<Uuid> {
    streams.iter().filter(|(_, entries)| entries.first.sequence > 1).map(|(id, _)| *id).collect()
}

/// Refuses an event that does not follow the stream's last one: the carrier broke its promise.
pub(crate) fn check_follows(version: u64, event: &LogEvent) -> Result<(), ApplyError> {
    match event.sequence.cast_unsigned() == version + 1 {
        true => Ok(()),
        false => Err(ApplyError::event(event, format!("sequence {} came after {version}", event.sequence))),
    }
}

/// When a row's stream began and when it changed last.
#[derive(Debug, Clone, Copy, PartialEq, sqlx::FromRow)]
pub(crate) struct Span {
    pub created_position: i64,
    pub created_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
}

impl Span {
    pub fn after<E>(known: Option<Self>, entries: &Entries<'_, E>) -> Self {
        let Entries { first, last, .. } = entries;
        let (created_position, created_at) = known
            .map_or((first.position, first.recorded_at), |span| (span.created_position, span.created_at));
        Self { created_position, created_at, changed_at: last.recorded_at }
    }
}
