//! Who may call what: derived from the reference, so that a new route cannot be forgotten.

use crate::support::{KEY, TestApp};
use axum::http::{Method, StatusCode};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// Every route that asks for no key and no token.
const PUBLIC: [&str; 5] =
    ["get /docs", "get /docs/{file}", "get /health/live", "get /health/ready", "get /openapi.json"];
const BY_TOKEN: [&str; 4] =
    ["get /emails/unsubscribe", "get /preferences", "post /emails/unsubscribe", "put /preferences"];

/// Method, path and operation of every route.
async fn operations(app: &TestApp) -> Vec<(String, String, Value)> {
    let document = app.get("/openapi.json").anonymous().send().await.ok(200).json();
    let paths = document["paths"].as_object().unwrap().clone();
    let methods = |(path, item): (String, Value)| {
        let item = item.as_object().unwrap().clone();
        item.into_iter().map(move |(method, operation)| (method, path.clone(), operation))
    };
    paths.into_iter().flat_map(methods).collect()
}

fn request_path(path: &str) -> String {
    let id = Uuid::from_u128(1).to_string();
    path.replace("{id}", &id).replace("{subscriber_id}", &id).replace("{file}", "swagger-ui.css")
}

fn method(name: &str) -> Method {
    name.to_ascii_uppercase().parse().unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn every_route_but_the_public_ones_denies_who_has_no_key(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (mut public, mut by_token) = (Vec::new(), Vec::new());
    let operations = operations(&app).await;
    assert!(operations.len() > 35, "the reference lacks routes: {}", operations.len());
    for (name, path, operation) in operations {
        let answer = app.call(method(&name), &request_path(&path)).anonymous().send().await;
        let route = format!("{name} {path}");
        match operation["security"].to_string() {
            none if none == "null" => {
                assert_eq!(answer.status, StatusCode::OK, "{route}");
                public.push(route);
                continue;
            }
            security if security.contains("preference") => by_token.push(route.clone()),
            security => assert_eq!(security, "[{\"admin_key\":[]}]", "{route}"),
        }
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{route}");
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{route}");
    }
    public.sort();
    by_token.sort();
    assert_eq!(public, PUBLIC);
    assert_eq!(by_token, BY_TOKEN);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_wrong_key_opens_nothing_and_neither_does_a_token_the_staffs_routes(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let token = app.token(Uuid::from_u128(5), None);
    for (name, path, operation) in operations(&app).await {
        let security = operation["security"].to_string();
        let wrong = match security.as_str() {
            "null" => continue,
            "[{\"admin_key\":[]}]" => token.as_str(),
            _ => KEY,
        };
        for bearer in [wrong, "nonsense", "", &"x".repeat(5_000)] {
            let answer = app.call(method(&name), &request_path(&path)).bearer(bearer).send().await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name} {path}");
        }
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn keys_are_bearers(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let with = |value: &str| app.get("/groups").header("authorization", value).send();
    for fine in [format!("Bearer {KEY}"), format!("bearer {KEY}"), format!("BEARER  {KEY}")] {
        with(&fine).await.ok(200);
    }
    for bad in [
        KEY.to_owned(),
        format!("Basic {KEY}"),
        format!("Bearer{KEY}"),
        "Bearer".into(),
        format!("Token {KEY}"),
    ] {
        with(&bad).await.problem(401);
    }
    app.get(&format!("/groups?token={KEY}")).anonymous().send().await.problem(401);
}
