//! Double opt-in. The sender is in `workers/tests`, the mails themselves in `e2e`: here their links are drawn as a sender
//! draws them.

use crate::support::{Answer, ORIGIN, TestApp};
use axum::http::Method;
use commands::SubscriptionToken;
use commands::send::Authorized;
use domain::access::Role;
use domain::consent::{Channel, Origin, Scope};
use domain::transactional::Transactional;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::num::NonZeroU32;
use std::time::Duration;
use uuid::Uuid;

const ANA: &str = "ana@example.com";
/// Nobody settles what is sent here, and nobody takes it over as long as a test may take.
const HELD: Duration = Duration::from_secs(600);

async fn request(app: &TestApp, email: &str, groups: &[Uuid]) -> Answer {
    let body = json!({ "email": email, "groups": groups });
    app.post("/subscriptions").anonymous().json(body).send().await
}

/// Lets the oldest mail that waits go, as a sender does; the token in its link.
pub async fn send_mail(app: &TestApp) -> Option<String> {
    let lease = app.commands.claim_transactional(HELD).await.unwrap()?;
    let mail = eventstore::load::<Transactional>(&app.pool, lease.dispatch_id).await.unwrap();
    let request = app.commands.subscription_request(lease.dispatch_id).await.unwrap().unwrap();
    let token = SubscriptionToken::draw().unwrap();
    let text = token.text().to_owned();
    let made = Ok((request, token));
    let authorized =
        app.commands.authorize_subscription_mail(lease, mail, "outbox", made, HELD).await.unwrap();
    matches!(authorized, Authorized::Permit { .. }).then_some(text)
}

async fn link(app: &TestApp, email: &str, groups: &[Uuid]) -> String {
    request(app, email, groups).await.ok(202);
    format!("/subscriptions/confirm?token={}", send_mail(app).await.unwrap())
}

async fn press(app: &TestApp, link: &str) -> Answer {
    app.post(link).anonymous().header("origin", ORIGIN).form("").send().await
}

async fn page(app: &TestApp, link: &str) -> Answer {
    app.get(link).anonymous().send().await
}

async fn opt_out(app: &TestApp, subscriber: Uuid, scope: Scope, channel: Channel) {
    let opt_out = commands::OptOut { subscriber, scope, channel, origin: Origin::default() };
    app.commands.opt_out(&commands::Context::system("test"), opt_out).await.unwrap();
}

/// Who has the address, their status and the names of the groups that may write to them.
async fn reader(app: &TestApp, email: &str) -> (Uuid, String, Vec<String>) {
    app.settled().await;
    let list = app.get(&format!("/subscribers?email={email}")).send().await.ok(200).json();
    let found = &list["items"][0];
    let groups = found["groups"].as_array().unwrap();
    let subscribed = groups.iter().filter(|group| group["subscribed"] == true);
    let names = subscribed.map(|group| group["name"].as_str().unwrap().to_owned()).collect();
    (
        found["subscriber_id"].as_str().unwrap().parse().unwrap(),
        found["status"].as_str().unwrap().into(),
        names,
    )
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_confirms_is_subscribed_and_nobody_before(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Tea letter").await;
    let link = link(&app, ANA, &[group]).await;
    let (ana, status, subscribed) = reader(&app, ANA).await;
    assert_eq!((status.as_str(), subscribed), ("unconfirmed", vec![]));
    let shown = page(&app, &link).await.ok(200);
    assert!(shown.text().contains("Tea letter") && shown.text().contains("a•••@example.com"));
    assert_eq!(shown.text().matches("<button").count(), 1);

    let pressed = press(&app, &link).await.ok(303);
    assert_eq!(pressed.header("location"), format!("{ORIGIN}{link}"));
    let (id, status, subscribed) = reader(&app, ANA).await;
    assert_eq!((id, status.as_str(), subscribed), (ana, "active", vec!["Tea letter".to_owned()]));
    let shown = page(&app, &link).await.ok(200);
    assert!(shown.text().contains("You are subscribed.") && !shown.text().contains("<button"));
    let (_, rest) = shown.text().split_once("<a href=\"").unwrap();
    let preferences = rest.split('"').next().unwrap().strip_prefix(ORIGIN).unwrap().replace("&#38;", "&");
    let shown = page(&app, &preferences).await.ok(200);
    assert!(shown.text().contains("a•••@example.com"), "{}", shown.text());

    let events = app.events().await;
    press(&app, &link).await.ok(303);
    app.post(&link).anonymous().send().await.ok(204);
    assert_eq!(app.events().await, events, "pressed once more");
}

/// Its page would lead to the preferences of the address that they have now.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_used_link_to_an_address_that_was_left_opens_nothing(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Tea letter").await;
    let link = link(&app, ANA, &[group]).await;
    press(&app, &link).await.ok(303);
    let (ana, ..) = reader(&app, ANA).await;
    let moved = json!({ "email": "ana@example.org" });
    app.patch(&format!("/subscribers/{ana}")).json(moved).send().await.ok(200);
    let shown = page(&app, &link).await.ok(401);
    assert!(!shown.text().contains("/emails/unsubscribe") && !shown.text().contains("@example"));
}

