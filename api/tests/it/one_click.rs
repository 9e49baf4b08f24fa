//! One click in a mail program (RFC 8058).

use crate::support::{Answer, ORIGIN, TestApp};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

const FORM: &str = "List-Unsubscribe=One-Click";
const MULTIPART: &str = "multipart/form-data; boundary=----b0undary";

const MULTIPART_FORM: &str = "------b0undary\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\n\
    One-Click\r\n------b0undary--\r\n";

/// As a mailbox provider sends it: from somewhere, without key and cookie.
async fn click(app: &TestApp, token: &str, content_type: &str, body: &str) -> Answer {
    let call = app.post(&format!("/emails/unsubscribe?token={token}")).anonymous();
    call.header("origin", "https://provider.example").body(content_type, body.to_owned()).send().await
}

async fn channels(app: &TestApp, reader: Uuid) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT payload #>> '{SubscriberOptedOut,channel}', payload #>> '{SubscriberOptedOut,scope}' FROM events
         WHERE event_type = 'SubscriberOptedOut' AND aggregate_id = $1 ORDER BY sequence",
    )
    .bind(reader.to_string())
    .fetch_all(&app.pool)
    .await
    .unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn one_click_opts_out_of_the_links_group_in_both_encodings(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (a, b) = (app.group("A").await, app.group("B").await);
    let forms = [("application/x-www-form-urlencoded", FORM), (MULTIPART, MULTIPART_FORM)];
    for (index, (content_type, body)) in forms.into_iter().enumerate() {
        let reader = app.subscriber(&format!("reader{index}@example.com"), &[a, b]).await;
        let token = app.token(reader, Some(a));
        let answer = click(&app, &token, content_type, body).await.ok(200);
        assert!(!answer.headers.contains_key("set-cookie") && !answer.headers.contains_key("location"));
        assert!(!answer.position().is_empty());
        let shown = app.get("/preferences").bearer(&token).send().await.ok(200).json();
        assert_eq!(shown["global_opt_out"], false);
        assert_eq!(
            (&shown["groups"][0]["subscribed"], &shown["groups"][1]["subscribed"]),
            (&json!(false), &json!(true))
        );
        // Once more: the same answer, and nothing new.
        click(&app, &token, content_type, body).await.ok(200);
        let recorded = channels(&app, reader).await;
        assert_eq!(
            recorded,
            [("one_click".to_owned(), json!({ "groups": [a] }).to_string().replace(':', ": "))]
        );
    }
}

/// Who leaves two groups at once leaves both, and a button that is pressed twice is answered twice.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn clicks_at_once_all_count(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (a, b) = (app.group("A").await, app.group("B").await);
    let reader = app.subscriber("reader@example.com", &[a, b]).await;
    let mut gate = app.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM gates FOR UPDATE").execute(&mut *gate).await.unwrap();
    let clicks = [a, b, a].map(|group| {
        let call = app.post(&format!("/emails/unsubscribe?token={}", app.token(reader, Some(group))));
        tokio::spawn(async move { call.anonymous().form(FORM).send().await })
    });
    app.blocked(3).await;
    gate.rollback().await.unwrap();
    for click in clicks {
        click.await.unwrap().ok(200);
    }
    assert_eq!(channels(&app, reader).await.len(), 2);
    let shown = app.get("/preferences").bearer(&app.token(reader, None)).send().await.ok(200).json();
    assert!(shown["groups"].as_array().unwrap().iter().all(|group| group["subscribed"] == false), "{shown}");
}

