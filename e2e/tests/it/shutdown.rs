//! SIGTERM: a load balancer notices first, what is in flight ends, and so does the process, with success.
//!
//! `restart.rs` stops a sender in the middle of its work, `kafka.rs` one whose brokers are away.

use e2e::{Client, Export, Settings, Stack, eventually};
use reqwest::{Body, Method};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const READERS: u64 = 200;
const WITHIN: Duration = Duration::from_secs(20);
const STOPS_WITHIN: Duration = Duration::from_secs(30);
const DRAIN_SECONDS: u64 = 3;

#[tokio::test]
async fn a_request_in_flight_ends_and_before_that_a_load_balancer_notices() {
    let mut stack = Stack::start(Settings::new().set("api.drain_seconds", DRAIN_SECONDS)).await;
    let api = stack.client();
    let group = api.group("Readers").await;
    let csv = Export::clean("reader", READERS).csv;
    let (first, rest) = csv.split_at(csv.len() / 3);
    let (second, rest) = rest.split_at(rest.len() / 2);
    let (body, parts) = mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let upload = {
        let request =
            api.request(Method::POST, &format!("/subscribers/import?group={group}&consent_source=e2e"));
        let stream = futures::stream::unfold(parts, async |mut parts| Some((parts.recv().await?, parts)));
        let request = request.header("Content-Type", "text/csv").header("Idempotency-Key", "slow");
        let (api, request) = (api.clone(), request.body(Body::wrap_stream(stream)));
        tokio::spawn(async move { api.send(request).await })
    };
    // Room for the third is there once the first was taken: by then the request is under way.
    for part in [first, second, b""] {
        body.send(Ok(part.to_vec())).await.unwrap();
    }

    let told = Instant::now();
    stack.process("server").signal("TERM");
    let health = Client::public(&stack.url());
    eventually("it is not ready", WITHIN, async || {
        (health.try_once("/health/ready").await == Some(503)).then_some(())
    })
    .await;
    assert!(told.elapsed() < Duration::from_secs(DRAIN_SECONDS), "nobody could notice in time");
    // By new connections: nobody is turned away yet.
    assert_eq!(Client::public(&stack.url()).try_once("/health/live").await, Some(200));
    let groups: Value = stack.client().query("/groups").await.expect(200).json();
    assert_eq!(groups["items"][0]["group_id"], group.to_string());

    eventually("it takes no connection", WITHIN, async || {
        Client::public(&stack.url()).try_once("/health/live").await.is_none().then_some(())
    })
    .await;
    assert!(stack.process("server").ended().is_none(), "it did not wait for the request");
    body.send(Ok(rest.to_vec())).await.unwrap();
    drop(body);
    let answer = upload.await.unwrap().unwrap().expect(202);
    let status = stack.process("server").wait(STOPS_WITHIN).await;
    assert!(status.success() && told.elapsed() < STOPS_WITHIN, "{status} after {:?}", told.elapsed());

    stack.terminated("server");
    stack.serve("server", "").await;
    stack.ready().await;
    let import = api.import_ended(answer.id("import_id"), WITHIN).await;
    assert_eq!((import.rows, import.created), (READERS, READERS), "what was answered is there");
}
