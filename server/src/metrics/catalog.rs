//! Every metric with its kind and its meaning: what `docs/operations.md` lists, and a test compares.

use Kind::{Counter, Gauge, Histogram};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Name, kind, meaning.
pub const CATALOG: &[(&str, Kind, &str)] = &[
    ("postledger_build_info", Gauge, "1, with the version of this process"),
    ("postledger_role", Gauge, "1 for each role of this process"),
    ("postledger_http_requests_total", Counter, "Requests answered, by route, method and class of status"),
    ("postledger_http_request_duration_seconds", Histogram, "From a request's head to its answer's head"),
    ("postledger_commands_total", Counter, "Commands over REST, by what came of them"),
    ("postledger_mailer_calls_total", Counter, "Mails handed to a mailer, by what came of it"),
    ("postledger_mailer_call_duration_seconds", Histogram, "How long a mailer took for one mail"),
    ("postledger_mailer_unavailable_total", Counter, "Times that a mailer could take nothing"),
    ("postledger_late_handovers_total", Counter, "Calls that started after their window had passed"),
    ("postledger_given_up_total", Counter, "Work that ended its workers again and again"),
    (
        "postledger_media_call_duration_seconds",
        Histogram,
        "How long the object store or the CDN took for one call",
    ),
    ("postledger_media_failures_total", Counter, "Calls of the object store or the CDN that failed"),
    ("postledger_media_files", Gauge, "Files of media that are not settled, by what they wait for"),
    ("postledger_panics_total", Counter, "Panics, which are mistakes of ours"),
    ("postledger_password_hashes_total", Counter, "Passwords hashed or compared by argon2"),
    ("postledger_password_hashes_running", Gauge, "Passwords that are hashed now"),
    ("postledger_password_hashes_waiting", Gauge, "Passwords that wait to be hashed"),
    (
        "postledger_database_connections",
        Gauge,
        "Connections to Postgres, by pool and whether they are in use",
    ),
    ("postledger_database_connections_max", Gauge, "Connections that a pool may open"),
    ("postledger_database_acquire_seconds", Gauge, "How long one had to wait for a connection of a pool"),
    ("postledger_database_up", Gauge, "1 if the last sample of the database could be taken"),
    ("postledger_sampled_timestamp_seconds", Gauge, "When the database was last sampled"),
    ("postledger_log_position", Gauge, "The last position of the log: its events"),
    ("postledger_sequencer_lag_events", Gauge, "Events without a position, counted up to 10000"),
    ("postledger_sequencer_lag_seconds", Gauge, "Age of the oldest event without a position"),
    ("postledger_lost_events", Gauge, "Events that would never get a position, counted up to 10000"),
    ("postledger_sequence_behind", Gauge, "1 where append_ids are drawn that are numbered already"),
    (
        "postledger_projection_lag_events",
        Gauge,
        "Events that a read model has not done, counted up to 1000 a slot",
    ),
    ("postledger_projection_lag_seconds", Gauge, "How long the oldest event waits for a read model"),
    ("postledger_projection_parked_streams", Gauge, "Streams of a read model that wait for an operator"),
    ("postledger_dead_letters", Gauge, "Events that a read model could not apply"),
    ("postledger_relay_lag_events", Gauge, "Events that the brokers have not acknowledged"),
    ("postledger_relay_lag_seconds", Gauge, "How long the oldest event waits for the brokers"),
    ("postledger_schedule_lag_seconds", Gauge, "How long a campaign is due and not begun"),
    ("postledger_dispatches", Gauge, "Dispatches with recipients to write to, by what they wait for"),
    ("postledger_sending_stopped", Gauge, "1 while nobody hands mails over, by why"),
    ("postledger_recipients", Gauge, "Recipients of all campaigns, by state"),
    ("postledger_imports", Gauge, "Imports that are not over, by status"),
    ("postledger_erasures", Gauge, "Erased people of whom mails or rejected rows may be left"),
    ("process_resident_memory_bytes", Gauge, "Memory of this process"),
    ("process_open_fds", Gauge, "Files and sockets that this process has open"),
    ("process_start_time_seconds", Gauge, "When this process started"),
];

/// Gives each metric its HELP line.
pub fn describe() {
    for (name, kind, help) in CATALOG {
        match kind {
            Counter => metrics::describe_counter!(*name, *help),
            Gauge => metrics::describe_gauge!(*name, *help),
            Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Names of the table's first column.
    fn documented() -> BTreeSet<String> {
        let text = include_str!("../../../docs/operations.md");
        let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let names = cells.map(|(name, _)| name.split('{').next().unwrap_or_default().to_owned());
        names.filter(|name| name.starts_with("postledger_") || name.starts_with("process_")).collect()
    }

    #[test]
    fn the_table_in_the_documentation_is_this_one() {
        let here: BTreeSet<String> = CATALOG.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(here.len(), CATALOG.len());
        assert_eq!(documented(), here);
    }

    #[test]
    fn names_follow_prometheus() {
        for (name, kind, help) in CATALOG {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Counter, "{name}");
            assert!(*kind != Histogram || name.ends_with("_seconds") || name.ends_with("_bytes"), "{name}");
            assert!(!help.is_empty() && !help.ends_with('.'), "{name}: {help}");
        }
    }
}
