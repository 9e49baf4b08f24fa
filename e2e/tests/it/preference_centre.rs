//! A reader opts out, and comes back: by REST, and in a real browser with scripts and without, by mouse and by keyboard.

use crate::account::Account;
use crate::scene::{self, Linked};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use e2e::{Browser, Draft, Mail, Settings, Stack, Visitor, eventually};
use fantoccini::Locator;
use fantoccini::key::Key;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);

/// What is on the pages, in one language.
pub struct Words {
    pub language: &'static str,
    pub leave: &'static str,
    pub leave_all: &'static str,
    pub again: &'static str,
    pub save: &'static str,
    pub left: &'static str,
    pub returned: &'static str,
    pub saved: &'static str,
    pub too_old: &'static str,
    pub foreign: &'static str,
    pub choose: &'static str,
    pub differ: &'static str,
    pub chosen: &'static str,
    pub asked: &'static str,
    pub not_asked: &'static str,
    pub subscribe: &'static str,
    pub subscribed: &'static str,
}

impl Words {
    pub const ALL: [Self; 2] = [
        Self {
            language: "en",
            leave: "Unsubscribe",
            leave_all: "Unsubscribe from everything",
            again: "Subscribe again",
            save: "Save my choice",
            left: "You are unsubscribed.",
            returned: "You are subscribed again.",
            saved: "Your choice is saved.",
            too_old: "This link is too old for that.",
            foreign: "Please use the button on our own page.",
            choose: "Save the password",
            differ: "The two passwords are not the same.",
            chosen: "Your password is saved.",
            asked: "Please look into your mailbox.",
            not_asked: "That could not be taken.",
            subscribe: "Subscribe",
            subscribed: "You are subscribed.",
        },
        Self {
            language: "de",
            leave: "Abbestellen",
            leave_all: "Alles abbestellen",
            again: "Wieder bestellen",
            save: "Auswahl speichern",
            left: "Sie sind abgemeldet.",
            returned: "Sie sind wieder angemeldet.",
            saved: "Ihre Auswahl ist gespeichert.",
            too_old: "Dafür ist dieser Link zu alt.",
            foreign: "Bitte benutzen Sie den Knopf auf unserer eigenen Seite.",
            choose: "Passwort speichern",
            differ: "Die beiden Passwörter sind nicht gleich.",
            chosen: "Ihr Passwort ist gespeichert.",
            asked: "Bitte sehen Sie in Ihr Postfach.",
            not_asked: "Das hat nicht geklappt.",
            subscribe: "Abonnieren",
            subscribed: "Sie sind angemeldet.",
        },
    ];
}

/// By the words on it, as people find it.
pub async fn press(browser: &Browser, button: &str) {
    let path = format!("//button[normalize-space()='{button}']");
    browser.client.find(Locator::XPath(&path)).await.unwrap().click().await.unwrap();
}

/// Waits for the page that says so.
pub async fn reads(browser: &Browser, words: &str) {
    eventually(&format!("the page says {words:?}"), WITHIN, async || {
        let main = browser.client.find(Locator::Css("main")).await.ok()?;
        main.text().await.ok()?.contains(words).then_some(())
    })
    .await;
}

/// What a reader gets now: whether they opted out of everything, and of each group by its name.
async fn shown(stack: &Stack, reader: &Linked) -> (bool, Vec<bool>) {
    let shown: Value = stack.client().with_bearer(reader.token()).get("/preferences").await;
    let groups = shown["groups"].as_array().unwrap().iter();
    (shown["global_opt_out"] == true, groups.map(|group| group["subscribed"] == true).collect())
}