/// The gate names the confirmation, and not the request, as the consent that allows a mail.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_confirmation_is_the_proof_of_consent(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Tea letter").await;
    let link = link(&app, ANA, &[group]).await;
    let gate = async || -> Value {
        sqlx::query_scalar("SELECT groups FROM gates").fetch_one(&app.pool).await.unwrap()
    };
    assert_eq!(gate().await, json!({}));
    press(&app, &link).await.ok(303);
    assert_eq!(gate().await, json!({ group.to_string(): 2 }));
    let event: String = sqlx::query_scalar(
        "SELECT event_type FROM events WHERE aggregate_type = 'subscriber' AND sequence = 2",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert_eq!(event, "SubscriptionConfirmed");
}

/// New, subscribed, unconfirmed, opted out, called spam, erased: one answer, and as many events of the same kind.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn nobody_learns_whether_an_address_is_known(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Tea letter").await;
    for (name, channel) in [("out", Channel::OneClick), ("spam", Channel::Complaint)] {
        let reader = app.subscriber(&format!("{name}@example.com"), &[group]).await;
        opt_out(&app, reader, Scope::Global, channel).await;
    }
    app.subscriber("active@example.com", &[group]).await;
    let erased = app.subscriber("erased@example.com", &[group]).await;
    erase(&app, erased).await;
    link(&app, "unconfirmed@example.com", &[group]).await;
    let mut answers = Vec::new();
    for name in ["new", "active", "unconfirmed", "out", "spam", "erased"] {
        let before = app.events().await;
        let answer = request(&app, &format!("{name}@example.com"), &[group]).await.ok(202);
        assert!(answer.body.is_empty());
        let kinds: Vec<String> =
            sqlx::query_scalar("SELECT event_type FROM events ORDER BY append_id OFFSET $1")
                .bind(before)
                .fetch_all(&app.pool)
                .await
                .unwrap();
        let mut names: Vec<_> = answer.headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        answers.push((kinds, names, answer.position()));
    }
    assert_eq!(answers[0].0, ["SubscriptionMailRequested"]);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // Beyond the limit of mails the answer is no other.
    for _ in 0..6 {
        assert_eq!(request(&app, ANA, &[group]).await.ok(202).position(), answers[0].2);
    }
}

