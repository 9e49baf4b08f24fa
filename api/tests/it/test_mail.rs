use crate::support::TestApp;
use domain::access::{Role, Scope};
use http::Method;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_test_mail_is_queued_once_and_shown(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let path = format!("/templates/{}/test", app.template().await);
    let body = json!({ "to": ["Editor@Example.com", "ana@bücher.example", "editor@example.com"] });
    let send = || app.post(&path).header("idempotency-key", "one").json(body.clone()).send();
    let first = send().await.ok(202);
    let id = first.id("dispatch_id");
    assert_eq!(send().await.ok(202).id("dispatch_id"), id, "a repeat is the same mail");
    let shown = app.get(&format!("/dispatches/{id}")).position(&first.position()).send().await.ok(200).json();
    assert_eq!((&shown["kind"], &shown["template_version"]), (&json!("test"), &json!(1)));
    let recipient = |address| json!({ "address": address, "state": "pending", "reason": null });
    let expected = json!([recipient("Editor@example.com"), recipient("ana@xn--bcher-kva.example")]);
    assert_eq!(shown["recipients"], expected, "each address once");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_cannot_be_tested_is_refused(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let path = format!("/templates/{}/test", app.template().await);
    let events = app.events().await;
    let send = |body| app.post(&path).json(body).send();
    send(json!({ "to": [] })).await.invalid(&["to"]);
    send(json!({ "to": vec!["editor@example.com"; 11] })).await.invalid(&["to"]);
    send(json!({ "to": ["editor@example.com", "b@", "c"] })).await.invalid(&["to[1]", "to[2]"]);
    send(json!({ "to": "editor@example.com" })).await.invalid(&["to"]);
    send(json!({})).await.invalid(&["to"]);
    send(json!({ "to": ["editor@example.com"], "subject": "x" })).await.invalid(&["subject"]);
    let unknown = format!("/templates/{}/test", Uuid::from_u128(1));
    app.post(&unknown).json(json!({ "to": ["editor@example.com"] })).send().await.problem(404);
    app.get(&format!("/dispatches/{}", Uuid::from_u128(1))).send().await.problem(404);
    assert_eq!(app.events().await, events);
}

/// A template may say anything: nobody but the staff gets it.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_stranger_gets_no_test_mail(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let path = format!("/templates/{}/test", app.template().await);
    let send = |to: serde_json::Value| app.post(&path).json(json!({ "to": to })).send();
    let before = app.events().await;
    send(json!(["stranger@example.net"])).await.invalid(&["to[0]"]);
    send(json!(["editor@example.com", "other@example.com", "x@sub.xn--bcher-kva.example"]))
        .await
        .invalid(&["to[1]", "to[2]"]);
    assert_eq!(app.events().await, before, "a stranger's mail was queued");
    // A user's own address needs no setting; one who is disabled is a stranger again.
    let ana = app.user("ana@example.net", &[Role::Analyst]).await;
    send(json!(["Ana@EXAMPLE.net"])).await.ok(202);
    let boss = app.user("boss@example.net", &[Role::Admin]).await;
    assert_ne!(boss, ana);
    let boss = app.login("boss@example.net").await.access;
    app.patch(&format!("/users/{ana}")).bearer(&boss).json(json!({ "disabled": true })).send().await.ok(200);
    send(json!(["ana@example.net"])).await.invalid(&["to[0]"]);
}

