//! A query that sends back the position of its command sees what the command did, each time.

use e2e::{Answer, Client, Settings, Stack};
use reqwest::Method;
use serde_json::{Value, json};

const COMMANDS: usize = 1_000;
/// Callers at once, each with its own positions.
const LANES: usize = 4;
const POSITION: &str = "Postledger-Position";

#[tokio::test]
async fn a_query_with_a_position_sees_its_command_a_thousand_times() {
    let stack = Stack::start(Settings::new()).await;
    let lanes = (0..LANES).map(|lane| tokio::spawn(write_and_read(stack.client(), lane)));
    let reads: usize = futures::future::join_all(lanes).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(reads, COMMANDS);
}

/// In turn: a new subscriber, a group's new name, a campaign's new time. One try each, no patience.
async fn write_and_read(api: Client, lane: usize) -> usize {
    let group = api.group(&format!("Lane {lane}")).await;
    let template = crate::scene::template(&api).await;
    let campaign = api.draft(&e2e::Draft { template, group, ..Default::default() }).await;
    let rounds = COMMANDS / LANES;
    for round in 0..rounds {
        match round % 3 {
            0 => subscriber(&api, group, lane, round).await,
            1 => {
                let name = format!("Lane {lane}, round {round}");
                let changed =
                    command(&api, Method::PATCH, &format!("/groups/{group}"), &json!({ "name": name })).await;
                let seen: Value = query(&api, &format!("/groups/{group}"), &changed).await;
                assert_eq!(seen["name"], name);
            }
            _ => {
                let at = e2e::now() + chrono::TimeDelta::minutes(60 + round as i64);
                let schedule = json!({ "campaign_id": campaign, "datetime": at });
                let changed = command(&api, Method::POST, "/schedule", &schedule).await;
                let seen: e2e::Campaign =
                    serde_json::from_value(query(&api, &format!("/emails/{campaign}"), &changed).await)
                        .unwrap();
                assert_eq!(seen.scheduled_for.map(|at| at.timestamp_micros()), Some(at.timestamp_micros()));
            }
        }
    }
    rounds
}

async fn subscriber(api: &Client, group: uuid::Uuid, lane: usize, round: usize) {
    let email = format!("reader{round}.{lane}@example.com");
    let new = json!({ "email": email, "groups": [group], "consent": { "source": "e2e" } });
    let added = command(api, Method::POST, "/subscribers", &new).await;
    let id = added.id("subscriber_id");
    let seen = query(api, &format!("/subscribers/{id}"), &added).await;
    assert_eq!(
        (seen["email"].as_str(), &seen["groups"][0]["subscribed"]),
        (Some(email.as_str()), &json!(true))
    );
    let found = query(api, &format!("/subscribers?email={email}"), &added).await;
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
}

async fn command(api: &Client, method: Method, path: &str, body: &Value) -> Answer {
    let answer = api.send(api.request(method, path).json(body)).await.unwrap();
    assert!((200..300).contains(&answer.status), "{answer:?}");
    answer
}

async fn query(api: &Client, path: &str, after: &Answer) -> Value {
    let position = after.header(POSITION).expect("a command answers its position");
    let answer = api.send(api.request(Method::GET, path).header(POSITION, position)).await.unwrap();
    answer.expect(200).json()
}
