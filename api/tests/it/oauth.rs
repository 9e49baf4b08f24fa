//! Signing in at an OpenID provider, as far as no provider is needed. With one: `e2e`, oauth.

use crate::support::{Answer, Call, PASSWORD, PROVIDER, REDIRECT_URI, TestApp};
use commands::{CommandError, Context, Identity};
use domain::EmailAddress;
use domain::access::Role;
use domain::visit::Visit;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

const ANA: &str = "ana@example.com";

fn login(app: &TestApp, body: Value) -> Call {
    app.post("/auth/login").anonymous().json(body)
}

fn answer_of_a_provider() -> Value {
    json!({ "provider": PROVIDER, "code": "c", "state": "s" })
}

async fn refusals(app: &TestApp) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT payload -> 'SignInFailed' ->> 'reason' FROM events WHERE event_type = 'SignInFailed' ORDER BY append_id",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn redirect_uris_are_taken_to_the_letter(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let start = |uri: &str| {
        let query = serde_urlencoded(uri);
        app.get(&format!("/auth/oauth/{PROVIDER}/start?redirect_uri={query}")).anonymous().send()
    };
    let variants = [
        "https://app.example.com/back/",
        "https://app.example.com/back?x=1",
        "https://app.example.com/back#x",
        "https://APP.example.com/back",
        "https://app.example.com:443/back",
        "http://app.example.com/back",
        "https://app.example.com/BACK",
        "https://app.example.com/back/../back",
        "https://app.example.com.evil.example/back",
        "https://evil.example/?https://app.example.com/back",
        "https://user@app.example.com/back",
        "//app.example.com/back",
        "/back",
        "",
    ];
    for variant in variants {
        let answer = start(variant).await;
        answer.invalid(&["redirect_uri"]);
        assert!(!answer.headers.contains_key("set-cookie"), "{variant}");
    }
    app.get(&format!("/auth/oauth/{PROVIDER}/start")).anonymous().send().await.invalid(&["redirect_uri"]);
    let other = format!("/auth/oauth/other/start?redirect_uri={}", serde_urlencoded(REDIRECT_URI));
    app.get(&other).anonymous().send().await.problem(404);
}

