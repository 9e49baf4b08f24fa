//! The reference: whole, sound, and readable without the network.

use crate::support::TestApp;
use serde_json::Value;
use sqlx::PgPool;
use std::collections::BTreeSet;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn every_operation_is_documented(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let document = app.get("/openapi.json").anonymous().send().await.ok(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let route = format!("{method} {path}");
            assert!(
                operation["summary"].as_str().is_some_and(|text| !text.is_empty()),
                "{route}: no summary"
            );
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{route}: no tag");
            assert!(ids.insert(operation["operationId"].to_string()), "{route}: its id is used twice");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with(['2', '3'])), "{route}: no good answer");
            for (status, response) in responses.iter().filter(|(status, _)| status.starts_with(['4', '5'])) {
                let is_page = response["content"].get("text/html").is_some();
                assert!(
                    is_page || response["content"].get("application/problem+json").is_some(),
                    "{route} {status}"
                );
            }
            check_headers(&route, operation);
        }
    }
}

fn check_headers(route: &str, operation: &Value) {
    let named = |name: &str| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.into_iter().find(|parameter| parameter["name"] == name)
    };
    let is_secret = ["auth", "users"].contains(&operation["tags"][0].as_str().unwrap())
        && !route.ends_with("/users")
        && !route.contains("/users/");
    let is_command = !route.starts_with("get ") && !route.ends_with("/preview");
    if is_secret {
        // Of what takes or answers secrets nothing is kept for repeats.
        assert!(named("Idempotency-Key").is_none() && named("Postledger-Position").is_none(), "{route}");
    } else if ["post /emails/unsubscribe", "put /preferences"].contains(&route) {
        // A key is ignored where somebody opts out.
        assert!(named("Idempotency-Key").is_none(), "{route}");
    } else if is_command {
        let key = named("Idempotency-Key").unwrap_or_else(|| panic!("{route}: no Idempotency-Key"));
        assert!(key["example"].is_string(), "{route}: no example");
    } else if !["system", "audit"].contains(&operation["tags"][0].as_str().unwrap())
        && !route.ends_with("/preview")
        && !route.ends_with("/unsubscribe")
        && !route.ends_with("/subscriptions/confirm")
    {
        assert!(named("Postledger-Position").is_some(), "{route}: no Postledger-Position");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn every_reference_leads_somewhere(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let document = app.get("/openapi.json").anonymous().send().await.json();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            references.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| collect(value, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_page_needs_no_other_site(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let page = app.get("/docs").anonymous().send().await.ok(200);
    assert!(page.header("content-type").starts_with("text/html"));
    let text = page.text().to_owned();
    assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
    for part in text.split('"').filter(|part| part.starts_with("docs/")) {
        let file = app.get(&format!("/{part}")).anonymous().send().await.ok(200);
        assert!(!file.body.is_empty(), "{part}");
    }
    let start = app.get("/docs/swagger-initializer.js").anonymous().send().await.ok(200);
    assert!(
        start.text().contains("openapi.json") && start.text().contains("\"validatorUrl\": \"none\""),
        "{}",
        start.text()
    );
    app.get("/docs/nothing.js").anonymous().send().await.problem(404);
    app.get("/docs/..%2f..%2fetc%2fpasswd").anonymous().send().await.problem(404);
}
