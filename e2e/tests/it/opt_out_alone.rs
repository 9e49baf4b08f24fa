//! Opting out needs Postgres alone: nothing else of the product has to be there, and nothing else that goes on can keep a
//! reader waiting.

use crate::scene::{self, Linked};
use e2e::{Answer, Client, Settings, Stack, eventually};
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Nothing listens there.
const NOWHERE: &str = "127.0.0.1:1";
const CONNECTIONS: usize = 4;
/// Much more than one takes, and less than a request waits for a connection.
const AT_ONCE: Duration = Duration::from_secs(2);
const WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_reader_leaves_while_everything_else_is_down_or_busy() {
    let mut stack = Stack::start(Settings::new()).await;
    let group = stack.client().group("Letters").await;
    let emails: Vec<String> = (0..4).map(|number| format!("reader{number}@example.com")).collect();
    let readers: Vec<(&str, &[_])> =
        emails.iter().map(|email| (email.as_str(), std::slice::from_ref(&group))).collect();
    let readers = scene::linked(&stack, &readers).await;
    stack.terminate("server", WITHIN).await;

    // No sequencer, no projector, no scheduler, no sender; a Kafka, a mail server and an object store that are away.
    for (key, value) in [("kafka.brokers", NOWHERE), ("send.mailer", "smtp"), ("smtp.host", "127.0.0.1")] {
        stack.set(key, value);
    }
    stack.set("smtp.port", 1);
    stack.set("media.bucket", "postledger");
    stack.set("media.endpoint", format!("http://{NOWHERE}"));
    stack.set("media.public_url", format!("http://{NOWHERE}/postledger"));
    stack.set("media.access_key_id", "postledger");
    stack.set("media.secret_access_key", "a secret");
    stack.set("smtp.tls", "none");
    stack.set("send.postal_address", "Postledger Press, 1 Ledger Lane, Exampleton");
    stack.set("database.max_connections", CONNECTIONS);
    stack.serve("api", "api").await;
    stack.ready().await;
    leave_in_each_way(&stack, &readers[..2]).await;

    // Every connection for anything else waits for a lock.
    let mut held = stack.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE groups IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let mut staff = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let api = stack.client().fork();
        staff.spawn(async move { api.send(api.request(Method::GET, "/groups")).await });
    }
    eventually("the connections are taken", WITHIN, async || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'groups'::regclass";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(stack.pool()).await.unwrap();
        (waiting as usize == CONNECTIONS).then_some(())
    })
    .await;
    leave_in_each_way(&stack, &readers[2..]).await;
    held.rollback().await.unwrap();
    staff.join_all().await;

    // What was acknowledged is there.
    let mut out = BTreeMap::new();
    for reader in &readers {
        let events = stack.trail().stream("subscriber", reader.id).await;
        let opt_outs = events.iter().filter(|event| event.event_type == "SubscriberOptedOut").count();
        out.insert(reader.id, opt_outs);
    }
    assert!(out.values().all(|opt_outs| *opt_outs == 1), "{out:?}");
}

/// One reader by a click in a mail program, who looks at the page then; the other by the JSON of a frontend.
async fn leave_in_each_way(stack: &Stack, readers: &[Linked]) {
    let public = Client::public(&stack.url());
    let [clicks, writes] = readers else { panic!("two readers") };
    let form = [("List-Unsubscribe", "One-Click")];
    soon(&public, public.request(Method::POST, &clicks.link).form(&form)).await.expect(200);
    let page = soon(&public, public.request(Method::GET, &clicks.link)).await.expect(200);
    assert!(page.body.contains("You are unsubscribed."), "{}", page.body);
    let frontend = public.with_bearer(writes.token());
    soon(&frontend, frontend.request(Method::GET, "/preferences")).await.expect(200);
    let everything = frontend.request(Method::POST, "/emails/unsubscribe").json(&json!({ "global": true }));
    soon(&frontend, everything).await.expect(204);
}

/// At the first try.
async fn soon(api: &Client, request: reqwest::RequestBuilder) -> Answer {
    let start = Instant::now();
    let answer = api.send(request).await.unwrap();
    assert!(start.elapsed() < AT_ONCE, "it took {:?}", start.elapsed());
    answer
}
