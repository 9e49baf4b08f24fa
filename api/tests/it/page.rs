//! The page behind the link, and its button.

use crate::support::{Answer, ORIGIN, TestApp};
use axum::http::Method;
use eventstore::clock;
use mail::links::PreferenceClaims;
use serde_json::json;
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
        assert_eq!(page.text().matches("<button").count(), 2, "the group, and everything");
        assert!(page.text().contains("Tom &#38; &#60;b&#62;Jerry"), "{}", page.text());
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
    assert!(page.text().contains("You are unsubscribed.") && page.text().contains("Subscribe again"));
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

/// A press of a button on our page.
async fn press(app: &TestApp, path: &str, form: &str) -> Answer {
    app.post(path).anonymous().header("origin", ORIGIN).form(form).send().await
}

/// Each group's name and whether its box is ticked.
fn boxes(page: &Answer) -> Vec<(String, bool)> {
    let labels = page.text().split("<label>").skip(1).filter_map(|rest| rest.split("</label>").next());
    let read = |label: &str| {
        let (input, name) = label.split_once('\n').unwrap();
        (name.trim().to_owned(), input.contains(" checked"))
    };
    labels.map(read).collect()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_reader_chooses_among_their_groups(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let groups = [app.group("A letter").await, app.group("B letter").await];
    let foreign = app.group("Not theirs").await;
    let reader = app.subscriber("reader@example.com", &groups).await;
    let path = format!("/emails/unsubscribe?token={}", app.token(reader, Some(groups[0])));
    let shown = async || boxes(&app.get(&path).anonymous().send().await.ok(200));
    let state = |a, b| vec![("A letter".to_owned(), a), ("B letter".to_owned(), b)];
    assert_eq!(shown().await, state(true, true));

    let [a, b] = groups;
    let form = format!("action=save&shown={a}&shown={b}&shown={foreign}&group={a}&group={foreign}");
    let saved = press(&app, &path, &form).await.ok(303);
    assert_eq!(saved.header("location"), format!("{ORIGIN}{path}&said=saved"));
    let page = app.get(&format!("{path}&said=saved")).anonymous().send().await.ok(200);
    check_page(&page);
    assert!(page.text().contains("role=\"status\"") && page.text().contains("Your choice is saved."));
    assert_eq!(boxes(&page), state(true, false));
    let events = app.events().await;
    press(&app, &path, &form).await.ok(303);
    assert_eq!(app.events().await, events, "the same choice is nothing new");
    let form = format!("action=save&shown={a}&shown={b}&group={a}&group={b}");
    press(&app, &path, &form).await.ok(303);
    assert_eq!(shown().await, state(true, true));

    // A page from before somebody left everything brings nothing back.
    press(&app, &path, "action=leave_all").await.ok(303);
    press(&app, &path, &form).await.ok(303);
    let page = app.get(&path).anonymous().send().await.ok(200);
    assert!(page.text().contains("any mail from this sender any more") && boxes(&page).is_empty());
}

/// The form of the page's boxes as a browser sends it, each as it was shown but those of `unticked`.
fn form(page: &Answer, unticked: &[Uuid]) -> String {
    let inputs = page.text().split("<input ").skip(1).filter_map(|rest| rest.split('>').next());
    let attribute = |input: &str, name: &str| {
        let (_, rest) = input.split_once(&format!("{name}=\""))?;
        rest.split('"').next().map(str::to_owned)
    };
    let sent = inputs.filter_map(|input| {
        let (name, value) = (attribute(input, "name")?, attribute(input, "value")?);
        let is_off = !input.contains(" checked") || unticked.iter().any(|group| value == group.to_string());
        (!input.contains("checkbox") || !is_off).then(|| format!("&{name}={value}"))
    });
    format!("action=save{}", sent.collect::<String>())
}

/// Two windows, or a page and the mail program's button.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_page_that_stood_open_brings_nothing_back(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let groups @ [a, b] = [app.group("A letter").await, app.group("B letter").await];
    let reader = app.subscriber("reader@example.com", &groups).await;
    let path = format!("/emails/unsubscribe?token={}", app.token(reader, Some(b)));
    let open = app.get(&path).anonymous().send().await.ok(200);
    app.post(&path).anonymous().form("List-Unsubscribe=One-Click").send().await.ok(200);
    press(&app, &path, &form(&open, &[a])).await.ok(303);
    let shown = boxes(&app.get(&path).anonymous().send().await.ok(200));
    assert_eq!(shown, [("A letter".to_owned(), false), ("B letter".to_owned(), false)]);
}

