//! Users and API keys, by administrators alone.

use crate::support::{PASSWORD, TestApp};
use domain::access::{Role, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

const BOSS: &str = "boss@example.com";

/// With an administrator who is signed in.
async fn with_boss(pool: PgPool) -> (TestApp, Uuid) {
    let mut app = TestApp::without_projectors(pool, |_| {}).await;
    let boss = app.user(BOSS, &[Role::Admin]).await;
    app.admin = app.login(BOSS).await.access;
    (app, boss)
}

fn new_user(email: &str) -> Value {
    json!({ "email": email, "roles": ["marketer"], "password": PASSWORD })
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_user_is_made_shown_changed_and_signs_in(pool: PgPool) {
    let (app, boss) = with_boss(pool).await;
    let made = app.post("/users").json(new_user("Ana@Example.com")).send().await.ok(201);
    let ana = made.id("user_id");
    let path = format!("/users/{ana}");
    assert!(made.header("location").ends_with(&path));
    let shown = app.get(&path).position(&made.position()).send().await.ok(200);
    let view = json!({ "user_id": ana, "email": "Ana@example.com", "roles": ["marketer"], "disabled": false,
        "has_password": true });
    assert_eq!(shown.json(), view);
    app.login("ana@example.com").await;
    let both = json!({ "roles": ["auditor", "analyst"] });
    let etag = shown.header("etag").to_owned();
    let changed = app.patch(&path).header("if-match", &etag).json(both.clone()).send().await.ok(200);
    assert_eq!(changed.json()["roles"], json!(["analyst", "auditor"]));
    app.patch(&path).header("if-match", &etag).json(json!({ "disabled": true })).send().await.problem(412);
    let list = app.get("/users").send().await.ok(200).json();
    let ids: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|user| &user["user_id"]).collect();
    assert_eq!(ids, [&json!(ana), &json!(boss)]);
    let page = app.get("/users?limit=1").send().await.json();
    let next = format!("/users?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(app.get(&next).send().await.json()["items"][0]["user_id"], json!(boss));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_address_has_one_user(pool: PgPool) {
    let (app, _) = with_boss(pool).await;
    let make = |email: &str, key: &str| app.post("/users").key(key).json(new_user(email)).send();
    let first = make("ana@example.com", "k-1").await.ok(201);
    let events = app.events().await;
    assert_eq!(make("ana@example.com", "k-1").await.ok(201).json(), first.json());
    make("ana@example.com", "k-2").await.problem(409);
    make("ANA@example.com", "k-3").await.problem(409);
    make("other@example.com", "k-1").await.problem(422);
    assert_eq!(app.events().await, events);
    let race = (0..8).map(|_| app.post("/users").json(new_user("bob@example.com")).send());
    let race = futures::future::join_all(race).await;
    assert_eq!(race.iter().filter(|answer| answer.status == 201).count(), 1);
    // Of a password nothing is kept for repeats.
    let kept: String = sqlx::query_scalar("SELECT string_agg(k::text, '') FROM idempotency_keys k")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert!(!kept.contains(PASSWORD));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_cannot_be_a_user_is_named(pool: PgPool) {
    let (app, _) = with_boss(pool).await;
    let make = |body: Value| app.post("/users").json(body).send();
    make(json!({ "email": "x", "roles": [], "password": "short" }))
        .await
        .invalid(&["email", "roles", "password"]);
    make(json!({ "email": "a@example.com", "roles": ["root"], "password": PASSWORD }))
        .await
        .invalid(&["roles"]);
    let mut more = new_user("a@example.com");
    more["user_id"] = json!(Uuid::from_u128(1));
    make(more).await.invalid(&["user_id"]);
    let unknown = format!("/users/{}", Uuid::from_u128(1));
    app.get(&unknown).send().await.problem(404);
    app.patch(&unknown).json(json!({ "disabled": true })).send().await.problem(404);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_is_disabled_is_out_until_enabled(pool: PgPool) {
    let (app, _) = with_boss(pool).await;
    let ana = app.user("ana@example.com", &[Role::Marketer]).await;
    let tokens = app.login("ana@example.com").await;
    let set =
        |disabled: bool| app.patch(&format!("/users/{ana}")).json(json!({ "disabled": disabled })).send();
    set(true).await.ok(200);
    app.refresh(&tokens.refresh).await.problem(401);
    app.get("/auth/me").bearer(&tokens.access).send().await.problem(401);
    app.try_login("ana@example.com", PASSWORD).await.problem(401);
    set(false).await.ok(200);
    app.refresh(&tokens.refresh).await.problem(401);
    app.login("ana@example.com").await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn there_is_always_an_administrator(pool: PgPool) {
    let (app, boss) = with_boss(pool).await;
    let path = format!("/users/{boss}");
    for change in [json!({ "disabled": true }), json!({ "roles": ["marketer"] })] {
        let problem = app.patch(&path).json(change).send().await.problem(409);
        assert_eq!(problem["status"], "last_admin");
    }
    let other = app.user("other@example.com", &[Role::Admin]).await;
    // Two administrators who disable each other at once.
    let second = app.login("other@example.com").await.access;
    let disable = json!({ "disabled": true });
    let first = app.patch(&format!("/users/{other}")).json(disable.clone()).send();
    let second = app.patch(&path).bearer(&second).json(disable).send();
    let (first, second) = futures::join!(first, second);
    let statuses = [first.status.as_u16(), second.status.as_u16()];
    assert!(
        statuses.contains(&200) && statuses.iter().any(|status| [401, 409].contains(status)),
        "{statuses:?}"
    );
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_key_is_shown_once_and_opens_its_scopes_until_revoked(pool: PgPool) {
    let (app, _) = with_boss(pool).await;
    let new = json!({ "name": "Shop", "scopes": ["groups:write", "groups:read", "groups:read"] });
    let made = app.post("/api-keys").json(new).send().await.ok(201);
    let (id, key) = (made.id("api_key_id"), made.json()["key"].as_str().unwrap().to_owned());
    app.get("/groups").bearer(&key).send().await.ok(200);
    app.post("/groups").bearer(&key).json(json!({ "name": "x" })).send().await.ok(201);
    app.get("/subscribers").bearer(&key).send().await.problem(403);
    let actor: Value = sqlx::query_scalar("SELECT metadata FROM events WHERE event_type = 'GroupCreated'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(actor["actor"], format!("key:{id}"));
    let listed = app.get("/api-keys").send().await.ok(200);
    assert!(!listed.text().contains(&key));
    assert_eq!(listed.json()["items"][0]["scopes"], json!(["groups:read", "groups:write"]));
    for table in ["events", "api_keys", "idempotency_keys"] {
        let rows: String =
            sqlx::query_scalar(&format!("SELECT coalesce(string_agg(t::text, '|'), '') FROM {table} t"))
                .fetch_one(&app.pool)
                .await
                .unwrap();
        assert!(!rows.contains(&key), "{table}");
    }
    let path = format!("/api-keys/{id}");
    app.delete(&path).send().await.ok(204);
    app.get("/groups").bearer(&key).send().await.problem(401);
    let events = app.events().await;
    app.delete(&path).send().await.ok(204);
    assert_eq!(app.events().await, events);
    app.delete(&format!("/api-keys/{}", Uuid::from_u128(1))).send().await.problem(404);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_key_expires_and_is_made_for_something(pool: PgPool) {
    let (app, _) = with_boss(pool).await;
    let make = |body: Value| app.post("/api-keys").json(body).send();
    make(json!({ "name": "", "scopes": ["all"] })).await.invalid(&["name", "scopes"]);
    let past = json!({ "name": "x", "scopes": ["groups:read"], "expires_at": "2020-01-01T00:00:00Z" });
    make(past).await.invalid(&["expires_at"]);
    let until = json!({ "name": "x", "scopes": ["groups:read"], "expires_at": "2999-01-01T00:00:00Z" });
    let key = make(until).await.ok(201).json()["key"].as_str().unwrap().to_owned();
    app.get("/groups").bearer(&key).send().await.ok(200);
    sqlx::query("UPDATE api_keys SET expires_at = now()").execute(&app.pool).await.unwrap();
    app.get("/groups").bearer(&key).send().await.problem(401);
    let other = app.api_key(&[Scope::GroupsRead]).await;
    app.get("/groups").bearer(&other).send().await.ok(200);
}

/// What auditors read: who did what from where, without a secret.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn security_events_are_listed_for_auditors(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let ana = app.user("ana@example.com", &[Role::Marketer]).await;
    app.user("audit@example.com", &[Role::Auditor]).await;
    let login = |password: &str| {
        let body = json!({ "email": "ana@example.com", "password": password });
        app.post("/auth/login").header("user-agent", "Browser/9").json(body).send()
    };
    login("a wrong password").await.problem(401);
    let first = login(PASSWORD).await.tokens();
    app.refresh(&first.refresh).await.tokens();
    app.refresh(&first.refresh).await.problem(401);
    app.api_key(&[Scope::GroupsRead]).await;
    app.settled().await;
    let auditor = app.login("audit@example.com").await;
    let list = app.get("/audit/security-events?limit=7").bearer(&auditor.access).send().await.ok(200).json();
    let events = list["items"].as_array().unwrap();
    // The auditor's own sign-in may have its position by now.
    let events: Vec<&Value> = events.iter().skip_while(|event| event["event"] != "ApiKeyMade").collect();
    let named: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).take(6).collect();
    let expected = [
        "ApiKeyMade",
        "SessionEnded",
        "SessionReuseDetected",
        "SessionRefreshed",
        "SessionStarted",
        "SignInFailed",
    ];
    assert_eq!(named, expected);
    assert_eq!((&events[0]["name"], &events[0]["scopes"]), (&json!("test"), &json!(["groups:read"])));
    assert_eq!(events[1]["end_reason"], "token_reused");
    let started = &events[4];
    assert_eq!((&started["user_id"], &started["actor"]), (&json!(ana), &json!(format!("user:{ana}"))));
    let failed = &events[5];
    assert_eq!((&failed["refusal"], &failed["user_id"]), (&json!("wrong_password"), &json!(ana)));
    assert_eq!((&failed["user_agent"], &failed["actor"]), (&json!("Browser/9"), &json!("nobody")));
    let path = format!("/audit/security-events?limit=3&cursor={}", list["next_cursor"].as_str().unwrap());
    let older = app.get(&path).bearer(&auditor.access).send().await.ok(200).json();
    let below = older["items"][0]["position"].as_i64().unwrap();
    assert!(below < events.last().unwrap()["position"].as_i64().unwrap());
    app.get("/audit/security-events?limit=0").bearer(&auditor.access).send().await.invalid(&["limit"]);
}
