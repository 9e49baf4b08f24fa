//! Signing in, staying so, and signing out.

use crate::support::{PASSWORD, TestApp, Tokens, until};
use argon2::password_hash::PasswordHasher;
use argon2::{Argon2, Params};
use commands::Passwords;
use domain::Personal;
use domain::access::Role;
use eventstore::sealing;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

const ANA: &str = "ana@example.com";

async fn with_ana(pool: PgPool) -> (TestApp, Uuid) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let ana = app.user(ANA, &[Role::Marketer]).await;
    (app, ana)
}

/// Types of the events of all sessions, in the order in which they were appended.
async fn session_events(app: &TestApp) -> Vec<String> {
    sqlx::query_scalar("SELECT event_type FROM events WHERE aggregate_type = 'session' ORDER BY append_id")
        .fetch_all(&app.pool)
        .await
        .unwrap()
}

async fn last_event(app: &TestApp) -> (String, Value, Value) {
    sqlx::query_as("SELECT event_type, payload, metadata FROM events ORDER BY append_id DESC LIMIT 1")
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

/// The seed's diagram.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn sign_in_call_refresh_and_call_again(pool: PgPool) {
    let (app, ana) = with_ana(pool).await;
    let first = app.login(" Ana@EXAMPLE.com ").await;
    app.get("/groups").bearer(&first.access).send().await.ok(200);
    let second = app.refresh(&first.refresh).await.tokens();
    assert!(second.refresh != first.refresh && second.access != first.access);
    app.get("/groups").bearer(&second.access).send().await.ok(200);
    let me = app.get("/auth/me").bearer(&second.access).send().await.ok(200).json();
    assert_eq!(
        (&me["user_id"], &me["email"], &me["roles"]),
        (&json!(ana), &json!(ANA), &json!(["marketer"]))
    );
    assert_eq!(session_events(&app).await, ["SessionStarted", "SessionRefreshed"]);
    assert_eq!(last_event(&app).await.2["actor"], format!("user:{ana}"));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn nobody_learns_which_addresses_have_users(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let gone = app.user("gone@example.com", &[Role::Analyst]).await;
    let disable = json!({ "disabled": true });
    let boss = app.user("boss@example.com", &[Role::Admin]).await;
    assert_ne!(boss, gone);
    let admin = app.login("boss@example.com").await;
    app.patch(&format!("/users/{gone}")).bearer(&admin.access).json(disable).send().await.ok(200);
    let cases = [
        ("nobody@example.com", PASSWORD, "unknown_user"),
        (ANA, "wrong", "wrong_password"),
        (ANA, "", "wrong_password"),
        ("gone@example.com", PASSWORD, "disabled"),
    ];
    for (email, password, reason) in cases {
        let (runs, events) = (app.commands.passwords.runs(), app.events().await);
        let mut problem = app.try_login(email, password).await.problem(401);
        assert_eq!((app.commands.passwords.runs() - runs, app.events().await - events), (1, 1), "{reason}");
        problem["request_id"].take();
        let expected = json!({
            "type": "urn:postledger:problem:unauthorized", "title": "No or no valid credentials", "status": 401,
            "detail": "the address or the password is wrong", "request_id": null,
        });
        assert_eq!(problem, expected, "{reason}");
        let (event, payload, metadata) = last_event(&app).await;
        assert_eq!((event.as_str(), &payload["SignInFailed"]["reason"]), ("SignInFailed", &json!(reason)));
        assert_eq!(metadata["actor"], "nobody");
    }
    let runs = app.commands.passwords.runs();
    app.login(ANA).await;
    assert_eq!(app.commands.passwords.runs() - runs, 1);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_hash_of_lesser_parameters_is_made_anew_at_sign_in(pool: PgPool) {
    let (app, ana) = with_ana(pool).await;
    let old = Argon2::from(Params::new(1_024, 1, 1, None).unwrap());
    let old = old.hash_password_with_salt(PASSWORD.as_bytes(), &[1; 16]).unwrap().to_string();
    let set = "UPDATE passwords SET phc = $1 WHERE user_id = $2";
    sqlx::query(set).bind(&old).bind(ana).execute(&app.pool).await.unwrap();
    let stored = || sqlx::query_scalar::<_, String>("SELECT phc FROM passwords").fetch_one(&app.pool);
    app.try_login(ANA, "wrong").await.problem(401);
    assert_eq!(stored().await.unwrap(), old);
    app.login(ANA).await;
    let new = stored().await.unwrap();
    assert!(new.starts_with("$argon2id$v=19$m=47104,t=1,p=1$"), "{new}");
    app.login(ANA).await;
    assert_eq!(stored().await.unwrap(), new);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_flood_of_sign_ins_is_told_to_come_back(pool: PgPool) {
    let app = TestApp::with_passwords(pool, Passwords::bounded(1, 2)).await;
    app.user(ANA, &[Role::Marketer]).await;
    let flood = futures::future::join_all((0..20).map(|_| app.try_login(ANA, PASSWORD))).await;
    let (served, refused): (Vec<_>, Vec<_>) = flood.into_iter().partition(|answer| answer.status == 200);
    assert!(served.len() >= 3, "{}", served.len());
    assert!(!refused.is_empty());
    for answer in refused {
        answer.problem(503);
        assert_eq!(answer.header("retry-after"), "1");
    }
    app.login(ANA).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn of_a_hundred_refreshes_at_once_one_wins(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let tokens = app.login(ANA).await;
    let answers = futures::future::join_all((0..100).map(|_| app.refresh(&tokens.refresh))).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 99));
    for answer in lost {
        assert_eq!(answer.problem(401)["type"], "urn:postledger:problem:refresh-raced");
    }
    // Nothing was revoked.
    let next = app.refresh(&won[0].tokens().refresh).await.tokens();
    app.get("/auth/me").bearer(&next.access).send().await.ok(200);
    assert_eq!(session_events(&app).await, ["SessionStarted", "SessionRefreshed", "SessionRefreshed"]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_spent_token_that_comes_back_revokes_the_family(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let other = app.login(ANA).await;
    let first = app.login(ANA).await;
    let second = app.refresh(&first.refresh).await.tokens();
    let third = app.refresh(&second.refresh).await.tokens();
    let problem = app.refresh(&first.refresh).await.problem(401);
    assert_eq!(problem["type"], "urn:postledger:problem:unauthorized");
    for token in [&third.refresh, &second.refresh, &first.refresh] {
        app.refresh(token).await.problem(401);
    }
    app.get("/auth/me").bearer(&third.access).send().await.problem(401);
    let events = session_events(&app).await;
    assert_eq!(events[events.len() - 2..], ["SessionReuseDetected", "SessionEnded"]);
    assert_eq!(last_event(&app).await.1["SessionEnded"]["reason"], "token_reused");
    // Another sign-in of the same user is another family.
    app.refresh(&other.refresh).await.tokens();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_session_ends_after_a_week_however_often_it_is_refreshed(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let tokens = app.refresh(&app.login(ANA).await.refresh).await.tokens();
    let days: f64 = sqlx::query_scalar(
        "SELECT extract(epoch FROM expires_at - started_at)::float8 / 86400 FROM sessions",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert!((days - 7.0).abs() < 0.01, "{days}");
    sqlx::query("UPDATE sessions SET expires_at = now()").execute(&app.pool).await.unwrap();
    app.refresh(&tokens.refresh).await.problem(401);
    app.get("/auth/me").bearer(&tokens.access).send().await.problem(401);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_signs_out_is_out(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let tokens = app.login(ANA).await;
    app.post("/auth/logout").bearer(&tokens.access).send().await.ok(204);
    app.refresh(&tokens.refresh).await.problem(401);
    app.post("/auth/logout").bearer(&tokens.access).send().await.problem(401);
    assert_eq!(session_events(&app).await, ["SessionStarted", "SessionEnded"]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn sessions_are_listed_and_ended_by_their_user_alone(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    app.user("bob@example.com", &[Role::Admin]).await;
    let agent = |call: crate::support::Call| call.header("user-agent", "Browser/9 of Ana");
    let login = json!({ "email": ANA, "password": PASSWORD });
    let old = agent(app.post("/auth/login").json(login)).send().await.tokens();
    let (new, bob) = (app.login(ANA).await, app.login("bob@example.com").await);
    let list = |tokens: &Tokens| app.get("/auth/sessions").bearer(&tokens.access).send();
    let sessions = list(&new).await.ok(200).json()["items"].as_array().unwrap().clone();
    assert_eq!(sessions.len(), 2);
    assert_eq!((&sessions[0]["is_current"], &sessions[1]["is_current"]), (&json!(true), &json!(false)));
    assert_eq!(sessions[1]["user_agent"], "Browser/9 of Ana");
    let path = format!("/auth/sessions/{}", sessions[1]["session_id"].as_str().unwrap());
    app.delete(&path).bearer(&bob.access).send().await.problem(404);
    app.delete(&path).bearer(&new.access).send().await.ok(204);
    app.delete(&path).bearer(&new.access).send().await.problem(404);
    app.refresh(&old.refresh).await.problem(401);
    assert_eq!(list(&new).await.json()["items"].as_array().unwrap().len(), 1);
    app.refresh(&new.refresh).await.tokens();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_new_password_ends_all_sessions(pool: PgPool) {
    let (app, ana) = with_ana(pool).await;
    let (one, other) = (app.login(ANA).await, app.login(ANA).await);
    let new = "another horse battery staple";
    let change = |present: &str, new: &str| {
        let body = json!({ "current_password": present, "new_password": new });
        app.post("/auth/password").bearer(&one.access).json(body).send()
    };
    change("wrong", new).await.invalid(&["current_password"]);
    // Guesses leave a trace.
    let refused = "SELECT count(*) FROM events WHERE event_type = 'SignInFailed'";
    let refused: i64 = sqlx::query_scalar(refused).fetch_one(&app.commands.store.pool).await.unwrap();
    assert_eq!(refused, 1);
    change(PASSWORD, "short").await.invalid(&["new_password"]);
    change(PASSWORD, new).await.ok(204);
    for tokens in [&one, &other] {
        app.refresh(&tokens.refresh).await.problem(401);
        app.get("/auth/me").bearer(&tokens.access).send().await.problem(401);
    }
    app.try_login(ANA, PASSWORD).await.problem(401);
    app.try_login(ANA, new).await.tokens();
    let stored: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events WHERE aggregate_id = $1 AND event_type = 'UserPasswordSet'",
    )
    .bind(ana.to_string())
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert_eq!(stored, 2);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_cannot_be_a_sign_in_is_named(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let login = |body: Value| app.post("/auth/login").json(body).send();
    login(json!({ "email": "ana", "password": "x" })).await.invalid(&["email"]);
    login(json!({ "email": ANA, "password": "x".repeat(600) })).await.invalid(&["password"]);
    login(json!({ "email": ANA })).await.invalid(&["password"]);
    login(json!({ "email": ANA, "password": PASSWORD, "roles": ["admin"] })).await.invalid(&["roles"]);
    app.post("/auth/login").body("text/plain", "x").send().await.problem(415);
    app.refresh("").await.problem(401);
    app.refresh(&"x".repeat(100_000)).await.problem(401);
    assert_eq!(session_events(&app).await, [""; 0]);
}

/// Neither a secret nor a visitor is anywhere in plain; what the visitor tells of themselves opens by the session's key.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn secrets_and_visitors_are_in_no_table(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let login = |password: &str| {
        let body = json!({ "email": ANA, "password": password });
        app.post("/auth/login").header("user-agent", "Canary/7").json(body).send()
    };
    login("a wrong canary").await.problem(401);
    let first = login(PASSWORD).await.tokens();
    let second = app.refresh(&first.refresh).await.tokens();
    let body = json!({ "refresh_token": first.refresh });
    app.post("/auth/refresh").header("user-agent", "Canary/7").json(body).send().await.problem(401);
    let tables = ["events", "accounts", "passwords", "sessions", "refresh_tokens", "idempotency_keys"];
    for table in tables {
        let rows: String =
            sqlx::query_scalar(&format!("SELECT coalesce(string_agg(t::text, '|'), '') FROM {table} t"))
                .fetch_one(&app.pool)
                .await
                .unwrap();
        let secrets = [PASSWORD, "canary", "Canary", ANA, &first.refresh, &second.refresh, &first.access];
        for secret in secrets {
            assert!(!rows.contains(secret), "{secret} is in {table}");
        }
        assert!(table == "passwords" || !rows.contains("argon2"), "{table}");
    }
    let started: (String, Value) = sqlx::query_as(
        "SELECT aggregate_id, payload -> 'SessionStarted' -> 'visit' FROM events WHERE event_type = 'SessionStarted'",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    let session: Uuid = started.0.parse().unwrap();
    let keys = sealing::fetch(&app.pool, &app.commands.store.master, &[session]).await.unwrap();
    let agent = Personal::Sealed(started.1["user_agent"].as_str().unwrap().into());
    assert_eq!(keys[&session].open("user_agent", &agent).unwrap(), "Canary/7");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn more_sessions_than_are_kept_end_the_oldest(pool: PgPool) {
    let (app, ana) = with_ana(pool).await;
    let oldest = app.login(ANA).await;
    for _ in 0..49 {
        app.login(ANA).await;
    }
    app.refresh(&oldest.refresh).await.tokens();
    app.login(ANA).await;
    assert_eq!(app.commands.sessions(ana).await.unwrap().len(), 50);
    app.get("/auth/me").bearer(&oldest.access).send().await.problem(401);
    assert_eq!(session_events(&app).await.iter().filter(|event| *event == "SessionEnded").count(), 1);
}

/// Each counts the others: their sign-ins take turns.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn sessions_that_start_at_once_are_no_more_than_are_kept(pool: PgPool) {
    let (app, ana) = with_ana(pool).await;
    for _ in 0..49 {
        app.login(ANA).await;
    }
    // Holds them all up where they would count.
    let mut gate = app.pool.begin().await.unwrap();
    let lock = "SELECT FROM accounts WHERE user_id = $1 FOR UPDATE";
    sqlx::query(lock).bind(ana).execute(&mut *gate).await.unwrap();
    let logins = futures::future::join_all((0..3).map(|_| app.login(ANA)));
    let open = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        until("they wait at the gate", || async {
            // Waiting for the row, or for who is first in line for it.
            sqlx::query_scalar::<_, i64>(waiting).fetch_one(&app.pool).await.unwrap() == 3
        })
        .await;
        gate.commit().await.unwrap();
    };
    tokio::join!(logins, open);
    assert_eq!(app.commands.sessions(ana).await.unwrap().len(), 50);
    let ended = session_events(&app).await.iter().filter(|event| *event == "SessionEnded").count();
    assert_eq!(ended, 2);
}

/// Anybody can check an access token by what is published.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_public_keys_are_published_and_rotated(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let token = app.login(ANA).await.access;
    let jwks = app.get("/.well-known/jwks.json").anonymous().send().await.ok(200);
    assert_eq!(jwks.header("cache-control"), "public, max-age=30");
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_slice(&jwks.body).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_audience(&["postledger-api"]);
    let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap().claims;
    assert_eq!(claims["iss"], crate::support::ORIGIN);

    let store = &app.commands.store;
    let new = eventstore::service_keys::rotate(&store.pool, &store.master, "access").await.unwrap();
    assert_ne!(new, kid);
    // A process that starts now has both, and the new one does not sign yet.
    let restarted = TestApp::without_projectors(app.pool.clone(), |_| {}).await;
    let jwks = restarted.get("/.well-known/jwks.json").anonymous().send().await.json();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 2);
    restarted.get("/auth/me").bearer(&token).send().await.ok(200);
    let before = restarted.login(ANA).await.access;
    assert_eq!(jsonwebtoken::decode_header(&before).unwrap().kid.unwrap(), kid);
    app.get("/auth/me").bearer(&before).send().await.ok(200);
    // A minute later it signs, and the old one still verifies.
    let age = "UPDATE service_keys SET created_at = created_at - interval '1 minute'";
    sqlx::query(age).execute(&app.pool).await.unwrap();
    let later = TestApp::without_projectors(app.pool.clone(), |_| {}).await;
    let after = later.login(ANA).await.access;
    assert_eq!(jsonwebtoken::decode_header(&after).unwrap().kid.unwrap(), new);
    for (app, token) in [(&later, &before), (&later, &after), (&restarted, &after)] {
        app.get("/auth/me").bearer(token).send().await.ok(200);
    }
}
