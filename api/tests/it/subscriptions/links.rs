//! What the links of the mails open, and what they do not.

use super::*;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn each_link_is_good_for_what_its_request_named(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (tea, coffee) = (app.group("Tea letter").await, app.group("Coffee letter").await);
    let first = link(&app, ANA, &[tea]).await;
    let second = link(&app, ANA, &[coffee]).await;
    press(&app, &second).await.ok(303);
    assert_eq!(reader(&app, ANA).await.2, ["Coffee letter"]);
    press(&app, &first).await.ok(303);
    assert_eq!(reader(&app, ANA).await.2, ["Coffee letter", "Tea letter"]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn links_that_are_over_changed_or_not_whole_open_nothing(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Tea letter").await;
    let link = link(&app, ANA, &[group]).await;
    let days: f64 = sqlx::query_scalar(
        "SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 / 86400 FROM subscription_requests",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert!((days - 7.0).abs() < 0.01, "{days}");
    let events = app.events().await;
    let changed = format!("{}{}", &link[..link.len() - 1], if link.ends_with('A') { 'B' } else { 'A' });
    let broken =
        [&changed, &link[..link.len() - 5], "/subscriptions/confirm", "/subscriptions/confirm?token="];
    let dead = async |link: &str| {
        let shown = page(&app, link).await.ok(401);
        assert!(shown.text().contains("does not work any more") && !shown.text().contains("@example.com"));
        press(&app, link).await.ok(401);
        app.post(link).anonymous().send().await.problem(401);
    };
    for link in broken {
        dead(link).await;
    }
    sqlx::query("UPDATE subscription_requests SET expires_at = now()").execute(&app.pool).await.unwrap();
    dead(&link).await;
    assert_eq!(app.events().await, events);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_link_that_was_mangled_on_its_way_still_confirms(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Tea letter").await;
    let link = link(&app, ANA, &[group]).await;
    let (path, token) = link.split_once("?token=").unwrap();
    for query in
        [format!("token={token}%20"), format!("token={token}&token={token}"), format!("amp;token={token}")]
    {
        let mangled = format!("{path}?{query}");
        page(&app, &mangled).await.ok(200);
        let pressed = press(&app, &mangled).await.ok(303);
        assert_eq!(pressed.header("location"), format!("{ORIGIN}{link}"));
        app.post(&mangled).anonymous().send().await.ok(204);
    }
    let copied = json!({ "token": format!(" {token}\n") });
    app.post(path).anonymous().json(copied).send().await.ok(204);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn scanners_confirm_nothing(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Tea letter").await;
    let link = link(&app, ANA, &[group]).await;
    let events = app.events().await;
    for method in [Method::GET, Method::HEAD] {
        for _ in 0..100 {
            app.call(method.clone(), &link).anonymous().send().await.ok(200);
        }
    }
    assert_eq!(app.events().await, events);
    press(&app, &link).await.ok(303);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_form_from_elsewhere_confirms_nothing(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Tea letter").await;
    let link = link(&app, ANA, &[group]).await;
    let events = app.events().await;
    for origin in ["https://evil.example", "null", "http://mail.example.org"] {
        app.post(&link).anonymous().header("origin", origin).form("").send().await.ok(403);
    }
    app.post(&link).anonymous().form("").send().await.ok(403);
    app.post(&link).anonymous().body("text/plain", "x").send().await.problem(415);
    let large = app.post(&link).anonymous().header("origin", ORIGIN).form(&"x".repeat(20_000));
    large.send().await.problem(413);
    assert_eq!(app.events().await, events);
    // A page of a frontend's own sends the token as JSON.
    let (_, token) = link.split_once("token=").unwrap();
    let confirm = app.post("/subscriptions/confirm").anonymous().json(json!({ "token": token }));
    confirm.send().await.ok(204);
}
