//! What Prometheus is shown: all that is documented, in bounded series, whatever becomes of the database.

use crate::{media, scene};
use e2e::{Client, Export, MediaStore, Metrics, Settings, Stack, eventually};
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use uuid::Uuid;

const READERS: u64 = 40;
const WITHIN: Duration = Duration::from_secs(60);
/// Every label that a series may have.
const LABELS: &[&str] = &[
    "version",
    "role",
    "route",
    "method",
    "status",
    "result",
    "mailer",
    "outcome",
    "pool",
    "state",
    "projection",
    "service",
    "work",
    "reason",
    "le",
];
const SERIES_MAX: usize = 2_000;
/// They are there with Kafka; `kafka.rs` looks at them.
const OF_KAFKA: [&str; 2] = ["postledger_relay_lag_events", "postledger_relay_lag_seconds"];

#[tokio::test]
async fn all_that_is_documented_is_exported_in_bounded_series() {
    let store = MediaStore::start().await;
    let mut stack = media::start(Settings::new().media(&store)).await;
    let api = stack.client();
    media::upload(&api).await;
    let draft = scene::readers(&api, &Export::clean("reader", READERS)).await;
    let campaign = api.launch(&draft).await;
    api.completes(campaign, WITHIN).await;
    oddities(&api).await;
    Metrics::say(&stack, "server", &format!("postledger_recipients{{state=\"accepted\"}} {READERS}")).await;
    let metrics = Metrics::of(&stack, "server").await;
    check_form(&metrics);
    check_values(&metrics);

    stack.serve("another", "sender").await;
    let another = eventually("another process shows its own", WITHIN, async || {
        let listens = Client::public(&stack.metrics_url("another")).try_once("").await;
        listens.filter(|status| *status == 200).map(drop)
    });
    another.await;
    let another = Metrics::of(&stack, "another").await;
    assert_eq!(another.value("postledger_role", &[("role", "sender")]), Some(1.0));
    assert_eq!(another.value("postledger_role", &[("role", "api")]), None);
}

/// What clients send that nobody asked for.
async fn oddities(api: &Client) {
    let public = api.anonymous();
    let login = json!({ "email": "nobody@example.com", "password": "a wrong password" });
    public.send(public.request(Method::POST, "/auth/login").json(&login)).await.unwrap().expect(401);
    for path in ["/nothing/here", "/groups/zeisig", "/.env?token=zeisig"] {
        api.send(api.request(Method::GET, path)).await.unwrap();
    }
    let strange = Method::from_bytes(b"ZEISIG").unwrap();
    api.send(api.request(strange, "/groups")).await.unwrap().expect(405);
}

fn check_form(metrics: &Metrics) {
    let documentation = include_str!("../../../docs/operations.md");
    let cells = documentation.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let names = cells.map(|(name, _)| name.split('{').next().unwrap().to_owned());
    let documented: BTreeSet<String> =
        names.filter(|name| name.starts_with("postledger_") || name.starts_with("process_")).collect();
    let exported: BTreeSet<String> = metrics.families.iter().map(|family| family.name.clone()).collect();
    let missing: Vec<&String> =
        documented.difference(&exported).filter(|name| !OF_KAFKA.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "documented and not exported: {missing:?}");
    let unknown: Vec<&String> = exported.difference(&documented).collect();
    assert!(unknown.is_empty(), "exported and not documented: {unknown:?}");

    let mut series = 0;
    for family in &metrics.families {
        assert!(!family.help.is_empty(), "{} has no HELP", family.name);
        assert!(
            ["counter", "gauge", "histogram"].contains(&family.kind.as_str()),
            "{}: {}",
            family.name,
            family.kind
        );
        for sample in &family.samples {
            series += 1;
            for (label, value) in &sample.labels {
                assert!(LABELS.contains(&label.as_str()), "{label} of {}", family.name);
                let is_id = value.split('/').any(|part| Uuid::try_parse(part).is_ok());
                assert!(
                    !is_id && !value.contains(['@', '?']) && !value.contains("zeisig"),
                    "{label}={value}"
                );
            }
        }
    }
    assert!(series < SERIES_MAX, "{series} series");
}

