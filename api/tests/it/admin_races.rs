//! An administrator who is none any more, or whose session is over, by the time that a command of theirs is done: its
//! head was admitted, its body comes later, or its transaction waits.

use crate::account_links::lock_account;
use crate::support::{Answer, Call, PASSWORD, TestApp};
use axum::body::Body;
use domain::access::Role;
use futures::stream;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::convert::Infallible;
use tokio::sync::oneshot;
use uuid::Uuid;

const BOSS: &str = "boss@example.com";
const EVE: &str = "eve@example.com";
/// How an administrator's power ends.
const ENDS: [&str; 3] = ["disabled", "demoted", "signed out"];

async fn with_eve(pool: PgPool) -> (TestApp, Uuid) {
    let mut app = TestApp::without_projectors(pool, |_| {}).await;
    app.user(BOSS, &[Role::Admin]).await;
    app.admin = app.login(BOSS).await.access;
    let eve = app.user(EVE, &[Role::Admin]).await;
    (app, eve)
}

async fn change(app: &TestApp, user: Uuid, body: Value) -> Answer {
    app.patch(&format!("/users/{user}")).json(body).send().await
}

async fn end(app: &TestApp, how: &str, eve: Uuid, access: &str) {
    match how {
        "disabled" => _ = change(app, eve, json!({ "disabled": true })).await.ok(200),
        "demoted" => _ = change(app, eve, json!({ "roles": ["marketer"] })).await.ok(200),
        _ => _ = app.post("/auth/logout").bearer(access).send().await.ok(204),
    }
}

/// The call is admitted, then `meanwhile` happens, then its body comes.
async fn with_late_body(call: Call, body: Value, meanwhile: impl Future<Output = ()>) -> Answer {
    let (ask, asked) = oneshot::channel();
    let (release, released) = oneshot::channel();
    let late = stream::once(async move {
        ask.send(()).unwrap();
        released.await.unwrap();
        Ok::<_, Infallible>(body.to_string())
    });
    let meanwhile = async {
        asked.await.unwrap();
        meanwhile.await;
        release.send(()).unwrap();
    };
    let call = call.body("application/json", Body::from_stream(late));
    tokio::join!(call.send(), meanwhile).0
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn nothing_is_done_for_who_is_no_administrator_by_then(pool: PgPool) {
    let (app, eve) = with_eve(pool).await;
    let bob = app.user("bob@example.com", &[Role::Marketer]).await;
    let path = |rest: &str| format!("/users/{bob}{rest}");
    for how in ENDS {
        let calls = [
            (app.post("/api-keys"), json!({ "name": "late", "scopes": ["subscribers:read"] })),
            (
                app.post("/users"),
                json!({ "email": "x@example.com", "roles": ["admin"], "password": PASSWORD }),
            ),
            (app.patch(&path("")), json!({ "roles": ["admin"] })),
            (app.post(&path("/invitation")), json!({})),
            (app.delete(&path("/identities")), json!({})),
        ];
        for (number, (call, body)) in calls.into_iter().enumerate() {
            change(&app, eve, json!({ "disabled": false, "roles": ["admin"] })).await.ok(200);
            let access = app.login(EVE).await.access;
            let answer = with_late_body(call.bearer(&access), body, end(&app, how, eve, &access)).await;
            assert_eq!(answer.status, 401, "{how}, call {number}: {}", answer.text());
        }
    }
    let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM api_keys").fetch_one(&app.pool).await.unwrap();
    assert_eq!(keys, 0);
}

/// Both wait for the administrator's account, the end of their power first.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn no_key_is_made_or_revoked_by_who_waited_and_is_disabled(pool: PgPool) {
    let (app, eve) = with_eve(pool).await;
    let key = json!({ "name": "late", "scopes": ["subscribers:read"] });
    let id = app.post("/api-keys").json(key.clone()).send().await.ok(201).id("api_key_id");
    let revoked = format!("/api-keys/{id}");
    for call in [app.post("/api-keys").json(key), app.delete(&revoked)] {
        change(&app, eve, json!({ "disabled": false })).await.ok(200);
        let access = app.login(EVE).await.access;
        let lock = lock_account(&app, EVE).await;
        let late = async {
            app.blocked(1).await;
            call.bearer(&access).send().await
        };
        let release = async {
            app.blocked(2).await;
            lock.rollback().await.unwrap();
        };
        let (disabled, answer, ()) =
            tokio::join!(change(&app, eve, json!({ "disabled": true })), late, release);
        disabled.ok(200);
        answer.problem(401);
    }
}
