//! Between an aggregate's events and their stored form.

use crate::sealing::SubjectKeys;
use crate::{LogEvent, StoreError, keys::KeyError};
use cqrs_es::Aggregate;
use domain::{Event, Personal, Sequence};
use serde_json::Value;
use std::fmt::Display;
use uuid::Uuid;

/// One event as it is inserted.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    pub event_type: String,
    pub event_version: String,
    pub payload: Value,
}

/// Whether any of these events holds something to seal.
pub fn has_personal<E: Event>(events: &mut [E]) -> bool {
    events.iter_mut().any(|event| !event.personal().is_empty())
}

/// Seals and serialises the events of one stream, the first of which gets sequence `first`.
pub fn encode<E: Event>(
    keys: &SubjectKeys,
    stream: Uuid,
    first: Sequence,
    events: Vec<E>,
) -> Result<Vec<Encoded>, StoreError> {
    (first..)
        .zip(events)
        .map(|(sequence, mut event)| {
            for (field, value) in event.personal() {
                if let Personal::Plain(plain) = value {
                    let key = keys.get(&stream).ok_or(KeyError::Destroyed)?;
                    *value = Personal::Sealed(key.seal(sequence, field, plain)?);
                }
            }
            Ok(Encoded {
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: serde_json::to_value(&event).map_err(|e| StoreError::Format(e.to_string()))?,
            })
        })
        .collect()
}

/// Older versions are upcast. One that this release does not know is an error, although it may look like one that it knows: what it
/// has more may be the very thing that somebody opted out of.
pub fn decode_stored<E: Event>(event_type: &str, version: &str, payload: &Value) -> Result<E, StoreError> {
    let upcast = E::upcast(event_type, version, payload);
    let error = |reason: &dyn Display| StoreError::Format(format!("{event_type} {version}: {reason}"));
    let event = E::deserialize(upcast.as_ref().unwrap_or(payload)).map_err(|reason| error(&reason))?;
    match upcast.is_some() || event.event_version() == version {
        true => Ok(event),
        false => Err(error(&"this release does not know the version")),
    }
}

/// The event of aggregate `A` behind a log entry, whatever version it was stored in.
pub fn decode<A: Aggregate>(event: &LogEvent) -> Result<A::Event, StoreError>
where
    A::Event: Event,
{
    decode_stored(&event.event_type, &event.event_version, &event.payload)
}

/// The bytes that proofs and golden files commit to: RFC 8785 (JCS).
pub fn canonical(value: &Value) -> Result<Vec<u8>, StoreError> {
    serde_jcs::to_vec(value).map_err(|error| StoreError::Format(error.to_string()))
}

/// Kept by name in the stored form, beside what each event says of itself.
pub type Metadata = std::collections::HashMap<String, String>;
