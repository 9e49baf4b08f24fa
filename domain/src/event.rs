//! What the event store needs to know of every event, beyond cqrs-es's name and version.

use crate::Personal;
use cqrs_es::DomainEvent;
use serde_json::Value;

pub trait Event: DomainEvent {
    /// The personal data of this event with the name of each field, so that the store can seal it.
    /// The subject is always the event's own stream.
    fn personal(&mut self) -> Vec<(&'static str, &mut Personal)> {
        Vec::new()
    }

    /// The payload of an older stored version in the form of the present one; `None` where it has that form already.
    /// Stored events are never rewritten.
    fn upcast(_event_type: &str, _version: &str, _payload: &Value) -> Option<Value> {
        None
    }
}
