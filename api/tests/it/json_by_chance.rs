//! JSON of a grammar, by chance, for every operation that the reference knows to take a body: none may end
//! the process, and none is an error of ours. What was found once, and what is known to be odd, is in
//! `json_seeds.txt` and goes first. Longer than the few seconds of a test run by
//! `POSTLEDGER_TEST_FUZZ_SECONDS`.

use crate::support::TestApp;
use axum::body::Body;
use domain::access::Role;
use http::Method;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use sqlx::PgPool;
use std::time::{Duration, Instant};

const SEEDS: &str = include_str!("json_seeds.txt");

/// Levels that are said for short in a seed: `(@100000)` is that many `[`.
const MANY: &str = "(@100000)";

fn seconds() -> u64 {
    std::env::var("POSTLEDGER_TEST_FUZZ_SECONDS").map_or(3, |seconds| seconds.parse().unwrap())
}

struct Operation {
    method: Method,
    path: String,
    /// A reader's, where it is theirs.
    token: String,
    /// What its body may hold.
    names: Vec<String>,
}

/// From the reference, so that no new operation is forgotten.
async fn operations(app: &TestApp) -> Vec<Operation> {
    let group = app.group("Weekly").await;
    let reader = app.token(app.subscriber("ana@example.com", &[group]).await, Some(group));
    let document = app.get("/openapi.json").anonymous().send().await.ok(200).json();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if schema.is_null() {
                continue;
            }
            let mut names = Vec::new();
            names_in(&document, schema, &mut names, 0);
            let path = path.replace("{id}", "0192ce7e-0000-7000-8000-000000000000");
            let method: Method = method.to_ascii_uppercase().parse().unwrap();
            let is_readers = operation["tags"][0] == "preferences";
            let token = if is_readers { reader.clone() } else { app.admin.clone() };
            found.push(Operation { method, path, token, names });
        }
    }
    found
}

fn names_in(document: &Value, schema: &Value, names: &mut Vec<String>, depth: usize) {
    if depth > 4 {
        return;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let named = document.pointer(reference.trim_start_matches('#')).unwrap();
        return names_in(document, named, names, depth + 1);
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        names.push(name.clone());
        names_in(document, inner, names, depth + 1);
    }
    for list in ["oneOf", "anyOf", "allOf"] {
        for inner in schema[list].as_array().into_iter().flatten() {
            names_in(document, inner, names, depth + 1);
        }
    }
    names_in(document, &schema["items"], names, depth + 1);
}

/// Texts that are JSON, nearly JSON or none.
fn json(names: Vec<String>) -> BoxedStrategy<String> {
    let leaf = select(vec![
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1e400",
        "-0.0",
        "9999999999999999999999",
        "1.",
        "01",
        "\"\"",
        "\"x\"",
        "\"a@example.com\"",
        "\"0192ce7e-0000-7000-8000-000000000000\"",
        "\"2026-01-01T00:00:00Z\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "\"\u{202e}\u{feff}\"",
        "\"{{ name }}\"",
        "\"<mjml></mjml>\"",
        "\"\t\"",
        "\"\\x\"",
        "\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "nan",
        "'x'",
        "/* */",
        "\u{feff}",
    ]);
    let name = match names.is_empty() {
        true => Just("x".to_owned()).boxed(),
        false => prop_oneof![9 => select(names), 1 => Just("bogus".to_owned())].boxed(),
    };
    let value = leaf.prop_map(str::to_owned).prop_recursive(5, 40, 5, move |inner| {
        let pair = (name.clone(), inner.clone()).prop_map(|(name, value)| format!("\"{name}\": {value}"));
        let times = prop_oneof![8 => Just(1_usize), 1 => 2..200_usize, 1 => Just(20_000)];
        prop_oneof![
            3 => proptest::collection::vec(pair, 0..6).prop_map(|pairs| format!("{{{}}}", pairs.join(", "))),
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            1 => (inner.clone(), times.clone())
                .prop_map(|(inner, times)| format!("{}{inner}{}", "[".repeat(times), "]".repeat(times))),
            1 => (inner, times).prop_map(|(inner, times)| format!("{}{inner}", "{\"a\":".repeat(times))),
        ]
    });
    value.boxed()
}

