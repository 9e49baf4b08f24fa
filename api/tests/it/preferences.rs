//! What readers see and decide by a link's token.

use crate::support::{ORIGIN, TestApp, until};
use eventstore::{clock, service_keys};
use mail::links::{LinkKey, LinkKeys, PreferenceClaims};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;
use uuid::Uuid;

/// A reader of two groups.
async fn reader(app: &TestApp) -> (Uuid, [Uuid; 2]) {
    let groups = [app.group("A letter").await, app.group("B letter").await];
    (app.subscriber("reader@example.com", &groups).await, groups)
}

async fn preferences(app: &TestApp, token: &str) -> Value {
    app.get("/preferences").bearer(token).send().await.ok(200).json()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn preferences_are_shown_masked(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (reader, [a, b]) = reader(&app).await;
    let token = app.token(reader, Some(a));
    let expected = json!({
        "subscriber": { "email_masked": "r•••@example.com" },
        "global_opt_out": false,
        "groups": [
            { "group_id": a, "name": "A letter", "subscribed": true },
            { "group_id": b, "name": "B letter", "subscribed": true },
        ],
    });
    assert_eq!(preferences(&app, &token).await, expected);
    let in_query = app.get(&format!("/preferences?token={token}")).anonymous().send().await;
    assert_eq!(in_query.ok(200).json(), expected);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_by_json_is_seen_at_once(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (reader, [a, b]) = reader(&app).await;
    let token = app.token(reader, Some(a));
    let opt_out = |body: Value| app.post("/emails/unsubscribe").bearer(&token).json(body).send();
    let done = opt_out(json!({ "groups": [b] })).await.ok(204);
    assert!(done.body.is_empty() && !done.position().is_empty());
    let shown = preferences(&app, &token).await;
    assert_eq!((&shown["global_opt_out"], &shown["groups"][0]["subscribed"]), (&json!(false), &json!(true)));
    assert_eq!(shown["groups"][1]["subscribed"], false);

    opt_out(json!({ "global": true })).await.ok(204);
    let shown = preferences(&app, &token).await;
    assert_eq!((&shown["global_opt_out"], &shown["groups"][0]["subscribed"]), (&json!(true), &json!(false)));
    // Again is fine, and nothing new.
    let events = app.events().await;
    opt_out(json!({ "global": true })).await.ok(204);
    let by_query = app.post(&format!("/emails/unsubscribe?token={token}")).anonymous();
    by_query.json(json!({ "global": true })).send().await.ok(204);
    assert_eq!(app.events().await, events);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_records_where_it_came_from_sealed(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (reader, [a, _]) = reader(&app).await;
    let opt_out = app.post("/emails/unsubscribe").bearer(&app.token(reader, Some(a)));
    let opt_out = opt_out.header("user-agent", "Reader/1.0 (secret)").json(json!({ "global": true }));
    opt_out.send().await.ok(204);
    let (payload, metadata): (Value, Value) = sqlx::query_as(
        "SELECT payload, metadata FROM events WHERE event_type = 'SubscriberOptedOut' AND aggregate_id = $1",
    )
    .bind(reader.to_string())
    .fetch_one(&app.pool)
    .await
    .unwrap();
    let text = payload.to_string();
    assert!(
        text.contains("preference_page") && text.contains("user_agent") && !text.contains("secret"),
        "{text}"
    );
    assert!(text.contains(&Uuid::from_u128(77).to_string()), "the campaign is recorded: {text}");
    assert_eq!(metadata["actor"], "reader");
    assert!(metadata["request_id"].as_str().unwrap().parse::<Uuid>().is_ok());
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn bad_opt_outs_are_refused(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (reader, [a, _]) = reader(&app).await;
    let token = app.token(reader, Some(a));
    let events = app.events().await;
    let opt_out = |body: Value| app.post("/emails/unsubscribe").bearer(&token).json(body).send();
    opt_out(json!({ "global": false })).await.invalid(&["groups"]);
    opt_out(json!({})).await.invalid(&["groups"]);
    opt_out(json!({ "groups": [] })).await.invalid(&["groups"]);
    opt_out(json!({ "groups": ["x"] })).await.invalid(&["groups[0]"]);
    opt_out(json!({ "groups": [a, Uuid::from_u128(1)] })).await.invalid(&["groups[1]"]);
    opt_out(json!({ "groups": vec![a; 101] })).await.invalid(&["groups"]);
    opt_out(json!({ "global": "yes" })).await.invalid(&["global"]);
    opt_out(json!({ "global": true, "bogus": 1 })).await.invalid(&["bogus"]);
    app.post("/emails/unsubscribe").bearer(&token).body("application/json", "{").send().await.problem(400);
    app.post("/emails/unsubscribe").bearer(&token).body("text/plain", "x").send().await.problem(415);
    assert_eq!(app.events().await, events);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn tampered_and_foreign_tokens_open_nothing(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (reader, [a, _]) = reader(&app).await;
    let token = app.token(reader, Some(a));
    let events = app.events().await;
    let (head, signature) = token.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') {
        signature.replacen('A', "B", 1)
    } else {
        format!("A{}", &signature[1..])
    };
    let (_, payload) = head.split_once('.').unwrap();
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoicHJlZmVyZW5jZStqd3QifQ.{payload}.");
    let bad = [
        format!("{head}.{flipped}"),
        format!("{head}."),
        none,
        head.to_owned(),
        "x".into(),
        "x".repeat(4_000),
    ];
    for token in &bad {
        app.get("/preferences").bearer(token).send().await.problem(401);
        app.get(&format!("/preferences?token={token}")).anonymous().send().await.problem(401);
        let opt_out =
            app.post("/emails/unsubscribe").bearer(token).json(json!({ "global": true })).send().await;
        assert_eq!(opt_out.header("www-authenticate"), "Bearer");
        opt_out.problem(401);
        let preferences = json!({ "global_opt_out": true });
        app.put("/preferences").bearer(token).json(preferences).send().await.problem(401);
    }
    // A bad header is not saved by a good query.
    let both = app.get(&format!("/preferences?token={token}")).bearer("x").send().await;
    both.problem(401);
    assert_eq!(app.events().await, events);
}

/// A sender that was started anew signs by a key that this process did not know at its start.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_link_by_a_key_that_was_made_since_opens(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (subscriber, [a, _]) = reader(&app).await;
    let master = &app.commands.store.master;
    let claims =
        PreferenceClaims { subscriber, campaign: None, group: Some(a), dispatch: None, issued_at: 0 };
    let click = |token: String| {
        let call = app.post(&format!("/emails/unsubscribe?token={token}")).anonymous();
        call.form("List-Unsubscribe=One-Click").send()
    };
    let made = api::load_link_keys(&app.pool, master).await.unwrap();
    click(made.sign_preference(&claims).unwrap()).await.ok(200);
    service_keys::rotate(&app.pool, master, api::LINK_KEYS).await.unwrap();
    let made = api::load_link_keys(&app.pool, master).await.unwrap();
    let token = made.sign_preference(&claims).unwrap();
    until("the newest key is known", || async { click(token.clone()).await.status == 200 }).await;
    for kid in ["preference-2", "preference-3"] {
        let forged = LinkKeys::new(vec![LinkKey { kid: kid.into(), secret: [1; 32] }]).unwrap();
        click(forged.sign_preference(&claims).unwrap()).await.ok(401);
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn preferences_are_set(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (reader, [a, b]) = reader(&app).await;
    let token = app.token(reader, Some(a));
    let put = |body: Value| app.put("/preferences").bearer(&token).json(body).send();
    let wanted = json!({ "global_opt_out": false, "groups": [{ "group_id": a, "subscribed": false }] });
    assert!(!put(wanted).await.ok(204).position().is_empty());
    let shown = preferences(&app, &token).await;
    assert_eq!(
        (&shown["groups"][0]["subscribed"], &shown["groups"][1]["subscribed"]),
        (&json!(false), &json!(true))
    );
    let back = json!({ "global_opt_out": true, "groups": [{ "group_id": a, "subscribed": true }] });
    put(back).await.ok(204);
    assert_eq!(preferences(&app, &token).await["global_opt_out"], true);
    put(json!({ "global_opt_out": false })).await.ok(204);
    let shown = preferences(&app, &token).await;
    assert_eq!(
        (&shown["groups"][0]["subscribed"], &shown["groups"][1]["subscribed"]),
        (&json!(true), &json!(true))
    );

    let foreign = app.group("Of others").await;
    put(json!({ "global_opt_out": false, "groups": [{ "group_id": foreign, "subscribed": true }] }))
        .await
        .invalid(&["groups[0].group_id"]);
    put(json!({ "groups": [] })).await.invalid(&["global_opt_out"]);
    put(json!({ "global_opt_out": false, "groups": [{ "group_id": b }] }))
        .await
        .invalid(&["groups[0].subscribed"]);
}

/// Whoever has a link can press its buttons for ever, and all that comes of it is read for each mail to its reader.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn opting_in_again_and_again_comes_to_an_end(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (reader, [a, _]) = reader(&app).await;
    let token = app.token(reader, Some(a));
    let out_of_everything =
        |out: bool| app.put("/preferences").bearer(&token).json(json!({ "global_opt_out": out })).send();
    for _ in 0..50 {
        out_of_everything(true).await.ok(204);
        out_of_everything(false).await.ok(204);
    }
    out_of_everything(true).await.ok(204);
    let refused = out_of_everything(false).await;
    assert_eq!(refused.header("retry-after"), "3600");
    refused.problem(429);
    let page = app.post(&format!("/emails/unsubscribe?token={token}")).anonymous();
    let page = page.header("origin", ORIGIN).form("action=return").send().await.ok(429);
    assert!(page.text().contains("That did not work."));
    // Leaving goes on, and tomorrow is another day.
    app.post("/emails/unsubscribe").bearer(&token).json(json!({ "groups": [a] })).send().await.ok(204);
    out_of_everything(true).await.ok(204);
    let mut past = app.pool.begin().await.unwrap();
    sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *past).await.unwrap();
    let earlier = "UPDATE events SET recorded_at = recorded_at - interval '1 day'";
    sqlx::query(earlier).execute(&mut *past).await.unwrap();
    past.commit().await.unwrap();
    out_of_everything(false).await.ok(204);
}

/// Opting out needs no key and looks at none; by one, a repeat of a choice opts out again, and does nothing else.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_repeated_key_opts_out_who_came_back_and_brings_nobody_back(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (reader, [a, b]) = reader(&app).await;
    let token = app.token(reader, Some(a));
    let set = |key: &'static str, groups: [(Uuid, bool); 2]| {
        let groups = groups.map(|(group, on)| json!({ "group_id": group, "subscribed": on }));
        let body = json!({ "groups": groups, "global_opt_out": false });
        app.put("/preferences").bearer(&token).header("idempotency-key", key).json(body).send()
    };
    let leave = |key: &'static str, group: Uuid| {
        let groups = json!({ "groups": [group] });
        app.post("/emails/unsubscribe").bearer(&token).header("idempotency-key", key).json(groups).send()
    };
    let subscribed = async || {
        let shown = preferences(&app, &token).await;
        [0, 1].map(|index| shown["groups"][index]["subscribed"].as_bool().unwrap())
    };
    leave("leave", a).await.ok(204);
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM idempotency_keys").fetch_one(&app.pool).await.unwrap();
    assert_eq!(kept, 0, "nothing is kept of an opt-out");
    set("swap", [(a, true), (b, false)]).await.ok(204);
    assert_eq!(subscribed().await, [true, false]);
    leave("leave", a).await.ok(204);
    assert_eq!(subscribed().await, [false, false]);
    set("back", [(b, true), (a, false)]).await.ok(204);
    assert_eq!(subscribed().await, [false, true]);
    set("swap", [(a, true), (b, false)]).await.ok(204);
    assert_eq!(subscribed().await, [false, false]);
    // Another choice by a key that was used, and what is no key, are done as they are.
    set("back", [(a, true), (b, false)]).await.ok(204);
    assert_eq!(subscribed().await, [true, false]);
    leave("leave", b).await.ok(204);
    leave("no key \u{e9}", a).await.ok(204);
    set("no key \u{e9}", [(a, false), (b, true)]).await.ok(204);
    assert_eq!(subscribed().await, [false, true]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_old_link_only_opts_out(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (reader, [a, _]) = reader(&app).await;
    let issued_at = clock::now().timestamp() - 367 * 24 * 3600;
    let token = app.token_of(PreferenceClaims {
        subscriber: reader,
        campaign: None,
        group: Some(a),
        dispatch: None,
        issued_at,
    });
    app.get("/preferences").bearer(&token).send().await.problem(401);
    let preferences = json!({ "global_opt_out": false, "groups": [{ "group_id": a, "subscribed": true }] });
    app.put("/preferences").bearer(&token).json(preferences).send().await.problem(401);
    let page = app.get(&format!("/emails/unsubscribe?token={token}")).anonymous().send().await.ok(200);
    assert!(!page.text().contains("example.com"), "an old link shows nobody's address");
    app.post("/emails/unsubscribe").bearer(&token).json(json!({ "groups": [a] })).send().await.ok(204);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_token_of_nobody_finds_nobody(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let token = app.token(Uuid::from_u128(404), None);
    app.get("/preferences").bearer(&token).send().await.problem(404);
    app.post("/emails/unsubscribe").bearer(&token).json(json!({ "global": true })).send().await.problem(404);
    app.get(&format!("/emails/unsubscribe?token={token}")).anonymous().send().await.ok(404);
}

/// Whatever keeps the other connections busy: reading and changing one's preferences goes on.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_reader_can_leave_while_all_other_connections_are_taken(pool: PgPool) {
    let app = TestApp::without_projectors(pool.clone(), |_| {}).await;
    let group = app.group("News").await;
    let readers =
        [app.subscriber("a@example.com", &[group]).await, app.subscriber("b@example.com", &[group]).await];
    let few = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_millis(200));
    let few = few.connect_with((*pool.connect_options()).clone()).await.unwrap();
    let taken = few.acquire().await.unwrap();
    let busy = TestApp::over(few, pool, |_| {}).await;
    busy.get(&format!("/groups/{group}")).send().await.problem(503);
    let [token, other] = readers.map(|reader| app.token(reader, Some(group)));
    busy.get("/preferences").bearer(&token).send().await.ok(200);
    busy.get(&format!("/emails/unsubscribe?token={token}")).anonymous().send().await.ok(200);
    let (leave, path) = (json!({ "groups": [group] }), "/emails/unsubscribe");
    busy.post(path).bearer(&token).header("idempotency-key", "leave").json(leave).send().await.ok(204);
    let preferences = json!({ "global_opt_out": true });
    busy.put("/preferences").bearer(&token).json(preferences).send().await.ok(204);
    let click = busy.post(&format!("{path}?token={other}")).anonymous();
    let form = "application/x-www-form-urlencoded";
    click.body(form, "List-Unsubscribe=One-Click".to_owned()).send().await.ok(200);
    drop(taken);
}
