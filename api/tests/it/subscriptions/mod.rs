//! Double opt-in. The sender is in `workers/tests`, the mails themselves in `e2e`: here their links are drawn as a sender
//! draws them.

mod limits;
mod links;
mod returning;

use crate::support::{Answer, ORIGIN, TestApp};
use axum::http::Method;
use commands::SubscriptionToken;
use commands::send::{Authorized, OfMailers};
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
    let lease = app.commands.claim_transactional(HELD, &OfMailers::AllBut(vec![])).await.unwrap()?;
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

async fn erase(app: &TestApp, reader: Uuid) {
    app.post(&format!("/subscribers/{reader}/erase")).send().await.ok(202);
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
    // A stranger is known by network and body alone: another body under this key is somebody else's.
    confirm(&second).await.ok(204);
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

/// As a website's script sends `FormData`.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_multipart_form_asks_as_an_urlencoded_one_does(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Tea letter").await.to_string();
    let part = |(name, value): (&str, &str)| {
        format!("--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let ask = |fields: &[(&str, &str)]| {
        let body = fields.iter().copied().map(part).collect::<String>() + "--b0undary--\r\n";
        app.post("/subscriptions").anonymous().body("multipart/form-data; boundary=b0undary", body).send()
    };
    let answer = ask(&[("email", ANA), ("groups", &group), ("button", "Go")]).await.ok(202);
    assert!(answer.header("content-type").starts_with("text/html"));
    assert!(send_mail(&app).await.is_some());
    let events = app.events().await;
    ask(&[("email", ANA), ("groups", "tea")]).await.ok(422);
    ask(&[("email", ANA), ("groups", &group), ("note", &"x".repeat(20_000))]).await.problem(413);
    app.post("/subscriptions").anonymous().body("multipart/form-data", "x").send().await.problem(400);
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

/// A plain form on a website: people see a page, or land where the setting says.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_plain_form_asks_for_a_subscription(pool: PgPool) {
    let app = TestApp::without_projectors(pool.clone(), |_| {}).await;
    let group = app.group("News").await;
    let post = |app: &TestApp, form: String| {
        app.post("/subscriptions").anonymous().header("origin", "https://website.example").form(&form).send()
    };
    let form = format!("email=ana%40example.com&name=Ana&groups={group}&button=Go");
    let page = post(&app, form.clone()).await.ok(202);
    assert!(page.text().contains("Please look into your mailbox."), "{}", page.text());
    let token = send_mail(&app).await.expect("a mail that asks");
    let confirm = json!({ "token": token });
    app.post("/subscriptions/confirm").anonymous().json(confirm).send().await.ok(204);
    for wrong in [format!("email=ana%40&groups={group}"), "email=ben%40example.com".into(), "groups=x".into()]
    {
        let page = post(&app, wrong).await.ok(422);
        assert!(page.text().contains("check the address"), "{}", page.text());
    }
    let home = "https://website.example/thank-you";
    let with_page =
        TestApp::without_projectors(pool, |config| config.subscription_url = Some(home.into())).await;
    let sent = post(&with_page, form).await.ok(303);
    assert_eq!(sent.header("location"), home);
}