fn check_values(metrics: &Metrics) {
    let value = |name: &str, labels: &[(&str, &str)]| {
        metrics.value(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?}"))
    };
    let groups = [("method", "POST"), ("route", "/groups")];
    let requests = "postledger_http_requests_total";
    assert_eq!(value(requests, &[groups[0], groups[1], ("status", "2xx")]), 1.0);
    assert_eq!(value("postledger_http_request_duration_seconds_count", &groups), 1.0);
    assert_eq!(value("postledger_commands_total", &[groups[0], groups[1], ("result", "done")]), 1.0);
    let refused = [("route", "/auth/login"), ("result", "unauthorized")];
    assert_eq!(value("postledger_commands_total", &refused), 1.0);
    assert_eq!(value(requests, &[("method", "other"), ("status", "4xx")]), 1.0);
    assert!(value(requests, &[("route", "-"), ("status", "4xx"), ("method", "GET")]) >= 2.0);
    let accepted = [("mailer", "outbox"), ("outcome", "accepted")];
    assert_eq!(value("postledger_mailer_calls_total", &accepted), READERS as f64);
    assert_eq!(
        value("postledger_mailer_call_duration_seconds_count", &[("mailer", "outbox")]),
        READERS as f64
    );
    let store = [("service", "object_store")];
    assert!(value("postledger_media_call_duration_seconds_count", &store) >= 3.0, "signed, looked at, read");
    assert_eq!(value("postledger_media_failures_total", &store), 0.0);
    assert_eq!(value("postledger_media_files", &[("state", "unwanted")]), 0.0);
    assert_eq!(value("postledger_password_hashes_total", &[]), 1.0);
    assert_eq!(value("postledger_late_handovers_total", &[("mailer", "outbox")]), 0.0);
    assert!(value("postledger_log_position", &[]) > READERS as f64);
    for name in ["postledger_sequencer_lag_seconds", "postledger_panics_total"] {
        assert_eq!(value(name, &[]), 0.0, "{name}");
    }
    for state in ["claimed", "waiting", "resting", "held"] {
        assert_eq!(value("postledger_dispatches", &[("state", state)]), 0.0, "{state}");
    }
    for model in ["campaigns", "recipients"] {
        assert_eq!(value("postledger_projection_lag_events", &[("projection", model)]), 0.0, "{model}");
    }
    assert_eq!(value("postledger_database_up", &[]), 1.0);
    assert_eq!(value("postledger_database_connections_max", &[("pool", "opt_outs")]), 4.0);
    assert!(value("process_resident_memory_bytes", &[]) > 1e6 && value("process_open_fds", &[]) > 5.0);
}

#[tokio::test]
async fn without_a_database_the_process_lives_and_its_metrics_say_so() {
    let stack = Stack::start(Settings::new()).await;
    let public = Client::public(&stack.url());
    Metrics::say(&stack, "server", "postledger_database_up 1").await;
    let sampled =
        Metrics::of(&stack, "server").await.value("postledger_sampled_timestamp_seconds", &[]).unwrap();
    stack.take_database_away().await;
    Metrics::say(&stack, "server", "postledger_database_up 0").await;
    let asked = Instant::now();
    let metrics = Metrics::of(&stack, "server").await;
    assert!(metrics.value("postledger_log_position", &[]).is_some(), "what was known stays");
    assert_eq!(public.try_once("/health/live").await, Some(200));
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "a scrape and a sign of life took {:?}",
        asked.elapsed()
    );
    assert_eq!(public.try_once("/health/ready").await, Some(503));

    stack.database_is_back().await;
    Metrics::say(&stack, "server", "postledger_database_up 1").await;
    let metrics = Metrics::of(&stack, "server").await;
    assert!(metrics.value("postledger_sampled_timestamp_seconds", &[]).unwrap() > sampled);
    assert_eq!(public.try_once("/health/ready").await, Some(200));
}