/// Nor does one that is under way.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_choice_overtakes_no_opt_out_of_everything(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let groups @ [a, b] = [app.group("A letter").await, app.group("B letter").await];
    let reader = app.subscriber("reader@example.com", &groups).await;
    let token = app.token(reader, Some(a));
    let path = format!("/emails/unsubscribe?token={token}");
    let pressed = |form: &str| {
        let call = app.post(&path).anonymous().header("origin", ORIGIN).form(form);
        tokio::spawn(async move { call.send().await.ok(303) })
    };
    let mut gate = app.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM gates FOR UPDATE").execute(&mut *gate).await.unwrap();
    let left = pressed("action=leave_all");
    app.blocked(1).await;
    let saved = pressed(&format!("action=save&had={a}&had={b}&group={a}"));
    app.blocked(2).await;
    gate.rollback().await.unwrap();
    left.await.unwrap();
    saved.await.unwrap();
    let shown = app.get("/preferences").bearer(&token).send().await.ok(200).json();
    assert_eq!(shown["global_opt_out"], true, "{shown}");
}

/// Each of them, however many there are.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_reader_of_many_groups_leaves_any_of_them(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let mut groups = Vec::new();
    for number in 0..150 {
        groups.push(app.group(&format!("Letter {number:03}")).await);
    }
    let reader = app.subscriber("reader@example.com", &groups[..100]).await;
    for group in &groups[100..] {
        let member = json!({ "subscriber_id": reader });
        app.post(&format!("/groups/{group}/members")).json(member).send().await.ok(204);
    }
    let path = format!("/emails/unsubscribe?token={}", app.token(reader, None));
    let open = app.get(&path).anonymous().send().await.ok(200);
    press(&app, &path, &form(&open, &groups[149..])).await.ok(303);
    let shown = boxes(&app.get(&path).anonymous().send().await.ok(200));
    let left: Vec<&str> = shown.iter().filter(|(_, on)| !on).map(|(name, _)| name.as_str()).collect();
    assert_eq!(left, ["Letter 149"]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_link_to_what_a_reader_gets_shows_it(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("A letter").await;
    let reader = app.subscriber("reader@example.com", &[group]).await;
    let shown = async |group, said| {
        let path = format!("/emails/unsubscribe?token={}{said}", app.token(reader, group));
        app.get(&path).anonymous().send().await.ok(200)
    };
    let of_everything = shown(None, "").await;
    assert!(of_everything.text().contains("<h1>What you get</h1>"));
    assert_eq!(boxes(&of_everything), [("A letter".to_owned(), true)]);
    // A mail's link is for leaving its group, and a list of that alone says nothing new.
    let of_group = shown(Some(group), "").await;
    assert!(of_group.text().contains("<h1>Unsubscribe?</h1>") && boxes(&of_group).is_empty());
    let of_return = shown(Some(group), "&said=returned").await;
    assert!(of_return.text().contains("<h1>What you get</h1>"), "who came back is not asked to leave");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mistake_is_taken_back_a_step_at_a_time(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (reader, group, path) = reader(&app).await;
    let token = app.token(reader, Some(group));
    let subscribed = async || {
        let shown = app.get("/preferences").bearer(&token).send().await.ok(200).json();
        (shown["global_opt_out"] == true, shown["groups"][0]["subscribed"] == true)
    };
    press(&app, &path, "action=leave").await.ok(303);
    press(&app, &path, "action=leave_all").await.ok(303);
    assert_eq!(subscribed().await, (true, false));
    let back = press(&app, &path, "action=return").await.ok(303);
    assert!(back.header("location").ends_with("&said=returned"));
    assert_eq!(subscribed().await, (false, false), "the group's own opt-out stands");
    press(&app, &path, "action=return").await.ok(303);
    assert_eq!(subscribed().await, (false, true));
    // From elsewhere nobody opts anybody in.
    press(&app, &path, "action=leave").await.ok(303);
    let elsewhere = app.post(&path).anonymous().header("origin", "https://evil.example");
    elsewhere.form("action=return").send().await.ok(403);
    assert_eq!(subscribed().await, (false, false));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_old_link_only_opts_out(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (reader, group, _) = reader(&app).await;
    let issued_at = clock::now().timestamp() - 400 * 24 * 3600;
    let claims = PreferenceClaims {
        subscriber: reader,
        campaign: None,
        group: Some(group),
        dispatch: None,
        issued_at,
    };
    let path = format!("/emails/unsubscribe?token={}", app.token_of(claims));
    let page = app.get(&path).anonymous().send().await.ok(200);
    assert!(!page.text().contains("@example.com") && boxes(&page).is_empty());
    press(&app, &path, "action=leave").await.ok(303);
    let page = app.get(&path).anonymous().send().await.ok(200);
    assert!(page.text().contains("You are unsubscribed.") && !page.text().contains("Subscribe again"));
    for action in ["return", "save"] {
        let refused = press(&app, &path, &format!("action={action}")).await.ok(401);
        check_page(&refused);
        assert!(refused.text().contains("too old"));
    }
}

/// Whoever has the old mailbox now may be anybody.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_link_to_an_address_that_was_left_only_opts_out(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (reader, group, _) = reader(&app).await;
    let issued_at = clock::now().timestamp() - 60;
    let claims = PreferenceClaims {
        subscriber: reader,
        campaign: None,
        group: Some(group),
        dispatch: None,
        issued_at,
    };
    let token = app.token_of(claims);
    let path = format!("/emails/unsubscribe?token={token}");
    app.patch(&format!("/subscribers/{reader}"))
        .json(json!({ "email": "new@example.com" }))
        .send()
        .await
        .ok(200);
    let page = app.get(&path).anonymous().send().await.ok(200);
    assert!(!page.text().contains("@example.com"));
    app.get("/preferences").bearer(&token).send().await.problem(401);
    press(&app, &path, "action=leave_all").await.ok(303);
    let back = json!({ "global_opt_out": false, "groups": [{ "group_id": group, "subscribed": true }] });
    app.put("/preferences").bearer(&token).json(back).send().await.problem(401);
    assert!(press(&app, &path, "action=return").await.ok(401).text().contains("too old"));
}

/// Where another token opened the door, the one in the address may be anything.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_way_back_holds_nothing_but_a_token(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (reader, group, _) = reader(&app).await;
    let token = app.token(reader, Some(group));
    for odd in ["%0d%0aSet-Cookie:%20a=b", "x%26said%3dsaved%23", ""] {
        let call =
            app.post(&format!("/emails/unsubscribe?token={odd}")).bearer(&token).header("origin", ORIGIN);
        let pressed = call.form("action=leave").send().await.ok(303);
        assert_eq!(pressed.header("location"), format!("{ORIGIN}/emails/unsubscribe?token="), "{odd}");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_page_speaks_the_readers_language(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (_, _, path) = reader(&app).await;
    let page = app.get(&path).anonymous().header("accept-language", "de-AT,en;q=0.5").send().await.ok(200);
    assert!(page.text().contains("<html lang=\"de\">") && page.text().contains("Abbestellen?"));
    assert_eq!(page.header("vary"), "accept-language");
    let broken = app.get("/emails/unsubscribe?token=x").anonymous().header("accept-language", "de");
    assert!(broken.send().await.ok(401).text().contains("Dieser Link funktioniert nicht."));
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
