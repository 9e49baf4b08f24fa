//! How much one client may ask for.

use crate::account_links::send_mail;
use crate::support::{Answer, Call, PASSWORD, TestApp, until};
use api::ApiConfig;
use axum::http::Method;
use commands::Passwords;
use domain::access::{Role, Scope};
use domain::transactional::AccountMailKind;
use domain::{Personal, SessionId};
use eventstore::sealing;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const ANA: &str = "ana@example.com";
const HOME: &str = "192.0.2.1";

fn of(limit: u32) -> NonZeroU32 {
    NonZeroU32::new(limit).unwrap()
}

async fn limited(pool: PgPool, change: impl FnOnce(&mut ApiConfig)) -> TestApp {
    TestApp::without_projectors(pool, change).await
}

#[track_caller]
fn too_many(answer: &Answer) {
    assert_eq!(answer.problem(429)["type"], "urn:postledger:problem:too-many-requests");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(answer.header("ratelimit-remaining"), "0");
}

fn login(app: &TestApp, from: &str, password: &str) -> Call {
    let body = json!({ "email": ANA, "password": password });
    app.post("/auth/login").anonymous().from(from).json(body)
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_address_has_a_limit_and_says_what_is_left(pool: PgPool) {
    let app = limited(pool, |config| config.limits.public_per_minute = of(3)).await;
    let ask = |from: &str| app.get("/health/live").anonymous().from(from).send();
    for remaining in ["2", "1", "0"] {
        let answer = ask(HOME).await.ok(200);
        assert_eq!(answer.header("ratelimit-limit"), "3");
        assert_eq!(answer.header("ratelimit-remaining"), remaining);
        let reset: u64 = answer.header("ratelimit-reset").parse().unwrap();
        assert!((1..=60).contains(&reset), "{reset}");
    }
    let refused = ask(HOME).await;
    too_many(&refused);
    assert_eq!(refused.header("retry-after"), "20");
    ask("192.0.2.2").await.ok(200);
    // An IPv6 client is its /64.
    for address in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:3"] {
        ask(address).await.ok(200);
    }
    too_many(&ask("2001:db8::4").await);
    ask("2001:db8:0:1::1").await.ok(200);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_spoofed_header_buys_nothing(pool: PgPool) {
    let app = limited(pool, |config| {
        config.limits.public_per_minute = of(2);
        config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    })
    .await;
    let ask = |peer: &str, listed: &str| {
        app.get("/health/live").anonymous().from(peer).header("x-forwarded-for", listed).send()
    };
    for spoofed in ["203.0.113.1", "203.0.113.2"] {
        ask(HOME, spoofed).await.ok(200);
    }
    too_many(&ask(HOME, "203.0.113.3").await);
    // Behind the proxy each client has its own, however it begins the list.
    for claimed in ["203.0.113.4", "203.0.113.5"] {
        ask("10.0.0.1", &format!("{claimed}, 198.51.100.1")).await.ok(200);
    }
    too_many(&ask("10.0.0.1", "203.0.113.6, 198.51.100.1").await);
    ask("10.0.0.2", "198.51.100.2").await.ok(200);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn users_and_keys_have_limits_of_their_own_wherever_they_are(pool: PgPool) {
    let app = limited(pool, |config| {
        config.limits.user_per_minute = of(2);
        config.limits.key_per_minute = of(3);
        config.limits.public_per_minute = of(1_000);
    })
    .await;
    let (one, other) = (app.api_key(&[Scope::GroupsRead]).await, app.api_key(&[Scope::GroupsRead]).await);
    let ask = |bearer: &str, from: &str| app.get("/groups").bearer(bearer).from(from).send();
    for (number, from) in [HOME, "192.0.2.2", "192.0.2.3"].into_iter().enumerate() {
        let answer = ask(&one, from).await.ok(200);
        assert_eq!(answer.header("ratelimit-remaining"), (2 - number).to_string());
    }
    too_many(&ask(&one, "192.0.2.4").await);
    ask(&other, HOME).await.ok(200);
    // Two of the administrator's, with one token or several.
    for _ in 0..2 {
        ask(&app.admin, HOME).await.ok(200);
    }
    too_many(&ask(&app.admin, "192.0.2.5").await);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn credentials_that_open_nothing_count_against_their_address(pool: PgPool) {
    let app = limited(pool, |config| config.limits.public_per_minute = of(3)).await;
    let key = app.api_key(&[Scope::GroupsRead]).await;
    let ask = |bearer: &str| app.get("/groups").bearer(bearer).from(HOME).send();
    for wrong in ["nonsense".to_owned(), format!("plk_{}", "A".repeat(43)), String::new()] {
        ask(&wrong).await.problem(401);
    }
    too_many(&ask("nonsense").await);
    // Who shares the address with the one that guesses goes on.
    ask(&key).await.ok(200);
}

/// Mailbox providers opt out for many from few addresses; a scanner opens a link again and again before its reader does.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn opting_out_is_limited_by_the_link_and_never_by_the_address(pool: PgPool) {
    let app = limited(pool, |config| {
        config.limits.public_per_minute = of(1);
        config.limits.link_per_minute = of(3);
    })
    .await;
    let mut tokens = Vec::new();
    for number in 0..10 {
        let reader = app.subscriber(&format!("reader{number}@example.com"), &[]).await;
        tokens.push(app.token(reader, None));
    }
    let call = |method: Method, token: &str| {
        app.call(method, &format!("/emails/unsubscribe?token={token}")).anonymous().from(HOME)
    };
    let click = |token: &str| call(Method::POST, token).form("List-Unsubscribe=One-Click").send();
    for token in &tokens {
        click(token).await.ok(200);
    }
    // Broken links are no reason to refuse a good one.
    for _ in 0..10 {
        call(Method::POST, "broken").form("List-Unsubscribe=One-Click").send().await.ok(401);
    }
    let token = &tokens[0];
    for _ in 0..3 {
        call(Method::GET, token).send().await.ok(200);
    }
    let page = call(Method::GET, token).send().await.ok(429);
    assert!(page.header("content-type").starts_with("text/html") && page.headers.contains_key("retry-after"));
    for _ in 0..2 {
        click(token).await.ok(200);
    }
    let refused = click(token).await.ok(429);
    assert!(refused.headers.contains_key("retry-after"));
    app.get("/preferences").bearer(&tokens[1]).from(HOME).send().await.ok(200);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn passwords_are_limited_by_the_address(pool: PgPool) {
    let app = limited(pool, |config| config.limits.passwords_per_address_and_minute = of(3)).await;
    let runs = || app.commands.passwords.runs();
    let before = runs();
    for number in 0..3 {
        let body = json!({ "email": format!("nobody{number}@example.com"), "password": "a guess" });
        app.post("/auth/login").anonymous().from(HOME).json(body).send().await.problem(401);
    }
    too_many(&login(&app, HOME, "a guess").send().await);
    assert_eq!(runs() - before, 3, "a refused try was compared");
    login(&app, "192.0.2.2", "a guess").send().await.problem(401);
}

/// Stuffing from many addresses slows guesses down, and locks nobody out of where they work.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn guesses_at_one_account_from_everywhere_do_not_lock_its_owner_out(pool: PgPool) {
    let app = limited(pool, |config| {
        config.limits.passwords_per_account_and_minute = of(5);
        config.limits.passwords_where_known_per_minute = of(5);
    })
    .await;
    app.user(ANA, &[Role::Marketer]).await;
    app.user("bob@example.com", &[Role::Marketer]).await;
    login(&app, HOME, PASSWORD).send().await.tokens();
    let botnet = |number: u32| format!("198.51.{}.{}", number / 250, number % 250 + 1);
    let before = app.commands.passwords.runs();
    let mut answers = Vec::new();
    for number in 0..30 {
        answers.push(login(&app, &botnet(number), "a guess").send().await);
    }
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(refused.len() >= 25, "{}", refused.len());
    assert_eq!(app.commands.passwords.runs() - before, 30 - refused.len() as u64);
    refused.into_iter().for_each(too_many);
    // Not even the right password tells, from a place that guesses may come from.
    too_many(&login(&app, &botnet(99), PASSWORD).send().await);
    // Her own place is another matter, and so are others.
    login(&app, HOME, PASSWORD).send().await.tokens();
    let bob = json!({ "email": "bob@example.com", "password": PASSWORD });
    app.post("/auth/login").anonymous().from(&botnet(0)).json(bob).send().await.tokens();
    // From where she signed in nobody guesses for ever either.
    let mut guesses = Vec::new();
    for _ in 0..6 {
        guesses.push(login(&app, HOME, "a guess").send().await.status.as_u16());
    }
    assert_eq!(guesses, [401, 401, 401, 401, 429, 429]);
}

/// Whether somebody has an account shows in no limit.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_account_that_does_not_exist_has_the_same_limit(pool: PgPool) {
    let app = limited(pool, |config| config.limits.passwords_per_account_and_minute = of(2)).await;
    app.user(ANA, &[Role::Marketer]).await;
    for email in [ANA, "nobody@example.com"] {
        let spelled = [email.to_owned(), email.to_uppercase(), format!(" {email}")];
        let mut answers = Vec::new();
        for (number, email) in spelled.into_iter().enumerate() {
            let body = json!({ "email": email, "password": "a guess" });
            let from = format!("192.0.2.{number}");
            answers.push(app.post("/auth/login").anonymous().from(&from).json(body).send().await);
        }
        let mut told = answers.iter().map(|answer| {
            let limit = answer.headers.get("ratelimit-limit").cloned();
            (answer.status.as_u16(), limit.filter(|_| answer.status == 429))
        });
        assert_eq!(told.next().unwrap().0, 401);
        assert_eq!(told.next().unwrap().0, 401);
        assert_eq!(told.next().unwrap(), (429, Some("2".parse().unwrap())));
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_holds_a_session_guesses_no_password(pool: PgPool) {
    let app = limited(pool, |config| config.limits.passwords_per_account_and_minute = of(3)).await;
    app.user(ANA, &[Role::Marketer]).await;
    let tokens = login(&app, HOME, PASSWORD).send().await.tokens();
    let change = |number: u32| {
        let body = json!({ "current_password": "a guess", "new_password": "another horse battery" });
        app.post("/auth/password").bearer(&tokens.access).from(&format!("192.0.2.{number}")).json(body).send()
    };
    for number in 0..3 {
        change(number).await.invalid(&["current_password"]);
    }
    too_many(&change(3).await);
}

/// One client cannot fill the queue in which all passwords wait.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_flood_from_one_address_keeps_nobody_else_from_signing_in(pool: PgPool) {
    let app = TestApp::build(pool.clone(), pool, Passwords::bounded(1, 4), |config| {
        config.limits.passwords_per_address_at_once = 2;
    })
    .await;
    app.user(ANA, &[Role::Marketer]).await;
    let flood = futures::future::join_all((0..50).map(|_| login(&app, "198.51.100.1", "a guess").send()));
    let owner = async {
        tokio::task::yield_now().await;
        login(&app, HOME, PASSWORD).send().await
    };
    let (flood, owner) = tokio::join!(flood, owner);
    owner.tokens();
    assert!(flood.iter().all(|answer| matches!(answer.status.as_u16(), 401 | 429)), "503 is for all");
    assert!(flood.iter().any(|answer| answer.status == 429));
}

/// Nor can a botnet keep those out who sign in from where they always do.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_flood_from_everywhere_leaves_room_for_who_is_known(pool: PgPool) {
    let app = TestApp::with_passwords(pool, Passwords::bounded(1, 9)).await;
    app.user(ANA, &[Role::Marketer]).await;
    login(&app, HOME, PASSWORD).send().await.tokens();
    let (turned_away, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let app = Arc::new(app);
    let botnet = (0..20).map(|number| {
        let (app, turned_away, stop) = (app.clone(), turned_away.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                let answer = login(&app, &format!("198.51.100.{number}"), "a guess").send().await;
                turned_away.fetch_add(usize::from(answer.status == 503), Ordering::Relaxed);
                // Leaves the processor to argon2.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    });
    let botnet: Vec<_> = botnet.collect();
    until("strangers have all that they may have", || async { turned_away.load(Ordering::Relaxed) > 50 })
        .await;
    login(&app, HOME, PASSWORD).send().await.tokens();
    stop.cancel();
    futures::future::join_all(botnet).await;
}

async fn events(app: &TestApp, event: &str) -> Vec<(SessionId, Value)> {
    let rows: Vec<(String, Value)> = sqlx::query_as(
        "SELECT aggregate_id, payload -> event_type FROM events WHERE event_type = $1 ORDER BY append_id",
    )
    .bind(event)
    .fetch_all(&app.pool)
    .await
    .unwrap();
    rows.into_iter().map(|(id, payload)| (id.parse().unwrap(), payload)).collect()
}

/// Ten events of each client and minute; the rest of them is one.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn failed_sign_ins_do_not_fill_the_log(pool: PgPool) {
    let app = limited(pool, |_| {}).await;
    app.user(ANA, &[Role::Marketer]).await;
    for _ in 0..17 {
        login(&app, HOME, "a guess").send().await.problem(401);
    }
    login(&app, "192.0.2.2", "a guess").send().await.problem(401);
    assert_eq!(events(&app, "SignInFailed").await.len(), 11);
    assert_eq!(events(&app, "SignInsFailed").await, []);
    let stop = CancellationToken::new();
    let recording = tokio::spawn(app.commands.clone().record_refusals(stop.clone()));
    // At the end nothing is left uncounted.
    stop.cancel();
    recording.await.unwrap();
    let counted = events(&app, "SignInsFailed").await;
    assert_eq!(counted.len(), 1);
    let (stream, payload) = &counted[0];
    assert_eq!(payload["count"], 7);
    let keys = sealing::fetch(&app.pool, &app.commands.store.master, &[*stream]).await.unwrap();
    let sealed = Personal::Sealed(payload["visit"]["source_address"].as_str().unwrap().into());
    assert_eq!(keys[stream].open("source_address", &sealed).unwrap(), HOME);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn auditors_see_how_many_there_were(pool: PgPool) {
    let app = TestApp::new(pool).await;
    for _ in 0..12 {
        login(&app, HOME, "a guess").send().await.problem(401);
    }
    let stop = CancellationToken::new();
    stop.cancel();
    app.commands.clone().record_refusals(stop).await;
    app.settled().await;
    let list = app.get("/audit/security-events?limit=1").send().await.ok(200).json();
    let event = &list["items"][0];
    assert_eq!((&event["event"], &event["count"]), (&json!("SignInsFailed"), &json!(2)));
    assert_eq!((&event["source_address"], &event["actor"]), (&json!(HOME), &json!("system:sign-in")));
}

/// Sign-ins at providers are counted apart: whoever fills one count leaves the other.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn sign_ins_at_providers_are_limited_and_keep_nobody_from_signing_in(pool: PgPool) {
    let app = limited(pool, |config| config.limits.passwords_per_address_and_minute = of(2)).await;
    app.user(ANA, &[Role::Marketer]).await;
    let at_provider = || {
        let body = json!({ "provider": "none", "code": "x", "state": "x" });
        app.post("/auth/login").anonymous().from(HOME).json(body).send()
    };
    for _ in 0..2 {
        assert_ne!(at_provider().await.status, 429);
    }
    too_many(&at_provider().await);
    login(&app, HOME, PASSWORD).send().await.tokens();
}

/// Each is a row, and a mail perhaps; nobody's take the place of others' passwords.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn resets_are_limited_by_the_address_and_keep_nobody_from_signing_in(pool: PgPool) {
    let app = limited(pool, |config| {
        config.limits.resets_per_address_and_minute = of(3);
        config.limits.passwords_per_address_and_minute = of(3);
    })
    .await;
    app.user(ANA, &[Role::Marketer]).await;
    let ask = |email: &str| {
        app.post("/auth/password-reset").anonymous().from(HOME).json(json!({ "email": email })).send()
    };
    for number in 0..3 {
        ask("x").await.invalid(&["email"]);
        ask(&format!("nobody{number}@example.com")).await.ok(202);
    }
    too_many(&ask("nobody@example.com").await);
    login(&app, HOME, PASSWORD).send().await.tokens();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_chose_a_password_by_a_link_signs_in_from_there_though_others_guess(pool: PgPool) {
    let app = limited(pool, |config| config.limits.passwords_per_account_and_minute = of(2)).await;
    app.user(ANA, &[Role::Marketer]).await;
    app.post("/auth/password-reset").anonymous().json(json!({ "email": ANA })).send().await.ok(202);
    let token = send_mail(&app, AccountMailKind::PasswordReset).await.unwrap();
    for number in 0..4 {
        login(&app, &format!("198.51.100.{number}"), "a guess").send().await;
    }
    too_many(&login(&app, HOME, PASSWORD).send().await);
    let chosen = json!({ "token": token, "password": PASSWORD });
    app.post("/auth/password-reset/confirm").anonymous().from(HOME).json(chosen).send().await.ok(204);
    login(&app, HOME, PASSWORD).send().await.tokens();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn one_caller_has_so_many_streams_and_others_have_theirs(pool: PgPool) {
    let app = TestApp::with(pool, |config| config.limits.streams_per_client = 2).await;
    let id = app.campaign().await;
    let position = app.post(&format!("/emails/{id}/unschedule")).send().await.position();
    let path = format!("/emails/{id}/progress");
    let key = app.api_key(&[Scope::ReportsRead]).await;
    let open = |bearer: &str| app.get(&path).bearer(bearer).position(&position).open();
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(open(&key).await);
    }
    assert!(held.iter().all(|answer| answer.status() == 200));
    let refused = app.get(&path).bearer(&key).send().await;
    refused.problem(429);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(open(&app.admin).await.status(), 200);
    held.pop();
    until("a stream that ended is given back", || async { open(&key).await.status() == 200 }).await;
}