/// Writing templates is not sending mails.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_test_needs_the_right_to_send(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let path = format!("/templates/{}/test", app.template().await);
    let writer = app.api_key(&[Scope::TemplatesRead, Scope::TemplatesWrite]).await;
    let body = json!({ "to": ["editor@example.com"] });
    app.post(&path).bearer(&writer).json(body.clone()).send().await.problem(403);
    let sender = app.api_key(&[Scope::EmailsWrite]).await;
    app.post(&path).bearer(&sender).json(body).send().await.ok(202);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mailbox_gets_so_many_tests_and_no_more(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let path = format!("/templates/{}/test", app.template().await);
    let send = |key: &str, tag: usize| {
        let to = format!("x+{tag}@bücher.example");
        app.post(&path).bearer(key).json(json!({ "to": [to] })).send()
    };
    let keys = [app.api_key(&[Scope::EmailsWrite]).await, app.api_key(&[Scope::EmailsWrite]).await];
    let mut sent = 0;
    for n in 0..32 {
        sent += usize::from(send(&keys[n % 2], n).await.status == 202);
    }
    assert_eq!(sent, 30, "30 an hour, whoever asks and whatever tag the address has");
    let refused = send(&keys[0], 99).await;
    refused.problem(429);
    assert!(!refused.header("retry-after").is_empty());
    let hour = "UPDATE test_mail_requests SET requested_at = requested_at - interval '1 hour'";
    sqlx::query(hour).execute(&app.pool).await.unwrap();
    send(&keys[0], 100).await.ok(202);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_key_asks_for_so_many_tests_and_no_more(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let path = format!("/templates/{}/test", app.template().await);
    let (greedy, other) =
        (app.api_key(&[Scope::EmailsWrite]).await, app.api_key(&[Scope::EmailsWrite]).await);
    let send = |key: &str, first: usize| {
        let to: Vec<String> = (first..first + 10).map(|n| format!("colleague{n}@bücher.example")).collect();
        app.post(&path).bearer(key).json(json!({ "to": to })).send()
    };
    for round in 0..6 {
        send(&greedy, round * 10).await.ok(202);
    }
    let events = app.events().await;
    send(&greedy, 60).await.problem(429);
    assert_eq!(app.events().await, events);
    send(&other, 60).await.ok(202);
}

/// Whatever opens the link of a test, and however: it says what a reader's would do, and does nothing.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_link_of_a_test_tells_and_does_nothing(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    app.subscriber("ana@example.com", &[]).await;
    let path = "/emails/unsubscribe?token=preview";
    let before = app.events().await;
    let one_click = app.post(path).anonymous().form("List-Unsubscribe=One-Click").send().await;
    let pressed = app.post(path).anonymous().form("action=leave_all").send().await;
    let looked = app.call(Method::GET, path).anonymous().send().await;
    for answer in [one_click, pressed, looked] {
        let page = answer.ok(200);
        assert!(page.text().contains("This is the link of a test mail."), "{}", page.text());
    }
    app.post(path).anonymous().json(json!({ "global": true })).send().await.problem(401);
    assert_eq!(app.events().await, before);
}

/// Fields of somebody's own are for those who may read subscribers.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_test_shows_given_fields_or_a_subscribers(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let path = format!("/templates/{}/test", app.template().await);
    let ana = app.subscriber("ana@example.net", &[]).await;
    let send = |more: serde_json::Value| {
        let mut body = json!({ "to": ["editor@example.com"] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let blind = app.api_key(&[Scope::EmailsWrite]).await;
    let before = app.events().await;
    let refused = |body: serde_json::Value| app.post(&path).json(body).send();
    refused(send(json!({ "subscriber": ana, "attributes": {} }))).await.invalid(&["attributes"]);
    refused(send(json!({ "subscriber": Uuid::from_u128(1) }))).await.invalid(&["subscriber"]);
    refused(send(json!({ "subscriber": "ana@example.net" }))).await.invalid(&["subscriber"]);
    refused(send(json!({ "attributes": ["x"] }))).await.invalid(&["attributes"]);
    refused(send(json!({ "attributes": { "***": "x" } }))).await.invalid(&["attributes"]);
    refused(send(json!({ "attributes": { "x": "y".repeat(4097) } }))).await.invalid(&["attributes"]);
    let many: std::collections::BTreeMap<String, &str> = (0..101).map(|n| (format!("a{n}"), "x")).collect();
    refused(send(json!({ "attributes": many }))).await.invalid(&["attributes"]);
    let of_ana = || app.post(&path).json(send(json!({ "subscriber": ana })));
    of_ana().bearer(&blind).send().await.problem(403);
    assert_eq!(app.events().await, before);

    let given = send(json!({ "attributes": { "City": "Ghent" } }));
    app.post(&path).bearer(&blind).json(given).send().await.ok(202);
    let seeing = app.api_key(&[Scope::EmailsWrite, Scope::SubscribersRead]).await;
    of_ana().bearer(&seeing).send().await.ok(202);
    let id = of_ana().send().await.ok(202).id("dispatch_id");
    let shown = app.get(&format!("/dispatches/{id}")).send().await.ok(200).json();
    assert_eq!(shown["subscriber"], json!(ana));
}
