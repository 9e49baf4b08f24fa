//! The page behind the link, and its button.

use crate::support::{Answer, ORIGIN, TestApp};
use axum::http::Method;
use sqlx::PgPool;
use uuid::Uuid;

fn check_page(page: &Answer) {
    assert!(page.header("content-type").starts_with("text/html"));
    assert_eq!(page.header("referrer-policy"), "same-origin");
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.header("content-security-policy").contains("default-src 'none'; style-src 'sha256-"));
    assert!(!page.headers.contains_key("set-cookie"));
    assert!(page.text().contains("<html lang=\"en\">") && page.text().contains("name=\"viewport\""));
    assert!(!page.text().contains("<script"));
}

async fn reader(app: &TestApp) -> (Uuid, Uuid, String) {
    let group = app.group("Tom & <b>Jerry</b>").await;
    let reader = app.subscriber("reader@example.com", &[group]).await;
    (reader, group, format!("/emails/unsubscribe?token={}", app.token(reader, Some(group))))
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn looking_changes_nothing(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (_, _, path) = reader(&app).await;
    let events = app.events().await;
    for _ in 0..3 {
        let page = app.get(&path).anonymous().send().await.ok(200);
        check_page(&page);
        assert_eq!(page.text().matches("<button").count(), 1);
        assert!(page.text().contains("Tom &amp; &lt;b&gt;Jerry"), "{}", page.text());
        assert!(page.text().contains("r•••@example.com"));
        assert!(!page.text().contains("token="), "the page holds no token");
        let head = app.call(Method::HEAD, &path).anonymous().send().await.ok(200);
        assert!(head.body.is_empty());
    }
    app.get(&format!("{path}&utm_source=x")).anonymous().send().await.ok(200);
    assert_eq!(app.events().await, events);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_button_opts_out_and_leads_back_to_the_result(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (_, _, path) = reader(&app).await;
    let pressed = app.post(&path).anonymous().header("origin", ORIGIN).form("").send().await.ok(303);
    assert_eq!(pressed.header("location"), format!("{ORIGIN}{path}"));
    let page = app.get(&path).anonymous().send().await.ok(200);
    check_page(&page);
    assert!(page.text().contains("You are unsubscribed") && !page.text().contains("<button"));
    // Pressed again, by a browser that tells the referrer alone.
    let referer = format!("{ORIGIN}{path}");
    app.post(&path).anonymous().header("referer", &referer).form("").send().await.ok(303);
    let channels: Vec<String> = sqlx::query_scalar(
        "SELECT payload #>> '{SubscriberOptedOut,channel}' FROM events WHERE event_type = 'SubscriberOptedOut'",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    assert_eq!(channels, ["preference_page"]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_form_from_elsewhere_is_refused(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (_, _, path) = reader(&app).await;
    let events = app.events().await;
    let post = || app.post(&path).anonymous().form("confirm=1");
    let elsewhere = [
        "https://evil.example",
        "null",
        "http://mail.example.org",
        "https://mail.example.org.evil.example",
        "",
    ];
    for origin in elsewhere {
        let refused = post().header("origin", origin).send().await.ok(403);
        check_page(&refused);
        post().header("referer", origin).send().await.ok(403);
    }
    // A foreign origin is not made good by a referrer.
    post().header("origin", "https://evil.example").header("referer", ORIGIN).send().await.ok(403);
    post().send().await.ok(403);
    assert_eq!(app.events().await, events);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_link_that_broke_gets_a_page_that_helps(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (_, _, path) = reader(&app).await;
    for broken in [
        "/emails/unsubscribe",
        "/emails/unsubscribe?token=",
        "/emails/unsubscribe?token=x",
        &path[..path.len() - 5],
    ] {
        let page = app.get(broken).anonymous().send().await.ok(401);
        check_page(&page);
        assert!(page.text().contains("open the mail again"));
        assert!(!page.headers.contains_key("location"));
    }
}