/// None is more than an operation takes: that would be refused by its size, and tell nothing.
const MAX_BYTES: usize = 200_000;

async fn send(app: &TestApp, operation: &Operation, body: &str) -> u16 {
    let Operation { method, path, token, .. } = operation;
    let call =
        app.call(method.clone(), path).bearer(token).body("application/json", Body::from(body.to_owned()));
    let answer = call.send().await;
    let (shown, status): (String, _) = (body.chars().take(500).collect(), answer.status.as_u16());
    assert!((200..500).contains(&status), "{method} {path}: {answer:?}\n{shown}");
    status
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn json_by_chance_makes_no_error(pool: PgPool) {
    let mut app = TestApp::without_projectors(pool, |_| {}).await;
    // Some operations ask for a session that there is.
    app.user("boss@example.com", &[Role::Admin]).await;
    app.admin = app.login("boss@example.com").await.access;
    let operations = operations(&app).await;
    assert!(operations.len() > 15, "the reference has lost its bodies: {}", operations.len());
    for operation in &operations {
        let mut read = 0;
        for seed in SEEDS.lines() {
            let status = send(&app, operation, &seed.replace(MANY, &"[".repeat(100_000))).await;
            read += usize::from([400, 422].contains(&status));
        }
        assert!(read > 0, "{} {} reads no body", operation.method, operation.path);
    }
    let generators: Vec<_> = operations.iter().map(|operation| json(operation.names.clone())).collect();
    let end = Instant::now() + Duration::from_secs(seconds());
    let (mut runner, mut count, mut read) = (TestRunner::default(), 0_usize, 0_usize);
    while Instant::now() < end {
        let at = count % operations.len();
        let body = generators[at].new_tree(&mut runner).unwrap().current();
        if body.len() <= MAX_BYTES {
            read += usize::from([400, 422].contains(&send(&app, &operations[at], &body).await));
        }
        count += 1;
    }
    println!("{count} bodies, {read} of them refused for what they hold");
    assert!(read * 2 > count, "most were refused before they were read: {read} of {count}");
}

/// The other places where JSON of strangers is read: a query, a position, and the head of a token.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn json_by_chance_in_queries_and_tokens_makes_no_error(pool: PgPool) {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let names = ["alg", "typ", "kid", "sub", "exp", "aud", "Email Address"].map(str::to_owned).to_vec();
    let generator = json(names);
    let end = Instant::now() + Duration::from_secs(seconds());
    let (mut runner, mut seeds, mut count) = (TestRunner::default(), SEEDS.lines(), 0_usize);
    while count < SEEDS.lines().count() || Instant::now() < end {
        let by_chance = || generator.new_tree(&mut runner).unwrap().current();
        let json = seeds.next().map_or_else(by_chance, |seed| seed.replace(MANY, &"[".repeat(5_000)));
        let json = &json[..json.floor_char_boundary(6_000)];
        let encoded = BASE64.encode(json);
        let query: String = json.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let import = format!("/subscribers/import?group=x&consent_source=x&dry_run=true&columns={query}");
        let answers = [
            app.post(&import).body("text/csv", "Email Address\na@example.com\n").send().await,
            app.get("/groups").position(&encoded).send().await,
            app.get("/groups").bearer(&format!("{encoded}.{encoded}.x")).send().await,
            app.get(&format!("/preferences?token={encoded}.{encoded}.x")).anonymous().send().await,
        ];
        for answer in answers {
            assert!((200..500).contains(&answer.status.as_u16()), "{answer:?}\n{json}");
        }
        count += 1;
    }
    println!("{count} texts");
}
