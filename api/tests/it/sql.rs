//! SQL in every field: each parameter, each header of ours and each text in a body of every operation gets each of these.
//! Nothing breaks, nothing that was there changes, and no filter finds more.

use crate::reference::{Operation, Reference, Scene};
use crate::support::{Answer, Call, TestApp};
use axum::http::Method;
use serde_json::Value;
use sqlx::PgPool;
use std::time::{Duration, Instant};

const PAYLOADS: [&str; 7] = [
    "'; DROP TABLE events CASCADE; --",
    "' OR '1'='1",
    "1) OR 1=1 --",
    "'||(SELECT pg_sleep(20))||'",
    "\\'; UPDATE accounts SET disabled = true; --",
    "$1::text; DELETE FROM passwords",
    "%' UNION SELECT phc FROM passwords --",
];
/// Shorter than a payload sleeps, longer than anything else takes.
const LONG: Duration = Duration::from_secs(15);

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn sql_in_a_field_is_a_text_as_any_other(pool: PgPool) {
    let scene = Scene::set(TestApp::new(pool).await).await;
    let reference = Reference::of(&scene.app).await;
    let until = "SELECT max(append_id) FROM events";
    let until: i64 = sqlx::query_scalar(until).fetch_one(&scene.app.pool).await.unwrap();
    let before = kept(&scene.app, until).await;
    let mut tried = 0;
    let mut operations = reference.operations();
    // The others need what these delete.
    operations.sort_by_key(|operation| operation.method == Method::DELETE);
    for operation in operations {
        // It would end the session that makes these calls.
        if operation.path == "/auth/logout" {
            continue;
        }
        for payload in PAYLOADS {
            tried += in_address(&scene, &operation, payload).await;
            tried += in_headers(&scene, &operation, payload).await;
            tried += in_body(&scene, &reference, &operation, payload).await;
        }
    }
    assert!(tried > 500, "{tried}");
    assert_eq!(kept(&scene.app, until).await, before);
}

/// What is there before, and has to be afterwards: all tables, the events so far, who may sign in and how.
async fn kept(app: &TestApp, until: i64) -> Vec<String> {
    let kept = [
        "SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM information_schema.tables
         WHERE table_schema = 'public' AND $1 > 0",
        "SELECT md5(string_agg(e::text, ' ' ORDER BY append_id)) FROM events e WHERE append_id <= $1",
        "SELECT md5((a, p)::text) FROM accounts a JOIN passwords p USING (user_id) WHERE $1 > 0
         ORDER BY user_id LIMIT 1",
    ];
    let mut found = Vec::new();
    for sql in kept {
        found.push(sqlx::query_scalar(sql).bind(until).fetch_one(&app.pool).await.unwrap());
    }
    found
}

async fn in_address(scene: &Scene, operation: &Operation, payload: &str) -> usize {
    let encoded: String = payload.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut paths = Vec::new();
    for name in operation.parameters("query") {
        paths.push(format!("{}?{name}={encoded}", scene.path(operation)));
    }
    for name in operation.parameters("path") {
        let place = format!("{{{name}}}");
        paths.push(scene.path(&operation.at(operation.path.replace(&place, &encoded))));
    }
    for path in &paths {
        let answer = timed(scene.call(operation, path), operation).await;
        // An import's labels are any text.
        let is_label = operation.path == "/subscribers/import";
        assert!(is_label || answer.status.is_client_error(), "{path}: {answer:?}");
    }
    paths.len()
}

async fn in_headers(scene: &Scene, operation: &Operation, payload: &str) -> usize {
    let names: Vec<&'static str> = ["Idempotency-Key", "Postledger-Position", "If-Match"]
        .into_iter()
        .filter(|name| operation.parameters("header").iter().any(|listed| listed == name))
        .collect();
    for name in &names {
        let call = scene.call(operation, &scene.path(operation)).header(name, payload);
        timed(call, operation).await;
    }
    names.len()
}

async fn in_body(scene: &Scene, reference: &Reference, operation: &Operation, payload: &str) -> usize {
    let Some(body) = operation.sample_body(reference) else { return 0 };
    let body = scene.filled(body);
    let places = texts(&body, String::new());
    for place in &places {
        let mut body = body.clone();
        *body.pointer_mut(place).unwrap() = Value::from(payload);
        timed(scene.call(operation, &scene.path(operation)).json(body), operation).await;
    }
    places.len()
}

async fn timed(call: Call, operation: &Operation) -> Answer {
    let start = Instant::now();
    let answer = call.send().await;
    assert!(!answer.status.is_server_error(), "{}: {answer:?}", operation.what());
    assert!(start.elapsed() < LONG, "{} slept", operation.what());
    answer
}

/// JSON pointers of every text in it.
fn texts(value: &Value, at: String) -> Vec<String> {
    match value {
        Value::String(_) => vec![at],
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(index, item)| texts(item, format!("{at}/{index}"))).collect()
        }
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, item)| texts(item, format!("{at}/{name}"))).collect()
        }
        _ => Vec::new(),
    }
}