/// Who tidies up leaves two dozen at once, by two processes with four connections for opt-outs each.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn however_many_clicks_come_at_once_none_is_lost(pool: PgPool) {
    let few = PgPoolOptions::new().max_connections(8);
    let few = few.connect_with((*pool.connect_options()).clone()).await.unwrap();
    let app = TestApp::over(pool, few, |_| {}).await;
    let mut groups = Vec::new();
    for number in 0..24 {
        groups.push(app.group(&format!("Letter {number}")).await);
    }
    let reader = app.subscriber("reader@example.com", &groups).await;
    let mut gate = app.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM gates FOR UPDATE").execute(&mut *gate).await.unwrap();
    let clicks: Vec<_> = groups
        .iter()
        .map(|group| {
            let call = app.post(&format!("/emails/unsubscribe?token={}", app.token(reader, Some(*group))));
            tokio::spawn(async move { call.anonymous().form(FORM).send().await })
        })
        .collect();
    app.blocked(8).await;
    gate.rollback().await.unwrap();
    for click in clicks {
        click.await.unwrap().ok(200);
    }
    assert_eq!(channels(&app, reader).await.len(), 24);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_link_of_no_group_opts_out_of_everything(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let reader = app.subscriber("reader@example.com", &[]).await;
    click(&app, &app.token(reader, None), "application/x-www-form-urlencoded", FORM).await.ok(200);
    assert_eq!(channels(&app, reader).await, [("one_click".to_owned(), "global".to_owned())]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_reader_with_several_links_opts_out_by_each(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (a, b) = (app.group("A").await, app.group("B").await);
    let reader = app.subscriber("reader@example.com", &[a, b]).await;
    for group in [a, b] {
        // The same key, should a gateway send one: what it means is the link's.
        let call =
            app.post(&format!("/emails/unsubscribe?token={}", app.token(reader, Some(group)))).anonymous();
        call.key("same").form(FORM).send().await.ok(200);
    }
    assert_eq!(channels(&app, reader).await.len(), 2);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn forms_that_are_broken_or_too_large_change_nothing(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let token = app.token(app.subscriber("reader@example.com", &[]).await, None);
    let events = app.events().await;
    click(&app, &token, "multipart/form-data", MULTIPART_FORM).await.problem(400);
    click(&app, &token, "multipart/form-data; boundary=other", MULTIPART_FORM).await.problem(400);
    click(&app, &token, MULTIPART, "nonsense").await.problem(400);
    click(&app, &token, "application/x-www-form-urlencoded", &"x".repeat(20_000)).await.problem(413);
    click(&app, &token, "text/plain", FORM).await.problem(415);
    click(&app, &token, "application/json", " ").await.problem(400);
    // Not quite the form of the standard, and from elsewhere.
    for form in ["List-Unsubscribe=one-click", "list-unsubscribe=One-Click", "List-Unsubscribe=", "a=b"] {
        click(&app, &token, "application/x-www-form-urlencoded", form).await.ok(403);
    }
    for bad in ["", "x", &format!("{token}x")] {
        let answer = click(&app, bad, "application/x-www-form-urlencoded", FORM).await.ok(401);
        assert!(answer.header("content-type").starts_with("text/html"));
    }
    assert_eq!(app.events().await, events);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn no_header_keeps_a_click_from_counting(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let reader = app.subscriber("reader@example.com", &[]).await;
    let call = app.post(&format!("/emails/unsubscribe?token={}", app.token(reader, None))).anonymous();
    call.header("if-match", "\"99\"").key(&"k".repeat(300)).form(FORM).send().await.ok(200);
    assert_eq!(channels(&app, reader).await.len(), 1);
}

/// Some mail programs send the address and nothing else: the token is in it.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn one_click_needs_neither_a_type_nor_a_body(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("News").await;
    let ways = [
        (None, ""),
        (None, FORM),
        (Some("application/x-www-form-urlencoded"), ""),
        (Some("text/plain"), ""),
        (Some("application/json"), ""),
    ];
    for (n, (content_type, body)) in ways.into_iter().enumerate() {
        let reader = app.subscriber(&format!("reader{n}@example.com"), &[group]).await;
        let path = format!("/emails/unsubscribe?token={}", app.token(reader, Some(group)));
        let mut call = app.post(&path).anonymous().header("origin", "https://provider.example");
        call = call.body(content_type.unwrap_or("text/plain"), body.to_owned());
        if content_type.is_none() {
            call = call.without("content-type");
        }
        call.send().await.ok(200);
        assert_eq!(channels(&app, reader).await.len(), 1, "{content_type:?} {body:?}");
    }
}

/// A program's token is in a header: it says what it wants, or opts nobody out.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_token_in_a_header_is_no_click(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let reader = app.subscriber("reader@example.com", &[]).await;
    let token = app.token(reader, None);
    let events = app.events().await;
    let call = || app.post("/emails/unsubscribe").bearer(&token);
    let said = call().send().await.problem(415);
    assert!(said["detail"].as_str().unwrap().contains("application/json"), "{said}");
    call().body("application/x-www-form-urlencoded", "").send().await.ok(403);
    call().body("application/json", "").send().await.problem(400);
    assert_eq!(app.events().await, events);
    call().json(json!({ "global": true })).send().await.ok(204);
    assert_eq!(channels(&app, reader).await.len(), 1);
}

/// What programs and gateways make of a link's address, its token apart.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_link_that_was_mangled_on_its_way_still_opts_out(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("News").await;
    let ways: [fn(&str) -> String; 7] = [
        |token| format!("token={token}%20"),
        |token| format!("token=%0D%0A{token}+%C2%A0"),
        |token| format!("token={token}&token={token}"),
        |token| format!("token={token}&token="),
        |token| format!("utm_source=x&amp;token={token}"),
        |token| format!("amp;token={token}"),
        |token| format!("token={token}&amp;token={token}%20"),
    ];
    for (n, way) in ways.into_iter().enumerate() {
        let reader = app.subscriber(&format!("reader{n}@example.com"), &[group]).await;
        let token = app.token(reader, Some(group));
        let path = format!("/emails/unsubscribe?{}", way(&token));
        app.get(&path).anonymous().send().await.ok(200);
        app.get(&path.replace("/emails/unsubscribe", "/preferences")).anonymous().send().await.ok(200);
        app.post(&path).anonymous().form(FORM).send().await.ok(200);
        assert_eq!(channels(&app, reader).await.len(), 1, "{path}");
        // The page's own button leads back to an address that is whole again.
        let pressed = app.post(&path).anonymous().header("origin", ORIGIN).form("").send().await.ok(303);
        assert_eq!(pressed.header("location"), format!("{ORIGIN}/emails/unsubscribe?token={token}"));
    }
    // Two that differ are nobody's: neither is opted out.
    let (a, b) = (app.subscriber("a@example.com", &[]).await, app.subscriber("b@example.com", &[]).await);
    let path = format!("/emails/unsubscribe?token={}&amp;token={}", app.token(a, None), app.token(b, None));
    app.post(&path).anonymous().form(FORM).send().await.ok(401);
    assert!(channels(&app, a).await.is_empty() && channels(&app, b).await.is_empty());
}
