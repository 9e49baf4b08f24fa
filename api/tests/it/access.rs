//! Who may call what. `api/tests/access.csv` is written by hand; each route of the router is tried with every role, with
//! none, with a reader's token and with keys, and has to be in it.
//!
//! `ok` there means admitted, whatever the route then says of an empty request. The last column is the one scope that
//! opens the route to a key, or what every key is told.

use crate::support::{Answer, TestApp};
use axum::http::Method;
use domain::access::{Role, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

const TABLE: &str = include_str!("../access.csv");

type Table = BTreeMap<(String, String), BTreeMap<String, String>>;

fn table() -> Table {
    let mut reader = csv::Reader::from_reader(TABLE.as_bytes());
    let mut table = Table::new();
    for row in reader.deserialize() {
        let mut row: BTreeMap<String, String> = row.unwrap();
        let route = (row.remove("method").unwrap(), row.remove("path").unwrap());
        assert!(table.insert(route.clone(), row).is_none(), "{route:?} is there twice");
    }
    table
}

/// Method and path of every route: the reference is made by what makes the router.
async fn routes(app: &TestApp) -> BTreeSet<(String, String)> {
    let document = app.get("/openapi.json").anonymous().send().await.ok(200).json();
    let paths = document["paths"].as_object().unwrap().clone();
    let methods = |(path, item): (String, Value)| {
        let methods: Vec<String> = item.as_object().unwrap().keys().cloned().collect();
        methods.into_iter().map(move |method| (method, path.clone()))
    };
    paths.into_iter().flat_map(methods).collect()
}

/// A request that changes nothing: its ids are nobody's, its body is empty.
async fn call(app: &TestApp, (method, path): &(String, String), bearer: Option<&str>) -> Answer {
    let id = Uuid::from_u128(1).to_string();
    let path = path.replace("{provider}", "nobody");
    let path = path.replace("{id}", &id).replace("{subscriber_id}", &id).replace("{file}", "swagger-ui.css");
    let method: Method = method.to_ascii_uppercase().parse().unwrap();
    let call = app.call(method, &path).anonymous();
    match bearer {
        Some(bearer) => call.bearer(bearer).send().await,
        None => call.send().await,
    }
}

#[track_caller]
fn check(answer: &Answer, expected: &str, what: &str) {
    let status = answer.status.as_u16();
    match expected {
        "ok" => assert!(!matches!(status, 401 | 403), "{what}: {status} {answer:?}"),
        refused => assert_eq!(status.to_string(), refused, "{what}"),
    }
    if status == 401 {
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{what}");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_table_has_every_route_and_no_other(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let listed: BTreeSet<(String, String)> = table().into_keys().collect();
    assert_eq!(routes(&app).await, listed);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn every_route_admits_the_roles_of_the_table(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    for role in Role::ALL {
        app.user(&format!("{}@example.com", role.as_str()), &[role]).await;
    }
    for (route, expected) in table() {
        check(&call(&app, &route, None).await, &expected["none"], &format!("{route:?} as nobody"));
        let reader = app.token(Uuid::from_u128(5), None);
        check(
            &call(&app, &route, Some(&reader)).await,
            &expected["reader"],
            &format!("{route:?} as a reader"),
        );
        for role in Role::ALL {
            // Signed in anew each time: some routes end the session.
            let token = match route.1.starts_with("/auth/") {
                true => app.login(&format!("{}@example.com", role.as_str())).await.access,
                false => signed_in(&app, role).await,
            };
            let what = format!("{route:?} as {}", role.as_str());
            check(&call(&app, &route, Some(&token)).await, &expected[role.as_str()], &what);
        }
    }
}

/// One session for each role, as long as nothing ends it.
async fn signed_in(app: &TestApp, role: Role) -> String {
    let user: Uuid = app
        .commands
        .user_by_address(&domain::EmailAddress::parse(&format!("{}@example.com", role.as_str())).unwrap())
        .await
        .unwrap()
        .unwrap();
    let session = match app.commands.sessions(user).await.unwrap().first() {
        Some(row) => row.session_id,
        None => {
            let token = app.login(&format!("{}@example.com", role.as_str())).await.access;
            app.get("/auth/me").bearer(&token).send().await.id("session_id")
        }
    };
    let claims = api::AccessClaims { user, session, roles: vec![role] };
    app.access_keys.sign(&claims).await.unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_key_that_may_write_is_not_shown_what_it_may_not_read(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Readers").await;
    let reader = app.subscriber("ana@example.com", &[group]).await;
    let (blind, seeing) = (
        app.api_key(&[Scope::SubscribersWrite]).await,
        app.api_key(&[Scope::SubscribersWrite, Scope::SubscribersRead]).await,
    );
    let path = format!("/subscribers/{reader}");
    let change = |key: &str| app.patch(&path).bearer(key).json(json!({})).send();
    let answer = change(&blind).await.ok(200);
    assert_eq!(answer.json(), json!({ "subscriber_id": reader }));
    assert_eq!(change(&seeing).await.ok(200).json()["email"], "ana@example.com");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_key_opens_the_routes_of_its_scopes_alone(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let mut keys = BTreeMap::new();
    for scope in Scope::ALL {
        let others: Vec<Scope> = Scope::ALL.into_iter().filter(|other| *other != scope).collect();
        keys.insert(scope.as_str(), (app.api_key(&[scope]).await, app.api_key(&others).await));
    }
    let all = app.api_key(&Scope::ALL).await;
    for (route, expected) in table() {
        let what = format!("{route:?} by a key");
        match expected["key"].as_str() {
            "any" => check(&call(&app, &route, Some(&all)).await, "ok", &what),
            refused @ ("401" | "403") => check(&call(&app, &route, Some(&all)).await, refused, &what),
            scope => {
                let (with, without) = &keys[scope];
                check(&call(&app, &route, Some(with)).await, "ok", &what);
                let refused = call(&app, &route, Some(without)).await;
                check(&refused, "403", &what);
                assert_eq!(refused.json()["detail"], format!("the key lacks the scope {scope}"), "{what}");
            }
        }
    }
}

/// A database that hangs holds up no request for longer than requests may take.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn admission_is_bounded_in_time(pool: PgPool) {
    let app =
        TestApp::without_projectors(pool, |config| config.request_timeout = Duration::from_millis(300)).await;
    let key = app.api_key(&[Scope::GroupsRead]).await;
    app.get("/groups").bearer(&key).send().await.ok(200);
    let mut hang = app.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE api_keys, sessions IN ACCESS EXCLUSIVE MODE").execute(&mut *hang).await.unwrap();
    for (path, bearer) in [("/groups", &key), ("/auth/me", &app.admin)] {
        let call = app.get(path).bearer(bearer).send();
        let answer = tokio::time::timeout(Duration::from_secs(10), call).await.expect("it hangs as well");
        assert_eq!(answer.problem(503)["type"], "urn:postledger:problem:timed-out", "{path}");
    }
    hang.rollback().await.unwrap();
    app.get("/groups").bearer(&key).send().await.ok(200);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_wrong_token_opens_nothing(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let unknown = format!("plk_{}", "A".repeat(43));
    for (route, expected) in table().into_iter().filter(|(_, expected)| expected["none"] == "401") {
        for bearer in ["nonsense", "", "plk_", unknown.as_str(), &"x".repeat(5_000), &"plk_x".repeat(1_000)] {
            let answer = call(&app, &route, Some(bearer)).await;
            check(&answer, &expected["none"], &format!("{route:?}"));
        }
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn tokens_are_bearers(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let token = app.admin.clone();
    let with = |value: &str| app.get("/groups").header("authorization", value).send();
    for fine in [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER  {token}")] {
        with(&fine).await.ok(200);
    }
    for bad in [
        token.clone(),
        format!("Basic {token}"),
        format!("Bearer{token}"),
        "Bearer".into(),
        format!("Token {token}"),
    ] {
        with(&bad).await.problem(401);
    }
    app.get(&format!("/groups?token={token}")).anonymous().send().await.problem(401);
}

/// Roles that an access token names are believed for its ten minutes, but not where power is given away.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_was_an_administrator_makes_no_keys(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    app.user("boss@example.com", &[Role::Admin]).await;
    let ana = app.user("ana@example.com", &[Role::Admin]).await;
    let (boss, former) = (app.login("boss@example.com").await, app.login("ana@example.com").await);
    let demote = json!({ "roles": ["marketer"] });
    app.patch(&format!("/users/{ana}")).bearer(&boss.access).json(demote).send().await.ok(200);
    app.get("/users").bearer(&former.access).send().await.problem(403);
    let key = json!({ "name": "mine", "scopes": ["groups:read"] });
    app.post("/api-keys").bearer(&former.access).json(key).send().await.problem(403);
}
