//! Whose address is recorded, over a socket and behind proxies.

use crate::support::TestApp;
use domain::{Personal, SubscriberId};
use serde_json::Value;
use sqlx::PgPool;

type Headers = &'static [(&'static str, &'static str)];

/// The source address that a reader's opt-out recorded.
async fn recorded(app: &TestApp, reader: SubscriberId) -> String {
    let origin: Value = sqlx::query_scalar(
        "SELECT payload #> '{SubscriberOptedOut,origin}' FROM events
         WHERE event_type = 'SubscriberOptedOut' AND aggregate_id = $1",
    )
    .bind(reader.to_string())
    .fetch_one(&app.pool)
    .await
    .unwrap();
    let sealed = Personal::Sealed(origin["source_address"].as_str().unwrap().to_owned());
    let keys = eventstore::sealing::fetch(&app.pool, &app.commands.store.master, &[reader]).await.unwrap();
    keys[&reader].open("source_address", &sealed).unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_event_names_the_client_that_a_trusted_proxy_names(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |config| {
        config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    })
    .await;
    let cases: [(&str, Headers, &str); 9] = [
        (
            "198.51.100.7",
            &[("x-forwarded-for", "203.0.113.1"), ("forwarded", "for=203.0.113.1")],
            "198.51.100.7",
        ),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &[("x-forwarded-for", "203.0.113.1, 198.51.100.2, 10.0.0.9")], "198.51.100.2"),
        ("fd00::1", &[("x-forwarded-for", "[2001:db8::17]:4711")], "2001:db8::17"),
        (
            "10.0.0.1",
            &[("forwarded", "for=203.0.113.1, for=\"[2001:db8::17]:4711\";proto=https")],
            "2001:db8::17",
        ),
        ("10.0.0.1", &[("forwarded", "for=203.0.113.1, for=unknown, for=10.0.0.2")], "10.0.0.2"),
        ("10.0.0.1", &[("forwarded", "for=203.0.113.1, for=_hidden")], "10.0.0.1"),
        (
            "10.0.0.1",
            &[("forwarded", "for=203.0.113.1;x=\""), ("x-forwarded-for", "198.51.100.2")],
            "10.0.0.1",
        ),
        (
            "10.0.0.1",
            &[("forwarded", "for=198.51.100.2"), ("x-forwarded-for", "198.51.100.2")],
            "198.51.100.2",
        ),
    ];
    for (number, (peer, headers, expected)) in cases.into_iter().enumerate() {
        let reader = app.subscriber(&format!("reader{number}@example.com"), &[]).await;
        let path = format!("/emails/unsubscribe?token={}", app.token(reader, None));
        let mut call = app.post(&path).anonymous().from(peer).form("List-Unsubscribe=One-Click");
        for (name, value) in headers {
            call = call.header(name, value);
        }
        call.send().await.ok(200);
        assert_eq!(recorded(&app, reader).await, expected, "{peer} {headers:?}");
    }
}