async fn erase(app: &TestApp, reader: Uuid) {
    app.post(&format!("/subscribers/{reader}/erase")).send().await.ok(202);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mailbox_is_not_filled(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Tea letter").await;
    let mails = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'SubscriptionMailRequested'")
            .fetch_one(&app.pool)
            .await
            .unwrap()
    };
    let groups = [group];
    let flood = futures::future::join_all((0..12).map(|_| request(&app, ANA, &groups))).await;
    assert!(flood.iter().all(|answer| answer.status == 202));
    assert_eq!(mails().await, 3, "three in an hour");
    let hour = "UPDATE subscription_requests SET requested_at = requested_at - interval '1 hour'";
    for expected in [5, 5] {
        sqlx::query(hour).execute(&app.pool).await.unwrap();
        for _ in 0..4 {
            request(&app, ANA, &[group]).await.ok(202);
        }
        assert_eq!(mails().await, expected, "five a day");
    }
    request(&app, "ANA@Example.com", &[group]).await.ok(202);
    request(&app, "ana+tea@example.com", &[group]).await.ok(202);
    assert_eq!(mails().await, 5, "however the address is written");
    request(&app, "bob@example.com", &[group]).await.ok(202);
    assert_eq!(mails().await, 6);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn requests_are_limited_by_the_address_they_come_from(pool: PgPool) {
    let two = NonZeroU32::new(2).unwrap();
    let app = TestApp::without_projectors(pool, |config| {
        config.limits.subscriptions_per_address_and_minute = two;
    })
    .await;
    let group = app.group("Tea letter").await;
    let ask = |from: &'static str, email: &'static str| {
        let call = app.post("/subscriptions").anonymous().from(from);
        call.json(json!({ "email": email, "groups": [group] })).send()
    };
    ask("192.0.2.1", "a@example.com").await.ok(202);
    ask("192.0.2.1", "b@example.com").await.ok(202);
    let refused = ask("192.0.2.1", "c@example.com").await;
    refused.problem(429);
    assert!(refused.headers.contains_key("retry-after"));
    ask("192.0.2.2", "c@example.com").await.ok(202);
}

/// A known reader's other groups stay as they are until the owner of the address says so.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_known_reader_is_asked_about_further_groups(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (tea, coffee) = (app.group("Tea letter").await, app.group("Coffee letter").await);
    let ana = app.subscriber(ANA, &[tea]).await;
    let link = link(&app, ANA, &[coffee]).await;
    assert_eq!(reader(&app, ANA).await, (ana, "active".into(), vec!["Tea letter".into()]));
    press(&app, &link).await.ok(303);
    let both = vec!["Coffee letter".into(), "Tea letter".into()];
    assert_eq!(reader(&app, ANA).await, (ana, "active".into(), both));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_left_comes_back_by_confirming_alone(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (tea, coffee) = (app.group("Tea letter").await, app.group("Coffee letter").await);
    let ana = app.subscriber(ANA, &[tea]).await;
    opt_out(&app, ana, Scope::Global, Channel::OneClick).await;
    let link = link(&app, ANA, &[coffee]).await;
    assert_eq!(reader(&app, ANA).await, (ana, "opted_out".into(), vec![]));
    press(&app, &link).await.ok(303);
    let (_, status, subscribed) = reader(&app, ANA).await;
    assert_eq!((status.as_str(), subscribed), ("active", vec!["Coffee letter".to_owned()]));
    // What they left before stays left, and no import or member of the staff brings it back.
    let consent = json!({ "subscriber_id": ana, "consent": { "source": "staff" } });
    app.post(&format!("/groups/{tea}/members")).json(consent).send().await.problem(409);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_takes_back_what_was_asked_before(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Tea letter").await;
    let link = link(&app, ANA, &[group]).await;
    let (ana, _, _) = reader(&app, ANA).await;
    opt_out(&app, ana, Scope::Global, Channel::PreferencePage).await;
    let events = app.events().await;
    assert!(page(&app, &link).await.ok(401).text().contains("does not work any more"));
    press(&app, &link).await.ok(401);
    app.post(&link).anonymous().send().await.problem(401);
    assert_eq!(app.events().await, events);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_link_that_was_used_before_an_opt_out_revives_nothing(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Tea letter").await;
    let link = link(&app, ANA, &[group]).await;
    press(&app, &link).await.ok(303);
    let (ana, _, _) = reader(&app, ANA).await;
    opt_out(&app, ana, Scope::Global, Channel::OneClick).await;
    press(&app, &link).await.ok(303);
    assert_eq!(reader(&app, ANA).await.1, "opted_out");
    page(&app, &link).await.ok(401);
}

/// Nothing is kept of an erased person but that nobody may write there: who confirms is somebody new.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_was_erased_comes_back_as_somebody_new(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Tea letter").await;
    let erased = app.subscriber(ANA, &[group]).await;
    erase(&app, erased).await;
    let gate = async || -> (Uuid, bool) {
        sqlx::query_as("SELECT subscriber_id, suppressed FROM gates").fetch_one(&app.pool).await.unwrap()
    };
    let first = link(&app, ANA, &[group]).await;
    let second = link(&app, ANA, &[group]).await;
    assert_eq!(gate().await, (erased, true), "a stranger's word changes nothing");
    assert!(page(&app, &first).await.ok(200).text().contains("a•••@example.com"));
    press(&app, &first).await.ok(303);
    let (somebody, suppressed) = gate().await;
    assert!(somebody != erased && !suppressed);
    assert_eq!(reader(&app, ANA).await, (somebody, "active".into(), vec!["Tea letter".into()]));
    assert!(page(&app, &first).await.ok(200).text().contains("You are subscribed."));
    // Only one of them can be who has the address.
    press(&app, &second).await.ok(401);
    assert_eq!(gate().await, (somebody, false));
    // A known address is not taken over: not by the staff, nor by a request.
    let new = json!({ "email": ANA, "groups": [group], "consent": { "source": "staff" } });
    app.post("/subscribers").json(new).send().await.problem(409);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_comes_back_may_press_twice(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Tea letter").await;
    let erased = app.subscriber(ANA, &[group]).await;
    erase(&app, erased).await;
    let link = link(&app, ANA, &[group]).await;
    let mut gate = app.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM gates FOR UPDATE").execute(&mut *gate).await.unwrap();
    let presses = [(); 2].map(|()| {
        let call = app.post(&link).anonymous().header("origin", ORIGIN).form("");
        tokio::spawn(async move { call.send().await })
    });
    app.blocked(2).await;
    gate.rollback().await.unwrap();
    for press in presses {
        press.await.unwrap().ok(303);
    }
}

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

/// A key is one of its link's: it does not answer for another.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn keys_make_repeats_harmless(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (tea, coffee) = (app.group("Tea letter").await, app.group("Coffee letter").await);
    let ask = || {
        let call = app.post("/subscriptions").anonymous().key("form-1");
        call.json(json!({ "email": ANA, "groups": [tea] })).send()
    };
    ask().await.ok(202);
    ask().await.ok(202);
    send_mail(&app).await.unwrap();
    assert_eq!(send_mail(&app).await, None, "one mail");
    let (first, second) = (link(&app, ANA, &[tea]).await, link(&app, ANA, &[coffee]).await);
    let confirm = |link: &str| app.post(link).anonymous().key("button-1").json(json!({})).send();
    confirm(&first).await.ok(204);
    confirm(&first).await.ok(204);
    confirm(&second).await.problem(422);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_cannot_be_asked_for_is_told(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Tea letter").await;
    let events = app.events().await;
    let ask = |body: Value| app.post("/subscriptions").anonymous().json(body).send();
    for email in ["", "ana", "ana@example.com\r\nBcc: eve@example.com", "ana@example.com, eve@example.com"] {
        ask(json!({ "email": email, "groups": [group] })).await.invalid(&["email"]);
    }
    for name in ["Ana\r\nBcc: eve@example.com", "Ana\u{0}", &"x".repeat(301)] {
        ask(json!({ "email": ANA, "groups": [group], "name": name })).await.invalid(&["name"]);
    }
    let many: Vec<Uuid> = (0..21).map(Uuid::from_u128).collect();
    for groups in [vec![], vec![Uuid::from_u128(5)], many] {
        ask(json!({ "email": ANA, "groups": groups })).await.invalid(&["groups"]);
    }
    ask(json!({ "email": ANA, "groups": [group], "status": "active" })).await.problem(422);
    assert_eq!(app.events().await, events);
}

/// Whoever asks may be anybody: what they call the owner of the address is not on the page, and counts once it is confirmed.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_strangers_words_are_on_no_page(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Tea & <b>Co</b>").await;
    let name = "<script>alert(1)</script>";
    let body = json!({ "email": ANA, "groups": [group], "name": name });
    app.post("/subscriptions").anonymous().json(body).send().await.ok(202);
    let link = format!("/subscriptions/confirm?token={}", send_mail(&app).await.unwrap());
    let shown = page(&app, &link).await.ok(200);
    assert!(shown.text().contains("Tea &#38; &#60;b&#62;Co") && !shown.text().contains("alert"));
    assert!(shown.header("content-security-policy").contains("default-src 'none'"));
    let named = async || {
        let (ana, ..) = reader(&app, ANA).await;
        app.get(&format!("/subscribers/{ana}")).send().await.ok(200).json()["name"].clone()
    };
    assert_eq!(named().await, Value::Null);
    press(&app, &link).await.ok(303);
    assert_eq!(named().await, name);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn auditors_see_who_asked_and_who_confirmed(pool: PgPool) {
    let app = TestApp::with(pool, |config| config.consent_wording = Some("form 2026-01".into())).await;
    app.user("audit@example.com", &[Role::Auditor]).await;
    let group = app.group("Tea letter").await;
    let body = json!({ "email": ANA, "groups": [group] });
    let call = app.post("/subscriptions").anonymous().from("192.0.2.1").header("user-agent", "Asker/1");
    call.json(body).send().await.ok(202);
    let link = format!("/subscriptions/confirm?token={}", send_mail(&app).await.unwrap());
    let press = app.post(&link).anonymous().from("192.0.2.2").header("user-agent", "Presser/2");
    let press = press.header("accept-language", "de").header("origin", ORIGIN).form("");
    press.send().await.ok(303);
    let (ana, ..) = reader(&app, ANA).await;
    let auditor = app.login("audit@example.com").await.access;
    let path = format!("/audit/subscribers/{ana}");
    let history = app.get(&path).bearer(&auditor).send().await.ok(200).json();
    let items = history["items"].as_array().unwrap();
    let steps: Vec<_> = items.iter().filter_map(|item| item["mail"].as_str()).collect();
    assert_eq!(steps, ["planned", "authorized"], "the mail that asked");
    let said: Vec<&Value> = items.iter().filter(|item| item["mail"].is_null()).collect();
    let [asked, confirmed] = said[..] else { panic!("{history}") };
    let told = |item: &Value, names: [&str; 5]| names.map(|name| item[name].clone());
    let names = ["event", "source_address", "user_agent", "wording_version", "consent_source"];
    assert_eq!(
        told(asked, names),
        ["SubscriptionRequested", "192.0.2.1", "Asker/1", "form 2026-01", "double opt-in"].map(Value::from)
    );
    assert_eq!((&asked["address"], &asked["groups"]), (&json!(ANA), &json!([group])));
    assert!(asked["given_at"].is_string());
    let [event, address, agent, wording, _] = told(confirmed, names);
    assert_eq!([event, address, agent], ["SubscriptionConfirmed", "192.0.2.2", "Presser/2"].map(Value::from));
    assert!(wording.as_str().unwrap().starts_with("de-"), "{wording}");
    assert_eq!(asked["dispatch_id"], confirmed["dispatch_id"], "which request was confirmed");
    assert_eq!(confirmed["actor"], "reader");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn links_addresses_and_names_are_in_no_table(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Tea letter").await;
    let body = json!({ "email": "canary@example.com", "groups": [group], "name": "Canary Bird" });
    let call = app.post("/subscriptions").anonymous().from("192.0.2.77").header("user-agent", "Canary-Agent");
    call.json(body).send().await.ok(202);
    let token = send_mail(&app).await.unwrap();
    press(&app, &format!("/subscriptions/confirm?token={token}")).await.ok(303);
    app.settled().await;
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            .fetch_all(&app.pool)
            .await
            .unwrap();
    for table in tables {
        let rows: Vec<String> = sqlx::query_scalar(&format!("SELECT t::text FROM \"{table}\" t"))
            .fetch_all(&app.pool)
            .await
            .unwrap();
        for secret in [token.as_str(), "canary@", "Canary Bird", "192.0.2.77", "Canary-Agent"] {
            assert!(!rows.iter().any(|row| row.contains(secret)), "{secret} is in {table}");
        }
    }
}
