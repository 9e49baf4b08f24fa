//! Bodies that cannot be taken: too large, no JSON, the wrong type, fields that do not fit.

use crate::support::TestApp;
use axum::body::Body;
use serde_json::json;
use sqlx::PgPool;
use std::time::Duration;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_is_no_json_is_malformed(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let deep = format!("{{\"name\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for body in
        ["", "{", "nonsense", "{\"name\": \"x\"} trailing", "[1]", "\"x\"", "null", "{\"name\": \"\u{1}\"}"]
    {
        app.post("/groups").body("application/json", body).send().await.problem(400);
    }
    let nested = app.post("/groups").body("application/json", deep).send().await;
    assert!(nested.status == 400 || nested.status == 422, "{nested:?}");
    app.post("/groups").body("application/json", &b"{\"name\": \"\xff\"}"[..]).send().await.problem(400);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn nesting_is_bounded(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let attributes = |depth: usize| {
        let (open, close) = ("{\"a\":".repeat(depth), "}".repeat(depth));
        format!(
            "{{\"email\": \"a@example.com\", \"attributes\": {open}1{close}, \"consent\": {{\"source\": \"x\"}}}}"
        )
    };
    let send = |body: String| app.post("/subscribers").body("application/json", body).send();
    // Bodies are read into types that do not nest: what goes deeper is refused where it begins.
    for depth in [2, 10_000, 50_000] {
        send(attributes(depth)).await.problem(422);
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        app.post("/groups").body("application/json", nested.clone()).send().await.problem(400);
        let unknown = format!("{{\"name\": \"x\", \"bogus\": {nested}}}");
        app.post("/groups").body("application/json", unknown).send().await.invalid(&["bogus"]);
    }
    assert_eq!(app.events().await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_million_keys_are_refused_soon(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let keys = |count: usize| (0..count).map(|key| format!("\"{key:x}\":1")).collect::<Vec<_>>().join(",");
    let started = std::time::Instant::now();
    app.post("/groups")
        .body("application/json", format!("{{{}}}", keys(1_000_000)))
        .send()
        .await
        .problem(413);
    // As many as a body may hold: unknown fields, attributes, and the same one again and again.
    let many = keys(100_000);
    app.post("/groups").body("application/json", format!("{{{many}}}")).send().await.problem(422);
    let consent = "\"consent\": {\"source\": \"x\"}";
    let body = format!("{{\"email\": \"a@example.com\", \"attributes\": {{{many}}}, {consent}}}");
    app.post("/subscribers").body("application/json", body).send().await.problem(422);
    let same = vec!["\"name\":\"x\""; 80_000].join(",");
    app.post("/groups").body("application/json", format!("{{{same}}}")).send().await.invalid(&["name"]);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(app.events().await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn other_types_are_not_supported(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "", "json"] {
        app.post("/groups").body(content_type, "{\"name\": \"x\"}").send().await.problem(415);
    }
    app.post("/groups").send().await.problem(415);
    let fine = app.post("/groups").body("application/json; charset=utf-8", "{\"name\": \"x\"}").send().await;
    fine.ok(201);
    app.post("/subscribers/import").json(json!({})).send().await.problem(415);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn large_bodies_are_refused_whether_or_not_they_say_so(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let body = json!({ "name": "x".repeat(1024 * 1024) }).to_string();
    let told = app.post("/groups").body("application/json", body.clone()).header("content-length", "1048600");
    told.send().await.problem(413);
    let chunks = body.as_bytes().chunks(10_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()));
    let streamed = Body::from_stream(futures::stream::iter(chunks.collect::<Vec<_>>()));
    app.post("/groups").body("application/json", streamed).send().await.problem(413);
    // A template may be larger, up to a point.
    let template = |bytes: usize| json!({ "name": "x", "subject": "x", "html": "x".repeat(bytes) });
    app.post("/templates").json(template(1_500_000)).send().await.invalid(&["html"]);
    app.post("/templates").json(template(2_200_000)).send().await.problem(413);
    assert_eq!(app.events().await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn fields_that_do_not_fit_are_named(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let cases = [
        (json!({}), "name"),
        (json!({ "name": null }), "name"),
        (json!({ "name": 5 }), "name"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": "   " }), "name"),
        (json!({ "name": "two\nlines" }), "name"),
        (json!({ "name": "nul\u{0}" }), "name"),
        (json!({ "name": "x".repeat(201) }), "name"),
        (json!({ "name": "x", "bogus": 1 }), "bogus"),
        (json!({ "name": "x", "group_id": "0192ce7e-0000-7000-8000-000000000000" }), "group_id"),
        (json!({ "name": "x", "description": [] }), "description"),
        (json!({ "name": "x", "description": "nul\u{0}" }), "description"),
    ];
    for (body, field) in cases {
        app.post("/groups").json(body).send().await.invalid(&[field]);
    }
    let both = json!({ "name": "", "description": "x".repeat(3_000) });
    app.post("/groups").json(both).send().await.invalid(&["name", "description"]);
    let twice =
        app.post("/groups").body("application/json", "{\"name\": \"x\", \"name\": \"y\"}").send().await;
    twice.invalid(&["name"]);
    assert_eq!(app.events().await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_was_sent_is_not_told_back(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let body = json!({ "email": ["secret@example.com"], "consent": { "source": "x" } });
    let answer = app.post("/subscribers").json(body).send().await;
    answer.invalid(&["email"]);
    let body = json!({ "email": "a@example.com", "name": { "secret": 1 }, "consent": { "source": "x" } });
    let name = app.post("/subscribers").json(body).send().await;
    name.invalid(&["name"]);
    for answer in [answer, name] {
        assert!(!answer.text().contains("secret"), "{}", answer.text());
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn commands_without_a_body_take_an_empty_object(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let id = app.campaign().await;
    let path = format!("/emails/{id}/unschedule");
    app.post(&path).send().await.ok(202);
    app.post(&path).json(json!({})).send().await.ok(202);
    app.post(&path).json(json!({ "reason": "x" })).send().await.invalid(&["reason"]);
    app.post(&path).body("application/json", "nonsense").send().await.problem(400);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_body_that_stalls_is_given_up(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |config| config.body_time = Duration::from_millis(100)).await;
    let silent = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    app.post("/groups").body("application/json", silent).send().await.problem(408);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_request_that_takes_too_long_is_given_up(pool: PgPool) {
    let app =
        TestApp::without_projectors(pool, |config| config.request_timeout = Duration::from_millis(100)).await;
    let silent = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let answer = app.post("/groups").body("application/json", silent).send().await;
    assert_eq!(answer.problem(503)["type"], "urn:postledger:problem:timed-out");
    assert_eq!(answer.header("retry-after"), "1");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn null_is_as_good_as_absent(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group =
        app.post("/groups").json(json!({ "name": "A", "description": null })).send().await.id("group_id");
    let reader = json!({ "email": "a@example.com", "name": null, "attributes": null, "groups": null,
        "consent": { "source": "x", "wording_version": null, "given_at": null, "given_from": null } });
    let reader = app.post("/subscribers").json(reader).send().await.id("subscriber_id");
    let template = json!({ "name": "x", "subject": "x", "html": "x", "preheader": null, "mjml": null, "text": null,
        "attributes": null });
    let template = app.post("/templates").json(template).send().await.id("template_id");
    let preview = json!({ "subscriber_id": null, "attributes": null });
    app.post(&format!("/templates/{template}/preview")).json(preview).send().await.ok(200);
    let email = json!({ "template": template, "group": group, "time": null, "name": null, "mailer": null, "from": null,
        "reply_to": null, "on_unknown": null });
    app.post("/emails").json(email).send().await.ok(201);
    let token = app.token(reader, None);
    let opt_out = |body| app.post("/emails/unsubscribe").bearer(&token).json(body).send();
    opt_out(json!({ "global": null, "groups": null })).await.invalid(&["groups"]);
    opt_out(json!({ "global": true, "groups": null })).await.ok(204);
}
