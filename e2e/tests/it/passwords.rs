//! A forgotten password and an invitation, from the request to the page that the mail's link opens in a real browser.

use e2e::{Browser, Client, Handover, Mail, Settings, Stack, eventually};
use fantoccini::Locator;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const OLD: &str = "a password of the tests";
const NEW: &str = "another one of the tests";
const WITHIN: Duration = Duration::from_secs(30);

async fn with_ana() -> Stack {
    let mut stack = Stack::prepare(Settings::new()).await;
    let file = stack.dir().join("password");
    std::fs::write(&file, OLD).unwrap();
    let file = file.display().to_string();
    stack.operate(&["user", "add", "ana@example.com", "--roles", "marketer", "--password-file", &file]);
    stack.serve("server", "").await;
    stack.ready().await;
    stack
}

/// The n-th mail that is handed over.
async fn mail(stack: &Stack, n: usize) -> Mail {
    let found: Handover = eventually("the mail is sent", WITHIN, async || {
        let mut sent = stack.outbox().handovers();
        sent.sort_by_key(|handover| handover.at);
        sent.into_iter().nth(n)
    })
    .await;
    Mail::read(&found.file)
}

fn link(mail: &Mail) -> String {
    let link = mail.text.split_whitespace().find(|word| word.contains("token=")).expect("a link").to_owned();
    assert!(mail.html_seen().contains(&format!("href=\"{link}\"")), "both parts have it: {}", mail.html);
    link
}

async fn login(public: &Client, email: &str, password: &str) -> u16 {
    let body = json!({ "email": email, "password": password });
    public.send(public.request(Method::POST, "/auth/login").json(&body)).await.unwrap().status
}

async fn choose(browser: &Browser, link: &str, password: &str) -> String {
    let page = &browser.client;
    page.goto(link).await.unwrap();
    for field in ["password", "again"] {
        page.find(Locator::Id(field)).await.unwrap().send_keys(password).await.unwrap();
    }
    page.find(Locator::Css("button[type=submit]")).await.unwrap().click().await.unwrap();
    page.wait().at_most(WITHIN).for_element(Locator::Css("h1")).await.unwrap();
    eventually("the page has changed", WITHIN, async || {
        let text = page.find(Locator::Css("main")).await.ok()?.text().await.ok()?;
        (!text.contains("Once more")).then_some(text)
    })
    .await
}

#[tokio::test]
async fn a_forgotten_password_is_chosen_anew_by_a_mail() {
    let stack = with_ana().await;
    let public = Client::public(&stack.url());
    for email in ["nobody@example.com", "ana@example.com"] {
        let ask = public.request(Method::POST, "/auth/password-reset").json(&json!({ "email": email }));
        public.send(ask).await.unwrap().expect(202);
    }
    let mail = mail(&stack, 0).await;
    assert_eq!(mail.to.address, "ana@example.com");
    assert_eq!(mail.subject, "Choose a new password for Postledger");
    assert_eq!(mail.header("List-Unsubscribe"), None);
    let link = link(&mail);
    assert!(link.starts_with(&format!("{}/auth/password-reset?token=plp_", stack.url())), "{link}");
    // What opens links before their reader does: scanners, previews.
    for method in [Method::GET, Method::HEAD, Method::GET] {
        let path = link.strip_prefix(&stack.url()).unwrap();
        public.send(public.request(method, path)).await.unwrap().expect(200);
    }
    let Some(browser) = Browser::start().await else { return };
    let shown = choose(&browser, &link, NEW).await;
    assert!(shown.contains("Your password is saved."), "{shown}");
    assert_eq!(
        (login(&public, "ana@example.com", OLD).await, login(&public, "ana@example.com", NEW).await),
        (401, 200)
    );
    browser.client.goto(&link).await.unwrap();
    let shown = browser.client.find(Locator::Css("main")).await.unwrap().text().await.unwrap();
    assert!(shown.contains("This link does not work any more."), "{shown}");
    browser.close().await;
    assert_eq!(stack.outbox().count(), 1, "nobody's mail goes nowhere");
    // The secret is nowhere but in the mail: not in the server's log either.
    let (_, token) = link.split_once("token=").unwrap();
    let log = std::fs::read_to_string(stack.log_file("server")).unwrap();
    assert!(!log.contains(token) && !log.contains("ana@example.com"), "{log}");
}

#[tokio::test]
async fn an_invitation_is_accepted_by_a_mail() {
    let stack = with_ana().await;
    let public = Client::public(&stack.url());
    stack.operate(&["user", "invite", "bob@example.com", "--roles", "analyst"]);
    let first = link(&mail(&stack, 0).await);
    stack.operate(&["user", "invite", "bob@example.com", "--roles", "analyst"]);
    let second = mail(&stack, 1).await;
    assert_eq!(second.subject, "You are invited to Postledger");
    let second = link(&second);
    // As a frontend does.
    let accept = async |link: &str| {
        let (_, token) = link.split_once("token=").unwrap();
        let body = json!({ "token": token, "password": NEW });
        public
            .send(public.request(Method::POST, "/auth/invitation/confirm").json(&body))
            .await
            .unwrap()
            .status
    };
    assert_eq!((accept(&first).await, accept(&second).await, accept(&second).await), (401, 204, 401));
    let body = json!({ "email": "bob@example.com", "password": NEW });
    let login =
        public.send(public.request(Method::POST, "/auth/login").json(&body)).await.unwrap().expect(200);
    let tokens: Value = login.json();
    let me: Value = public.with_bearer(tokens["access_token"].as_str().unwrap()).get("/auth/me").await;
    assert_eq!(me["roles"], json!(["analyst"]));
}
