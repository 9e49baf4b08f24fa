//! Password resets and invitations. The sender is in `workers/tests`, the mails themselves in `e2e`: here their links are
//! drawn as a sender draws them.

use crate::support::{Answer, PASSWORD, TestApp};
use commands::AccountToken;
use commands::send::OfMailers;
use domain::EmailAddress;
use domain::access::Role;
use domain::transactional::{AccountMailKind, Transactional};
use serde_json::{Value, json};
use sqlx::{PgPool, Postgres, Transaction};
use std::time::Duration;
use uuid::Uuid;

const ANA: &str = "ana@example.com";
const NEW: &str = "another horse battery staple";
const RESET: AccountMailKind = AccountMailKind::PasswordReset;
/// Nobody settles what is sent here, and nobody takes it over as long as a test may take.
const HELD: Duration = Duration::from_secs(600);
const INVITATION: AccountMailKind = AccountMailKind::Invitation;

async fn with_ana(pool: PgPool) -> (TestApp, Uuid) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let ana = app.user(ANA, &[Role::Marketer]).await;
    (app, ana)
}

async fn ask(app: &TestApp, email: &str) -> Answer {
    app.post("/auth/password-reset").anonymous().json(json!({ "email": email })).send().await
}

/// Lets the oldest mail that waits go, as a sender does; the token in its link.
pub async fn send_mail(app: &TestApp, kind: AccountMailKind) -> Option<String> {
    app.commands.take_reset_requests().await.unwrap();
    let lease = app.commands.claim_transactional(HELD, &OfMailers::AllBut(vec![])).await.unwrap()?;
    let mail = eventstore::load::<Transactional>(&app.pool, lease.dispatch_id).await.unwrap();
    let token = AccountToken::draw(kind).unwrap();
    let text = token.text().to_owned();
    let authorized =
        app.commands.authorize_account_mail(lease, mail, "outbox", Ok(token), HELD).await.unwrap();
    matches!(authorized, commands::send::Authorized::Permit { .. }).then_some(text)
}

/// Held until it is rolled back or committed.
pub async fn lock_account(app: &TestApp, email: &str) -> Transaction<'static, Postgres> {
    let address = EmailAddress::parse(email).unwrap();
    let hash = app.commands.store.master.address_hash(&address).0;
    let mut lock = app.pool.begin().await.unwrap();
    let account = "SELECT FROM accounts WHERE address_hash = $1 FOR UPDATE";
    sqlx::query(account).bind(hash.as_slice()).fetch_one(&mut *lock).await.unwrap();
    lock
}

pub async fn reset_token(app: &TestApp) -> String {
    ask(app, ANA).await.ok(202);
    send_mail(app, RESET).await.unwrap()
}

async fn confirm(app: &TestApp, path: &str, token: &str, password: &str) -> Answer {
    app.post(path).anonymous().json(json!({ "token": token, "password": password })).send().await
}

async fn reset(app: &TestApp, token: &str, password: &str) -> Answer {
    confirm(app, "/auth/password-reset/confirm", token, password).await
}

async fn accept(app: &TestApp, token: &str, password: &str) -> Answer {
    confirm(app, "/auth/invitation/confirm", token, password).await
}

