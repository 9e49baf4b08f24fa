//! A log entry as a Kafka record: see `docs/events.md`.
//!
//! The value is JSON and the headers are text, so that Kafka's own tools can read both. Payload and metadata are the
//! log's own text, copied and never decoded on the way in; personal data in them is ciphertext.

use chrono::{DateTime, SecondsFormat, Utc};
use eventstore::LogEvent;
use projections::SLOTS;
use rdkafka::message::{BorrowedHeaders, Header, Headers, Message, OwnedHeaders};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Write;
use std::str::FromStr;
use uuid::Uuid;

/// A log entry on its way to Kafka.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Outgoing {
    pub position: i64,
    pub aggregate_type: String,
    pub slot: i16,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    /// JSON text.
    pub payload: String,
    /// JSON text.
    pub metadata: String,
    pub recorded_at: DateTime<Utc>,
}

impl Outgoing {
    pub fn value(&self) -> String {
        let mut json = String::with_capacity(self.payload.len() + self.metadata.len() + 320);
        let text = |json: &mut String, name: &str, value: &str| {
            json.push_str(name);
            // Escapes what needs it. Writing a string into memory cannot fail.
            json.push_str(&serde_json::to_string(value).unwrap_or_default());
        };
        text(&mut json, "{\"aggregate_type\":", &self.aggregate_type);
        text(&mut json, ",\"aggregate_id\":", &self.aggregate_id);
        let _ = write!(json, ",\"sequence\":{}", self.sequence);
        text(&mut json, ",\"event_type\":", &self.event_type);
        text(&mut json, ",\"event_version\":", &self.event_version);
        text(&mut json, ",\"recorded_at\":", &self.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true));
        let _ = write!(json, ",\"payload\":{},\"metadata\":{}}}", self.payload, self.metadata);
        json
    }

    /// `previous`: the position before this one of the same type and slot, 0 for the first.
    pub fn headers(&self, epoch: &str, previous: i64) -> OwnedHeaders {
        let number = |headers: OwnedHeaders, key, value: i64| {
            headers.insert(Header { key, value: Some(&value.to_string()) })
        };
        let text =
            |headers: OwnedHeaders, key, value: &str| headers.insert(Header { key, value: Some(value) });
        let headers = text(OwnedHeaders::new_with_capacity(6), "epoch", epoch);
        let headers = number(headers, "position", self.position);
        let headers = number(headers, "previous_position", previous);
        let headers = number(headers, "slot", self.slot.into());
        let headers = text(headers, "event_type", &self.event_type);
        text(headers, "event_version", &self.event_version)
    }
}

/// A record that came from Kafka.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    pub previous: i64,
    pub event: LogEvent,
}

/// A record that is none of ours, or that was damaged. It is passed over: what it may have held is then missing, and
/// what is missing is read from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the header {0} is missing, or is not what it should be")]
    Header(&'static str),
    #[error("it is of another epoch")]
    ForeignEpoch,
    #[error("the value is not the JSON of an event")]
    Value,
}

#[derive(Deserialize)]
struct Body {
    aggregate_type: String,
    aggregate_id: String,
    sequence: i64,
    event_type: String,
    event_version: String,
    recorded_at: DateTime<Utc>,
    payload: Value,
    metadata: Value,
}

impl Incoming {
    pub fn read(record: &impl Message<Headers = BorrowedHeaders>, epoch: Uuid) -> Result<Self, Unreadable> {
        Self::from_parts(record.payload(), record.headers(), epoch)
    }

    fn from_parts(
        value: Option<&[u8]>,
        headers: Option<&BorrowedHeaders>,
        epoch: Uuid,
    ) -> Result<Self, Unreadable> {
        let headers = headers.ok_or(Unreadable::Header("epoch"))?;
        if header::<Uuid>(headers, "epoch")? != epoch {
            return Err(Unreadable::ForeignEpoch);
        }
        let body = serde_json::from_slice(value.unwrap_or_default());
        let body: Body = body.map_err(|_| Unreadable::Value)?;
        let event = LogEvent {
            position: header(headers, "position")?,
            slot: header(headers, "slot")?,
            aggregate_type: body.aggregate_type,
            aggregate_id: body.aggregate_id,
            sequence: body.sequence,
            event_type: body.event_type,
            event_version: body.event_version,
            payload: body.payload,
            metadata: body.metadata,
            recorded_at: body.recorded_at,
        };
        let previous = header(headers, "previous_position")?;
        if !(0..SLOTS).contains(&event.slot) {
            return Err(Unreadable::Header("slot"));
        }
        if !(0..event.position).contains(&previous) {
            return Err(Unreadable::Header("previous_position"));
        }
        Ok(Self { previous, event })
    }
}