fn serde_urlencoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Nothing else suffers: the answer comes at once, and says when to come back.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_provider_that_is_down_is_told(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let path = format!("/auth/oauth/{PROVIDER}/start?redirect_uri={}", serde_urlencoded(REDIRECT_URI));
    for answer in futures::future::join_all((0..20).map(|_| app.get(&path).anonymous().send())).await {
        answer.problem(503);
        assert_eq!(answer.header("retry-after"), "1");
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    app.user(ANA, &[Role::Marketer]).await;
    app.login(ANA).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_cannot_be_an_answer_of_a_provider_is_named(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let send = |body: Value| login(&app, body).send();
    send(json!({ "provider": PROVIDER })).await.invalid(&["code", "state"]);
    send(json!({ "code": "c", "state": "s" })).await.invalid(&["provider"]);
    send(json!({ "iss": "https://id.example.com" })).await.invalid(&["provider", "code", "state"]);
    let mut both = answer_of_a_provider();
    both["email"] = json!(ANA);
    both["password"] = json!(PASSWORD);
    send(both).await.invalid(&["email", "password"]);
    let mut other = answer_of_a_provider();
    other["provider"] = json!("other");
    send(other).await.invalid(&["provider"]);
    let mut long = answer_of_a_provider();
    long["code"] = json!("c".repeat(5_000));
    send(long).await.invalid(&["code"]);
    let mut more = answer_of_a_provider();
    more["redirect_uri"] = json!(REDIRECT_URI);
    send(more).await.invalid(&["redirect_uri"]);
    assert_eq!(refusals(&app).await, [""; 0]);
}

/// Whoever did not begin in this very browser is refused, whatever else they bring along.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_answer_without_a_cookie_of_ours_is_refused(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    app.user(ANA, &[Role::Marketer]).await;
    let tokens = app.login(ANA).await;
    let kinds = [&tokens.access, &tokens.refresh, &app.token(Uuid::from_u128(5), None)];
    let cookie = |value: &str| format!("__Host-postledger-oauth={value}");
    let mut cookies =
        vec![String::new(), cookie(""), cookie("x"), cookie("oauth-state-1."), cookie(&"A".repeat(9_000))];
    cookies.extend(kinds.into_iter().map(|token| cookie(&format!("oauth-state-1.{token}"))));
    let mut first = None;
    for cookie in &cookies {
        let call = login(&app, answer_of_a_provider());
        let answer: Answer =
            if cookie.is_empty() { call } else { call.header("cookie", cookie) }.send().await;
        let mut problem = answer.problem(401);
        problem["request_id"].take();
        assert_eq!(first.get_or_insert(problem.clone()), &problem);
    }
    assert_eq!(refusals(&app).await, vec!["wrong_state"; cookies.len()]);
}

fn identity(provider: &str, subject: &str, address: Option<&str>) -> Identity {
    Identity {
        provider: provider.into(),
        issuer: format!("https://{provider}.example.com"),
        subject: subject.into(),
        verified_address: address.map(|address| EmailAddress::parse(address).unwrap()),
    }
}

async fn come(app: &TestApp, identity: Identity) -> Option<Uuid> {
    match app.commands.sign_in_as(&Context::default(), &identity, Visit::default()).await {
        Ok(signed_in) => Some(signed_in.user_id),
        Err(CommandError::Unauthorized(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_verified_address_links_once_and_the_subject_counts_from_then_on(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let ana = app.user(ANA, &[Role::Marketer]).await;
    assert_eq!(come(&app, identity("a", "1", None)).await, None);
    assert_eq!(come(&app, identity("a", "1", Some("nobody@example.com"))).await, None);
    assert_eq!(come(&app, identity("a", "1", Some("Ana@EXAMPLE.com"))).await, Some(ana));
    // The address at the provider may change, or be lost.
    assert_eq!(come(&app, identity("a", "1", Some("anna@example.com"))).await, Some(ana));
    assert_eq!(come(&app, identity("a", "1", None)).await, Some(ana));
    assert_eq!(refusals(&app).await, ["unverified_address", "unknown_user"]);
    let linked = "SELECT count(*) FROM events WHERE event_type = 'UserIdentityLinked'";
    assert_eq!(sqlx::query_scalar::<_, i64>(linked).fetch_one(&app.pool).await.unwrap(), 1);
    let view = app.commands.user(ana).await.unwrap();
    assert_eq!(view.version, 3, "the row follows the stream");
}

/// Neither another subject of the same provider nor another provider takes a user over by their address.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_same_address_elsewhere_takes_nobody_over(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let ana = app.user(ANA, &[Role::Marketer]).await;
    assert_eq!(come(&app, identity("a", "1", Some(ANA))).await, Some(ana));
    assert_eq!(come(&app, identity("a", "2", Some(ANA))).await, None);
    assert_eq!(come(&app, identity("b", "1", Some(ANA))).await, None);
    assert_eq!(refusals(&app).await, ["other_identity", "other_identity"]);
    // An administrator decides otherwise.
    app.user("boss@example.com", &[Role::Admin]).await;
    let boss = app.login("boss@example.com").await.access;
    let path = format!("/users/{ana}/identities");
    app.delete(&path).bearer(&boss).send().await.ok(204);
    app.delete(&path).bearer(&boss).send().await.ok(204);
    app.delete(&format!("/users/{}/identities", Uuid::from_u128(1))).bearer(&boss).send().await.problem(404);
    assert_eq!(come(&app, identity("b", "1", Some(ANA))).await, Some(ana));
    assert_eq!(come(&app, identity("a", "1", Some(ANA))).await, None);
    app.settled().await;
    let list = app.get("/audit/security-events?limit=100").bearer(&boss).send().await.ok(200).json();
    let events = list["items"].as_array().unwrap();
    let linked: Vec<&Value> = events.iter().filter(|event| event["event"] == "UserIdentityLinked").collect();
    let named: Vec<(&Value, &Value)> = linked.iter().map(|e| (&e["provider"], &e["actor"])).collect();
    let actor = json!(format!("user:{ana}"));
    assert_eq!(named, [(&json!("b"), &actor), (&json!("a"), &actor)]);
    assert!(events.iter().any(|event| event["event"] == "UserIdentitiesUnlinked"));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_is_disabled_signs_in_by_no_provider(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (ana, bob) =
        (app.user(ANA, &[Role::Marketer]).await, app.user("bob@example.com", &[Role::Marketer]).await);
    assert_eq!(come(&app, identity("a", "1", Some(ANA))).await, Some(ana));
    sqlx::query("UPDATE accounts SET disabled = true").execute(&app.pool).await.unwrap();
    assert_eq!(come(&app, identity("a", "1", Some(ANA))).await, None);
    assert_eq!(come(&app, identity("a", "2", Some("bob@example.com"))).await, None);
    assert_eq!(refusals(&app).await, ["disabled", "disabled"]);
    let linked: Vec<Uuid> =
        sqlx::query_scalar("SELECT user_id FROM identities").fetch_all(&app.pool).await.unwrap();
    assert!(linked == [ana] && !linked.contains(&bob));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn one_subject_that_comes_many_times_at_once_is_linked_once(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let ana = app.user(ANA, &[Role::Marketer]).await;
    let all = futures::future::join_all((0..8).map(|_| come(&app, identity("a", "1", Some(ANA))))).await;
    assert_eq!(all, vec![Some(ana); 8]);
    let rivals = (0..8).map(|n| come(&app, identity("a", if n % 2 == 0 { "1" } else { "2" }, Some(ANA))));
    let admitted = futures::future::join_all(rivals).await;
    assert_eq!(admitted.iter().flatten().count(), 4);
}

/// What a provider calls somebody is sealed in events and hashed in rows.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn subjects_are_in_no_table(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    app.user(ANA, &[Role::Marketer]).await;
    come(&app, identity("a", "canary-subject", Some(ANA))).await.unwrap();
    app.commands.spend_state("canary-state", eventstore::clock::now()).await.unwrap();
    for table in ["events", "accounts", "identities", "oauth_states", "sessions"] {
        let rows: String =
            sqlx::query_scalar(&format!("SELECT coalesce(string_agg(t::text, '|'), '') FROM {table} t"))
                .fetch_one(&app.pool)
                .await
                .unwrap();
        assert!(!rows.contains("canary") && !rows.contains(ANA), "{table}: {rows}");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_state_is_spent_once_unless_it_is_given_back(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let until = eventstore::clock::now() + chrono::TimeDelta::minutes(10);
    let spend = || app.commands.spend_state("s", until);
    let all = futures::future::join_all((0..8).map(|_| spend())).await;
    assert_eq!(all.into_iter().filter(|spent| *spent.as_ref().unwrap()).count(), 1);
    app.commands.give_back_state("s").await.unwrap();
    assert!(spend().await.unwrap() && !spend().await.unwrap());
}
