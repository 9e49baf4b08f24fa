//! What holds for every answer: request ids, headers, problems, lists.

use crate::support::TestApp;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn every_answer_has_a_request_id_and_headers_for_safety(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let paths =
        ["/groups", "/nowhere", "/health/live", "/openapi.json", "/docs", "/emails/unsubscribe", "/groups/x"];
    for path in paths {
        let answer = app.get(path).send().await;
        let id: Uuid = answer.header("x-request-id").parse().unwrap();
        assert_eq!(id.get_version_num(), 7, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        assert!(!answer.headers.contains_key("set-cookie"), "{path}");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn browsers_keep_to_https_where_that_is_how_it_is_reached(pool: PgPool) {
    let secure = TestApp::without_projectors(pool.clone(), |_| {}).await;
    let plain = TestApp::without_projectors(pool, |config| {
        config.public_url = "http://127.0.0.1:8080".parse().unwrap();
    })
    .await;
    for path in ["/health/live", "/nowhere", "/emails/unsubscribe", "/groups"] {
        let answer = secure.get(path).send().await;
        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000", "{path}");
        let answer = plain.get(path).send().await;
        assert!(!answer.headers.contains_key("strict-transport-security"), "{path}");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_clients_request_id_is_kept_if_it_is_one(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let own = Uuid::from_u128(9).to_string();
    let problem = app.get("/nowhere").header("x-request-id", &own).send().await.problem(404);
    assert_eq!(problem["request_id"], own);
    let answer = app.get("/nowhere").header("x-request-id", "<script>").send().await;
    assert_eq!(answer.header("x-request-id").parse::<Uuid>().unwrap().get_version_num(), 7);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn unknown_paths_and_methods_are_problems(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    app.get("/nowhere").send().await.problem(404);
    app.get("/groups/").send().await.problem(404);
    let answer = app.delete("/groups").send().await;
    assert_eq!(answer.problem(405)["type"], "urn:postledger:problem:method-not-allowed");
    let allowed = answer.header("allow");
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    app.put("/health/live").send().await.problem(405);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_id_that_is_unknown_or_none_is_not_found(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let unknown = Uuid::from_u128(4).to_string();
    for id in [unknown.as_str(), "1", "x", "%00", "%ff", "..", "' OR 1=1"] {
        let id = id.replace(' ', "%20");
        for path in ["groups", "subscribers", "templates", "emails", "imports"] {
            app.get(&format!("/{path}/{id}")).send().await.problem(404);
        }
        for path in ["report", "recipients", "progress"] {
            app.get(&format!("/emails/{id}/{path}")).send().await.problem(404);
        }
        for path in ["unschedule", "pause", "resume", "cancel", "duplicate"] {
            app.post(&format!("/emails/{id}/{path}")).send().await.problem(404);
        }
        app.get(&format!("/imports/{id}/rejected.csv")).send().await.problem(404);
        app.post(&format!("/imports/{id}/cancel")).send().await.problem(404);
        app.post(&format!("/templates/{id}/preview")).json(json!({})).send().await.problem(404);
        app.patch(&format!("/groups/{id}")).json(json!({ "name": "x" })).send().await.problem(404);
        app.patch(&format!("/subscribers/{id}")).json(json!({ "name": "x" })).send().await.problem(404);
        app.patch(&format!("/emails/{id}")).json(json!({ "name": "x" })).send().await.problem(404);
        let template = json!({ "name": "x", "subject": "x", "html": "x" });
        app.put(&format!("/templates/{id}")).json(template).send().await.problem(404);
        for path in ["groups", "templates", "emails"] {
            app.delete(&format!("/{path}/{id}")).send().await.problem(404);
        }
        app.delete(&format!("/groups/{unknown}/members/{id}")).send().await.problem(404);
    }
    assert_eq!(app.events().await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn lists_are_cut_into_pages(pool: PgPool) {
    let app = TestApp::new(pool).await;
    for number in 0..7 {
        app.group(&format!("Group {number}")).await;
    }
    app.settled().await;
    let (mut names, mut path) = (Vec::new(), "/groups?limit=3".to_owned());
    loop {
        let page = app.get(&path).send().await.ok(200).json();
        let items = page["items"].as_array().unwrap();
        names.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/groups?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    let newest_first: Vec<String> = (0..7).rev().map(|number| format!("Group {number}")).collect();
    assert_eq!(names, newest_first);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn bad_parameters_are_named(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    for list in ["/groups", "/subscribers", "/templates", "/emails", "/imports"] {
        for limit in ["501", "0", "-1", "x", "1e2", "5000000000000000000000"] {
            app.get(&format!("{list}?limit={limit}")).send().await.invalid(&["limit"]);
        }
        app.get(&format!("{list}?limit=500&cursor=")).send().await.ok(200);
        app.get(&format!("{list}?cursor=%20nonsense")).send().await.invalid(&["cursor"]);
        app.get(&format!("{list}?bogus=1")).send().await.invalid(&["bogus"]);
        app.get(&format!("{list}?limit=1&limit=2")).send().await.invalid(&["limit"]);
    }
    app.get("/subscribers?group=x").send().await.invalid(&["group"]);
    app.get("/subscribers?status=happy").send().await.invalid(&["status"]);
    app.get("/subscribers?email=nobody").send().await.invalid(&["email"]);
    app.get("/subscribers?email=&group=&status=").send().await.ok(200);
    app.get("/emails?status=sent").send().await.invalid(&["status"]);
}

/// An answer about now must not be taken for one about then.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_was_true_then_is_refused_until_it_can_be_told(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Readers").await;
    app.settled().await;
    app.get(&format!("/groups/{group}")).send().await.ok(200);
    for path in [format!("/groups/{group}"), "/groups".to_owned()] {
        app.get(&format!("{path}?as_of=2026-01-01T00:00:00Z")).send().await.invalid(&["as_of"]);
    }
}
