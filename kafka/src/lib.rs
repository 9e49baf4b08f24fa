//! The second carrier: the log goes to Kafka's topics, and from there into the read models.
//!
//! - [`Relay`] publishes the log in order of position, and moves its acknowledged position only over what the brokers
//!   have acknowledged. It may publish something twice.
//! - [`Carrier`] runs a consumer group for each projection. A record is applied only if the position before it, in its
//!   type and slot, is the projection's checkpoint; what is missing in between is read from the log. So duplicates,
//!   lost records, a second relay, an emptied topic and a new number of partitions all heal.
//! - A checkpoint moves only onto an event that the log has at that position, and the relay publishes nothing behind records that
//!   the log lacks: after a restore they are of a history that was lost.
//! - The log is never a way around Kafka: it is read for what lies before a record that Kafka delivered, or before a
//!   position that the relay had acknowledged when the brokers said that the partition holds nothing more.
//!
//! The records are described in `docs/events.md`. Nothing outside of this crate knows rdkafka.

mod applier;
mod carrier;
mod check;
mod client;
mod config;
mod ends;
pub mod envelope;
mod lease;
mod log;
mod member;
mod relay;
mod tail;
mod topics;
mod window;

pub use carrier::Carrier;
pub use check::{Report, check};
pub use config::{KafkaConfig, KafkaConfigError, SaslMechanism, Secret};
pub use ends::{Ahead, EndsError, ahead_of_the_log};
pub use relay::Relay;
pub use topics::{Topics, group_id, topic_name};