/// The diagram of the preference centre, as a frontend of its own would go through it.
#[tokio::test]
async fn a_frontend_opts_a_reader_out_of_everything() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let group = api.group("Letters").await;
    let readers: [(&str, &[_]); 2] = [("reader@example.com", &[group]), ("other@example.com", &[group])];
    let [reader, other] = &scene::linked(&stack, &readers).await[..] else { panic!("two readers") };
    let page = api.anonymous().query(&reader.link).await.expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));

    let as_reader = api.with_bearer(reader.token());
    let current: Value = as_reader.get("/preferences").await;
    let expected = json!({
        "subscriber": { "email_masked": "r•••@example.com" },
        "global_opt_out": false,
        "groups": [{ "group_id": group, "name": "Letters", "subscribed": true }],
    });
    assert_eq!(current, expected);
    let done = as_reader.post("/emails/unsubscribe", &json!({ "global": true })).await.expect(204);
    assert!(done.body.is_empty());
    assert_eq!(shown(&stack, reader).await, (true, vec![false]));

    let events = stack.trail().stream("subscriber", reader.id).await;
    let event = events.last().unwrap();
    assert_eq!(event.event_type, "SubscriberOptedOut");
    assert_eq!(
        (&event.body()["scope"], &event.body()["channel"]),
        (&json!("global"), &json!("preference_page"))
    );
    let status = eventually("the staff see it", WITHIN, async || {
        let seen: Value = api.get(&format!("/subscribers/{}", reader.id)).await;
        (seen["status"] != "active").then(|| seen["status"].clone())
    });
    assert_eq!(status.await, "opted_out");
    let told = eventually("a mail confirms it", WITHIN, async || {
        let mails = stack.outbox().handovers().into_iter().map(|sent| Mail::read(&sent.file));
        let mut theirs = mails.filter(|mail| mail.to.address == "reader@example.com");
        theirs.find(|mail| mail.header("List-Unsubscribe").is_none())
    });
    assert_eq!(told.await.subject, "You are unsubscribed at Postledger");
    // The next letter goes to the other one alone.
    let campaign =
        api.launch(&Draft { template: scene::template(&api).await, group, ..Draft::default() }).await;
    let report = api.completes(campaign, WITHIN).await;
    assert_eq!((report.accepted, report.planned - report.suppressed), (1, 1), "{report:?}");
    let account = Account::of(&stack, campaign).await;
    let sent = account.hand_overs(stack.outbox().handovers());
    assert_eq!(sent.iter().map(|sent| sent.subscriber).collect::<Vec<_>>(), [other.id]);
}

/// The same by the page's own buttons; scripts make no difference.
#[tokio::test]
async fn a_reader_leaves_and_comes_back_by_the_buttons() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let groups = [api.group("A letter").await, api.group("B letter").await];
    let visitors = [("en", true), ("de", false)];
    let emails = visitors.map(|(language, _)| format!("reader.{language}@example.com"));
    let readers = emails.each_ref().map(|email| (email.as_str(), groups.as_slice()));
    let readers = scene::linked(&stack, &readers).await;
    for ((language, has_scripts), reader) in visitors.into_iter().zip(&readers) {
        let Some(browser) = Browser::start_for(Visitor { language, has_scripts }).await else { return };
        runs_scripts(&browser, has_scripts).await;
        let words = Words::ALL.iter().find(|words| words.language == language).unwrap();
        browser.client.goto(&reader.link).await.unwrap();
        reads(&browser, "r•••@example.com").await;
        assert_eq!(shown(&stack, reader).await, (false, vec![true, true]), "looking changes nothing");
        press(&browser, words.leave).await;
        reads(&browser, words.left).await;
        assert_eq!(shown(&stack, reader).await, (false, vec![false, true]));
        press(&browser, words.again).await;
        reads(&browser, words.returned).await;
        assert_eq!(shown(&stack, reader).await, (false, vec![true, true]));
        let boxes = browser.client.find_all(Locator::Css("input[type=checkbox]")).await.unwrap();
        boxes[1].click().await.unwrap();
        press(&browser, words.save).await;
        reads(&browser, words.saved).await;
        assert_eq!(shown(&stack, reader).await, (false, vec![true, false]));
        press(&browser, words.leave_all).await;
        reads(&browser, words.left).await;
        assert!(shown(&stack, reader).await.0);
        assert!(browser.client.get_all_cookies().await.unwrap().is_empty());
        browser.close().await;
    }
}

async fn runs_scripts(browser: &Browser, expected: bool) {
    let page =
        "data:text/html,<main>no</main><script>document.querySelector('main').textContent = 'yes'</script>";
    browser.client.goto(page).await.unwrap();
    reads(browser, if expected { "yes" } else { "no" }).await;
}