fn header<T: FromStr>(headers: &BorrowedHeaders, name: &'static str) -> Result<T, Unreadable> {
    let value = headers.iter().find(|header| header.key == name).and_then(|header| header.value);
    let text = value.and_then(|value| std::str::from_utf8(value).ok());
    text.and_then(|text| text.parse().ok()).ok_or(Unreadable::Header(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::OwnedMessage;
    use rdkafka::{Timestamp, message::ToBytes};

    fn outgoing() -> Outgoing {
        Outgoing {
            position: 7,
            aggregate_type: "group".into(),
            slot: 3,
            aggregate_id: "a \"quoted\" id".into(),
            sequence: 2,
            event_type: "GroupChanged".into(),
            event_version: "1.0".into(),
            payload: r#"{"GroupChanged": {"name": "Ä\n"}}"#.into(),
            metadata: "{}".into(),
            recorded_at: DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap(),
        }
    }

    #[test]
    fn the_value_is_the_documented_json() {
        let text = r#"{"aggregate_type":"group","aggregate_id":"a \"quoted\" id","sequence":2,"event_type":"GroupChanged","event_version":"1.0","recorded_at":"2023-11-14T22:13:20.123456Z","payload":{"GroupChanged": {"name": "Ä\n"}},"metadata":{}}"#;
        assert_eq!(outgoing().value(), text);
    }

    #[test]
    fn headers_are_readable_text() {
        let headers = outgoing().headers("the epoch", 4);
        let found: Vec<(String, String)> = headers
            .iter()
            .map(|h| (h.key.to_owned(), String::from_utf8_lossy(h.value.unwrap()).into_owned()))
            .collect();
        let expected = [
            ("epoch", "the epoch"),
            ("position", "7"),
            ("previous_position", "4"),
            ("slot", "3"),
            ("event_type", "GroupChanged"),
            ("event_version", "1.0"),
        ];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
        let (out, epoch) = (outgoing(), Uuid::from_u128(5));
        let incoming = read(&out.value(), out.headers(&epoch.to_string(), 4), epoch).unwrap();
        assert_eq!((incoming.previous, incoming.event.position, incoming.event.slot), (4, 7, 3));
        assert_eq!(incoming.event.aggregate_id, out.aggregate_id);
        assert_eq!(incoming.event.recorded_at, out.recorded_at);
        assert_eq!(incoming.event.payload["GroupChanged"]["name"], "Ä\n");
    }

    #[test]
    fn what_is_not_ours_is_told_apart() {
        let (out, epoch) = (outgoing(), Uuid::from_u128(5));
        let headers = || out.headers(&epoch.to_string(), 4);
        assert_eq!(read(&out.value(), headers(), Uuid::nil()), Err(Unreadable::ForeignEpoch));
        assert_eq!(read("not JSON", headers(), epoch), Err(Unreadable::Value));
        let backwards = out.headers(&epoch.to_string(), 7);
        assert_eq!(read(&out.value(), backwards, epoch), Err(Unreadable::Header("previous_position")));
        let elsewhere = Outgoing { slot: 64, ..outgoing() }.headers(&epoch.to_string(), 4);
        assert_eq!(read(&out.value(), elsewhere, epoch), Err(Unreadable::Header("slot")));
        let bare = OwnedHeaders::new().insert(Header { key: "epoch", value: Some(&epoch.to_string()) });
        assert_eq!(read(&out.value(), bare, epoch), Err(Unreadable::Header("position")));
    }

    fn read(value: &str, headers: OwnedHeaders, epoch: Uuid) -> Result<Incoming, Unreadable> {
        let payload = Some(value.to_bytes().to_vec());
        let message =
            OwnedMessage::new(payload, None, "t".into(), Timestamp::NotAvailable, 0, 0, Some(headers));
        Incoming::from_parts(message.payload(), message.headers().map(OwnedHeaders::as_borrowed), epoch)
    }
}
