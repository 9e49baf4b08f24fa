//! A reader from the first form to the last mail, over REST and by the links in real mails: asks for a subscription,
//! confirms it, gets a campaign, leaves by one click, is told so, and comes back by the link that says it.

use crate::account::Account;
use crate::scene;
use e2e::{Browser, Client, Draft, Mail, Settings, Stack, eventually};
use fantoccini::Locator;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const WITHIN: Duration = Duration::from_secs(60);
const ANA: &str = "ana@example.com";

/// The mail with this subject, once it is there.
async fn mail(stack: &Stack, subject: &str) -> Mail {
    eventually("the mail is there", WITHIN, async || {
        let mails = stack.outbox().handovers();
        mails.iter().map(|sent| Mail::read(&sent.file)).find(|mail| mail.subject == subject)
    })
    .await
}

fn link(mail: &Mail) -> String {
    assert_eq!(mail.to.address, ANA);
    assert_eq!(mail.header("List-Unsubscribe"), None, "no newsletter");
    let link = mail.text.split_whitespace().find(|word| word.contains("token=")).expect("a link").to_owned();
    assert!(mail.html_seen().contains(&format!("href=\"{link}\"")), "both parts have it: {}", mail.html);
    link
}

async fn status(api: &Client) -> Option<String> {
    let list: Value = api.get(&format!("/subscribers?email={ANA}")).await;
    list["items"][0]["status"].as_str().map(str::to_owned)
}

async fn press(browser: &Browser, link: &str, title: &str) -> String {
    let page = &browser.client;
    page.goto(link).await.unwrap();
    page.find(Locator::Css("button[type=submit]")).await.unwrap().click().await.unwrap();
    eventually("the page shows what came of it", WITHIN, async || {
        let text = page.find(Locator::Css("main")).await.ok()?.text().await.ok()?;
        text.contains(title).then_some(text)
    })
    .await
}

async fn accepted(stack: &Stack, api: &Client, template: Uuid, group: Uuid) -> (Account, u64) {
    let campaign = api.launch(&Draft { template, group, ..Draft::default() }).await;
    api.completes(campaign, WITHIN).await;
    let account = Account::of(stack, campaign).await;
    let accepted = account.report.accepted;
    (account, accepted)
}

#[tokio::test]
async fn a_reader_comes_leaves_and_comes_back_by_the_links_in_mails() {
    let stack = Stack::start(Settings::new()).await;
    let (api, public) = (stack.client(), Client::public(&stack.url()));
    let (template, group) = (scene::template(&api).await, api.group("Tea letter").await);
    let ask =
        public.request(Method::POST, "/subscriptions").json(&json!({ "email": ANA, "groups": [group] }));
    public.send(ask).await.unwrap().expect(202);

    let asked = link(&mail(&stack, "Please confirm your subscription at Postledger").await);
    assert!(asked.starts_with(&format!("{}/subscriptions/confirm?token=plc_", stack.url())), "{asked}");
    eventually("they are listed", WITHIN, async || {
        (status(&api).await.as_deref() == Some("unconfirmed")).then_some(())
    })
    .await;
    assert_eq!(accepted(&stack, &api, template, group).await.1, 0, "nobody confirmed");
    // What opens links before their reader does: scanners, previews.
    let path = asked.strip_prefix(&stack.url()).unwrap();
    for method in [Method::GET, Method::HEAD, Method::GET] {
        public.send(public.request(method, path)).await.unwrap().expect(200);
    }
    assert_eq!(status(&api).await.as_deref(), Some("unconfirmed"));

    let Some(browser) = Browser::start().await else { return };
    let shown = press(&browser, &asked, "You are subscribed.").await;
    assert!(shown.contains("Tea letter") && shown.contains("a•••@example.com"), "{shown}");
    let (account, count) = accepted(&stack, &api, template, group).await;
    assert_eq!(count, 1);
    let letter = account.hand_overs(stack.outbox().handovers()).remove(0);

    let one_click = Mail::read(&letter.file).one_click_link();
    for _ in 0..3 {
        api.one_click(&one_click).await.expect(200);
    }
    let told = mail(&stack, "You are unsubscribed at Postledger").await;
    assert!(told.text.contains("You will not get “Tea letter” from Postledger any more."), "{}", told.text);
    assert_eq!(accepted(&stack, &api, template, group).await.1, 0);
    let shown = press(&browser, &link(&told), "You are subscribed again.").await;
    assert!(!shown.contains("You are unsubscribed."), "{shown}");
    assert_eq!(accepted(&stack, &api, template, group).await.1, 1, "they came back");
    browser.close().await;

    let told = stack.outbox().handovers();
    let told = told.iter().map(|sent| Mail::read(&sent.file).subject);
    assert_eq!(told.filter(|subject| subject.starts_with("You are unsubscribed")).count(), 1, "once");
    let (_, token) = asked.split_once("token=").unwrap();
    let log = std::fs::read_to_string(stack.log_file("server")).unwrap();
    assert!(!log.contains(token) && !log.contains(ANA), "{log}");
}