/// A link is in a mailbox for as long as its reader likes: what it names may be gone by then, and its key be an old one.
#[tokio::test]
async fn links_outlive_what_they_name_and_what_signed_them() {
    let mut stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let group = api.group("Letters").await;
    let readers: [(&str, &[_]); 2] = [("clicks@example.com", &[group]), ("looks@example.com", &[group])];
    let [clicks, looks] = &scene::linked(&stack, &readers).await[..] else { panic!("two readers") };
    for template in api.all::<Value>("/templates").await {
        let path = format!("/templates/{}", template["template_id"].as_str().unwrap());
        api.command(Method::DELETE, &path, &Value::Null).await.expect(204);
    }
    api.command(Method::DELETE, &format!("/groups/{group}"), &Value::Null).await.expect(204);
    stack.operate(&["keys", "rotate", "--links"]);
    stack.terminate("server", WITHIN).await;
    stack.serve_again("server").await;
    stack.ready().await;

    let page = api.anonymous().query(&looks.link).await.expect(200);
    assert!(page.body.contains("you will get no more mails from “Letters”."), "{}", page.body);
    api.with_bearer(looks.token())
        .post("/emails/unsubscribe", &json!({ "groups": [group] }))
        .await
        .expect(204);
    api.one_click(&clicks.link).await.expect(200);
    for reader in [clicks, looks] {
        let events = stack.trail().stream("subscriber", reader.id).await;
        assert_eq!(events.last().unwrap().event_type, "SubscriberOptedOut");
        let page = api.anonymous().query(&reader.link).await.expect(200);
        assert!(page.body.contains("You are unsubscribed."), "{}", page.body);
    }
    // Mails bear the new key from now on.
    let other = api.group("Others").await;
    let fresh = scene::linked(&stack, &[("fresh@example.com", &[other])]).await.remove(0);
    assert_eq!((key_of(clicks), key_of(&fresh)), (json!("preference-1"), json!("preference-2")));
    api.one_click(&fresh.link).await.expect(200);
}

/// The name of the key that signed a link's token.
fn key_of(reader: &Linked) -> Value {
    let (header, _) = reader.token().split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header["kid"].clone()
}

#[tokio::test]
async fn a_keyboard_is_enough() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let groups = [api.group("A letter").await, api.group("B letter").await];
    let reader = scene::linked(&stack, &[("reader@example.com", &groups)]).await.remove(0);
    let Some(browser) = Browser::start().await else { return };
    let [words, _] = &Words::ALL;
    browser.client.goto(&reader.link).await.unwrap();
    tab_to(&browser, words.leave).await;
    browser.press(Key::Enter).await;
    reads(&browser, words.left).await;
    tab_to(&browser, words.again).await;
    browser.press(Key::Enter).await;
    reads(&browser, words.returned).await;
    tab_to(&browser, "B letter").await;
    browser.press(Key::Space).await;
    tab_to(&browser, words.save).await;
    browser.press(Key::Enter).await;
    reads(&browser, words.saved).await;
    assert_eq!(shown(&stack, &reader).await, (false, vec![true, false]));
    browser.close().await;
}

/// The words of what has the focus, and whether anybody can see that it has it.
const FOCUSED: &str = "
    const focused = document.activeElement;
    const name = (focused.labels?.[0] ?? focused).textContent.trim();
    return [name, getComputedStyle(focused).outlineStyle !== 'none'];";

/// On a page of ours there are fewer things to stop at.
const STOPS_MAX: usize = 10;

async fn tab_to(browser: &Browser, wanted: &str) {
    for _ in 0..STOPS_MAX {
        browser.press(Key::Tab).await;
        let focused = browser.client.execute(FOCUSED, Vec::new()).await.unwrap();
        let (name, is_visible): (String, bool) = serde_json::from_value(focused).unwrap();
        assert!(is_visible, "nobody sees that the focus is at {name:?}");
        if name == wanted {
            return;
        }
    }
    panic!("the keyboard does not reach {wanted:?}");
}