async fn count(app: &TestApp, event: &str) -> i64 {
    let count = "SELECT count(*) FROM events WHERE event_type = $1";
    sqlx::query_scalar(count).bind(event).fetch_one(&app.pool).await.unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_reset_sets_the_password_once_and_ends_all_sessions(pool: PgPool) {
    let (app, ana) = with_ana(pool).await;
    let before = app.login(ANA).await;
    let token = reset_token(&app).await;
    assert!(token.starts_with("plp_"));
    reset(&app, &token, "short").await.invalid(&["password"]);
    reset(&app, &token, NEW).await.ok(204);
    app.refresh(&before.refresh).await.problem(401);
    app.get("/auth/me").bearer(&before.access).send().await.problem(401);
    app.try_login(ANA, PASSWORD).await.problem(401);
    app.try_login(ANA, NEW).await.tokens();
    reset(&app, &token, PASSWORD).await.problem(401);
    app.try_login(ANA, NEW).await.tokens();
    let (payload, metadata): (Value, Value) =
        sqlx::query_as("SELECT payload, metadata FROM events WHERE event_type = 'UserPasswordReset'")
            .fetch_one(&app.pool)
            .await
            .unwrap();
    assert_eq!(metadata["actor"], format!("user:{ana}"));
    assert!(payload.to_string().find(NEW).is_none());
}

/// The same answer and the same statements, which do not look at who has the address; later a user's request is an event for
/// auditors and a mail, and nobody's is nothing.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn nobody_learns_whether_an_address_has_a_user(pool: PgPool) {
    let (app, ana) = with_ana(pool).await;
    let mut answers = Vec::new();
    for email in [ANA, "nobody@example.com"] {
        let (events, runs) = (app.events().await, app.commands.passwords.runs());
        let answer = ask(&app, email).await.ok(202);
        assert_eq!((app.events().await - events, app.commands.passwords.runs() - runs), (0, 0));
        let mut names: Vec<_> = answer.headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        answers.push((answer.body, names));
    }
    assert_eq!(answers[0], answers[1]);
    let keys = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM subject_keys").fetch_one(&app.pool).await.unwrap()
    };
    let (events, keys_before) = (app.events().await, keys().await);
    assert_eq!(app.commands.take_reset_requests().await.unwrap(), 2);
    assert_eq!((app.events().await - events, keys_before - keys().await), (2, 1));
    let queued: Vec<Option<Uuid>> =
        sqlx::query_scalar("SELECT user_id FROM account_mails").fetch_all(&app.pool).await.unwrap();
    assert_eq!(queued, [Some(ana)]);
    let kept = "SELECT count(*) FROM reset_requests WHERE NOT taken OR source_address IS NOT NULL OR user_agent IS NOT NULL";
    let kept: i64 = sqlx::query_scalar(kept).fetch_one(&app.pool).await.unwrap();
    assert_eq!((kept, app.commands.take_reset_requests().await.unwrap()), (0, 0));
    ask(&app, "not an address").await.invalid(&["email"]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mailbox_is_not_filled(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let flood = futures::future::join_all((0..12).map(|_| ask(&app, ANA))).await;
    assert!(flood.iter().all(|answer| answer.status == 202));
    assert_eq!(app.commands.take_reset_requests().await.unwrap(), 3, "three mails in an hour");
    let hour = "UPDATE reset_requests SET requested_at = requested_at - interval '1 hour'";
    for expected in [3, 3, 1, 0] {
        sqlx::query(hour).execute(&app.pool).await.unwrap();
        for _ in 0..4 {
            ask(&app, ANA).await.ok(202);
        }
        assert_eq!(app.commands.take_reset_requests().await.unwrap(), expected, "ten a day");
    }
    assert_eq!(count(&app, "AccountMailRequested").await, 10);
    ask(&app, "bob@example.com").await.ok(202);
    assert_eq!(app.commands.take_reset_requests().await.unwrap(), 1, "another's mailbox is another");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn only_the_newest_link_works(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let first = reset_token(&app).await;
    // Asked for once more: until the second mail goes, the first one's link is good; then it is not.
    ask(&app, ANA).await.ok(202);
    assert!(app.commands.account_link(RESET, &first).await.unwrap().is_some());
    let second = send_mail(&app, RESET).await.unwrap();
    reset(&app, &first, NEW).await.problem(401);
    reset(&app, &second, NEW).await.ok(204);
}

/// A mail that waited while a newer one was asked for does not go.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mail_that_was_overtaken_does_not_go(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    ask(&app, ANA).await.ok(202);
    ask(&app, ANA).await.ok(202);
    assert_eq!(send_mail(&app, RESET).await, None);
    let newest = send_mail(&app, RESET).await.unwrap();
    reset(&app, &newest, NEW).await.ok(204);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn links_end_with_their_time(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let token = reset_token(&app).await;
    let minutes: f64 = sqlx::query_scalar(
        "SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 / 60 FROM account_mails",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert!((minutes - 30.0).abs() < 0.5, "{minutes}");
    sqlx::query("UPDATE account_mails SET expires_at = now()").execute(&app.pool).await.unwrap();
    reset(&app, &token, NEW).await.problem(401);
    app.login(ANA).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn of_many_who_use_a_link_at_once_one_wins(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let token = reset_token(&app).await;
    let tries =
        (0..6).map(|n| reset(&app, &token, if n % 2 == 0 { NEW } else { PASSWORD })).collect::<Vec<_>>();
    let answers = futures::future::join_all(tries).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 204);
    assert_eq!((won.len(), lost.len()), (1, 5));
    assert!(lost.iter().all(|answer| answer.status == 401));
    assert_eq!(count(&app, "UserPasswordReset").await, 1);
}

/// Who has no link gets no turn to hash, and leaves a trace.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn guesses_at_links_cost_nothing_and_leave_a_trace(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let (runs, tokens) = (app.commands.passwords.runs(), app.login(ANA).await);
    let logged_in = app.commands.passwords.runs() - runs;
    let guesses = ["", "nonsense", &tokens.access, &tokens.refresh, &app.token(Uuid::from_u128(5), None)];
    for guess in guesses {
        reset(&app, guess, NEW).await.problem(401);
        accept(&app, guess, NEW).await.problem(401);
    }
    assert_eq!(app.commands.passwords.runs() - runs, logged_in);
    assert_eq!(count(&app, "SignInFailed").await, 2 * guesses.len() as i64);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_new_password_ends_links_that_were_sent_before(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let token = reset_token(&app).await;
    let access = app.login(ANA).await.access;
    let change = json!({ "current_password": PASSWORD, "new_password": NEW });
    app.post("/auth/password").bearer(&access).json(change).send().await.ok(204);
    reset(&app, &token, PASSWORD).await.problem(401);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_is_disabled_resets_nothing(pool: PgPool) {
    let (app, ana) = with_ana(pool).await;
    let token = reset_token(&app).await;
    app.user("boss@example.com", &[Role::Admin]).await;
    let boss = app.login("boss@example.com").await.access;
    let disable = json!({ "disabled": true });
    app.patch(&format!("/users/{ana}")).bearer(&boss).json(disable).send().await.ok(200);
    reset(&app, &token, NEW).await.problem(401);
    ask(&app, ANA).await.ok(202);
    assert_eq!(send_mail(&app, RESET).await, None);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn links_do_not_outlive_being_disabled(pool: PgPool) {
    let (app, ana) = with_ana(pool).await;
    let token = reset_token(&app).await;
    app.user("boss@example.com", &[Role::Admin]).await;
    let boss = app.login("boss@example.com").await.access;
    for disabled in [true, false] {
        let change = json!({ "disabled": disabled });
        app.patch(&format!("/users/{ana}")).bearer(&boss).json(change).send().await.ok(200);
    }
    reset(&app, &token, NEW).await.problem(401);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_invitation_is_accepted_once_with_the_first_password(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    app.user("boss@example.com", &[Role::Admin]).await;
    let boss = app.login("boss@example.com").await.access;
    let new = json!({ "email": ANA, "roles": ["analyst"] });
    let made = app.post("/users").bearer(&boss).key("k").json(new.clone()).send().await.ok(201);
    assert_eq!(app.post("/users").bearer(&boss).key("k").json(new).send().await.ok(201).json(), made.json());
    assert_eq!(count(&app, "AccountMailRequested").await, 1);
    app.try_login(ANA, "").await.problem(401);
    let user = format!("/users/{}", made.id("user_id"));
    let has_password =
        async || app.get(&user).bearer(&boss).send().await.ok(200).json()["has_password"].clone();
    assert_eq!(has_password().await, json!(false));
    let token = send_mail(&app, INVITATION).await.unwrap();
    assert!(token.starts_with("pli_"));
    // Each kind opens its own door alone.
    app.get("/auth/me").bearer(&token).send().await.problem(401);
    app.get("/groups").bearer(&token).send().await.problem(401);
    app.get("/preferences").bearer(&token).send().await.problem(401);
    app.refresh(&token).await.problem(401);
    reset(&app, &token, NEW).await.problem(401);
    accept(&app, &token, NEW).await.ok(204);
    accept(&app, &token, PASSWORD).await.problem(401);
    let tokens = app.try_login(ANA, NEW).await.tokens();
    let me = app.get("/auth/me").bearer(&tokens.access).send().await.ok(200).json();
    assert_eq!((&me["user_id"], &me["roles"]), (&made.json()["user_id"], &json!(["analyst"])));
    assert_eq!(has_password().await, json!(true));
    let again = format!("{user}/invitation");
    assert_eq!(app.post(&again).bearer(&boss).send().await.problem(409)["status"], "accepted");
    let reset_link = reset_token(&app).await;
    accept(&app, &reset_link, PASSWORD).await.problem(401);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_invitation_is_sent_again_and_the_older_link_is_over(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    app.user("boss@example.com", &[Role::Admin]).await;
    let boss = app.login("boss@example.com").await.access;
    let new = json!({ "email": ANA, "roles": ["analyst"] });
    let ana = app.post("/users").bearer(&boss).json(new).send().await.id("user_id");
    let first = send_mail(&app, INVITATION).await.unwrap();
    let again = || app.post(&format!("/users/{ana}/invitation")).bearer(&boss).send();
    again().await.ok(202);
    let second = send_mail(&app, INVITATION).await.unwrap();
    accept(&app, &first, NEW).await.problem(401);
    again().await.ok(202);
    assert_eq!(again().await.problem(409)["status"], "invited");
    accept(&app, &second, NEW).await.ok(204);
    let unknown = format!("/users/{}/invitation", Uuid::from_u128(1));
    app.post(&unknown).bearer(&boss).send().await.problem(404);
}

/// Neither what opens an account nor whose it is stands in any table; the mail alone has it.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn links_are_in_no_table(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let ask = app.post("/auth/password-reset").anonymous().header("user-agent", "Canary/7");
    ask.json(json!({ "email": ANA })).send().await.ok(202);
    let waiting = "SELECT coalesce(string_agg(t::text, '|'), '') FROM reset_requests t";
    let waiting: String = sqlx::query_scalar(waiting).fetch_one(&app.pool).await.unwrap();
    assert!(waiting.len() > 100 && !waiting.contains("Canary") && !waiting.contains(ANA), "{waiting}");
    let token = send_mail(&app, RESET).await.unwrap();
    let secret = token.trim_start_matches("plp_");
    for table in [
        "events",
        "reset_requests",
        "account_mails",
        "accounts",
        "dispatch_work",
        "permits",
        "idempotency_keys",
        "sessions",
    ] {
        let rows: String =
            sqlx::query_scalar(&format!("SELECT coalesce(string_agg(t::text, '|'), '') FROM {table} t"))
                .fetch_one(&app.pool)
                .await
                .unwrap();
        assert!(!rows.contains(secret) && !rows.contains(ANA) && !rows.contains("Canary"), "{table}: {rows}");
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn our_own_page_does_the_same_without_scripts(pool: PgPool) {
    let (app, _) = with_ana(pool).await;
    let token = reset_token(&app).await;
    let path = format!("/auth/password-reset?token={token}");
    let events = app.events().await;
    for _ in 0..3 {
        let page = app.get(&path).anonymous().send().await.ok(200);
        let html = page.text();
        assert!(
            html.contains(&format!("value=\"{token}\"")) && html.contains(&format!("value=\"{ANA}\"")),
            "{html}"
        );
        assert!(html.contains("action=\"https://mail.example.org/auth/password-reset/confirm\""), "{html}");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("referrer-policy"), "same-origin");
        assert!(page.header("content-security-policy").contains("form-action 'self'"));
        assert!(!html.contains("<script"), "{html}");
    }
    app.call(axum::http::Method::HEAD, &path).anonymous().send().await.ok(200);
    assert_eq!(app.events().await, events, "looking spends nothing");
    let send = |password: &str, again: &str| {
        let form = format!("token={token}&password={password}&again={again}");
        app.post("/auth/password-reset/confirm").anonymous().body(FORM, form).send()
    };
    let differs = send("a%20long%20password", "another%20password").await.ok(422);
    assert!(
        differs.text().contains("The two passwords are not the same.") && differs.text().contains(&token)
    );
    assert!(send("short", "short").await.ok(422).text().contains("12 to 512 characters"));
    let done = send("a%20long%20password", "a%20long%20password").await.ok(200);
    assert!(done.text().contains("Your password is saved"), "{}", done.text());
    app.try_login(ANA, "a long password").await.tokens();
    // Used, unknown, absent, of another kind: one page.
    let dead = send("a%20long%20password", "a%20long%20password").await.ok(401);
    assert!(
        dead.text().contains("does not work any more")
            && dead.header("content-type").starts_with("text/html")
    );
    for path in [
        path.as_str(),
        "/auth/password-reset",
        "/auth/password-reset?token=x",
        &format!("/auth/invitation?token={token}"),
    ] {
        app.get(path).anonymous().send().await.ok(401);
    }
    let broken = app.post("/auth/password-reset/confirm").anonymous();
    broken.body(FORM, "token=x").send().await.problem(400);
    app.post("/auth/password-reset/confirm").anonymous().body("text/plain", "x").send().await.problem(415);
    let large = format!("token={}&password=x&again=x", "x".repeat(20_000));
    app.post("/auth/password-reset/confirm").anonymous().body(FORM, large).send().await.problem(413);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_came_by_mail_is_told_to_auditors(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let ana = app.user(ANA, &[Role::Marketer]).await;
    app.user("audit@example.com", &[Role::Auditor]).await;
    let call = app.post("/auth/password-reset").anonymous().header("user-agent", "Asker/1");
    call.json(json!({ "email": ANA })).send().await.ok(202);
    let token = send_mail(&app, RESET).await.unwrap();
    let call = app.post("/auth/password-reset/confirm").anonymous().header("user-agent", "Chooser/2");
    call.json(json!({ "token": token, "password": NEW })).send().await.ok(204);
    app.settled().await;
    let auditor = app.login("audit@example.com").await.access;
    let list = app.get("/audit/security-events").bearer(&auditor).send().await.ok(200).json();
    let find =
        |event: &str| list["items"].as_array().unwrap().iter().find(|e| e["event"] == event).unwrap().clone();
    let (asked, chosen) = (find("PasswordResetRequested"), find("UserPasswordReset"));
    assert_eq!((&asked["user_id"], &asked["user_agent"]), (&json!(ana), &json!("Asker/1")));
    assert_eq!((&chosen["subject"], &chosen["user_agent"]), (&json!(ana), &json!("Chooser/2")));
    // No marketer sees whose mail that was.
    let dispatch: Uuid =
        sqlx::query_scalar("SELECT dispatch_id FROM account_mails").fetch_one(&app.pool).await.unwrap();
    app.get(&format!("/dispatches/{dispatch}")).send().await.problem(404);
}
