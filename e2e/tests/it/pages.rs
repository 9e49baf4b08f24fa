//! Every page that people meet, as they meet it in a browser: in both languages, on a desktop and on a small phone, light
//! and dark. Each look is kept as a screenshot, and axe-core and a ruler find no barrier in it.

use crate::preference_centre::{Words, press, reads};
use crate::scene::{self, Linked};
use e2e::{Axe, Browser, Client, Look, Mail, Settings, Stack, Visitor, eventually};
use fantoccini::Locator;
use reqwest::Method;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

const WITHIN: Duration = Duration::from_secs(30);
const PASSWORD: &str = "a password of the tests";
const MANY: usize = 12;
/// At least as many as the server's pool has; they take turns.
const CONNECTIONS_MAX: usize = 64;

/// Looks at pages, and keeps what is wrong with them.
struct Gallery<'a> {
    browser: &'a Browser,
    axe: &'a Axe,
    words: &'a Words,
    screenshots: Option<PathBuf>,
    complaints: Vec<String>,
}

/// What axe does not look for.
const MEASURE: &str = "
    const root = document.documentElement, found = [];
    if (root.scrollWidth > root.clientWidth) found.push(`scrolls sideways: ${root.scrollWidth} > ${root.clientWidth}`);
    if (root.lang !== arguments[0]) found.push(`says that it is in ${root.lang}`);
    if (getComputedStyle(document.body).maxWidth === 'none') found.push('has no style');
    return found;";

impl<'a> Gallery<'a> {
    fn new(browser: &'a Browser, axe: &'a Axe, words: &'a Words) -> Self {
        let screenshots = std::env::var_os("POSTLEDGER_TEST_SCREENSHOTS").map(PathBuf::from);
        Self { browser, axe, words, screenshots, complaints: Vec::new() }
    }

    async fn open(&mut self, name: &str, url: &str) {
        self.browser.client.goto(url).await.unwrap();
        self.look_at(name).await;
    }

    /// At the page that is open.
    async fn look_at(&mut self, name: &str) {
        for look in Look::ALL {
            self.browser.look(look).await;
            let seen = format!("{name}.{}.{}", self.words.language, look.name());
            if let Some(folder) = &self.screenshots {
                self.browser.screenshot(&folder.join(format!("{seen}.png"))).await;
            }
            let mut found = self.axe.complaints(self.browser).await;
            let language = vec![json!(self.words.language)];
            let measured = self.browser.client.execute(MEASURE, language).await.unwrap();
            found.extend(serde_json::from_value::<Vec<String>>(measured).unwrap());
            self.complaints.extend(found.into_iter().map(|what| format!("{seen}: {what}")));
        }
    }

    /// The button of this name, and the page that follows with these words on it.
    async fn press(&mut self, name: &str, button: &str, words: &str) {
        press(self.browser, button).await;
        reads(self.browser, words).await;
        self.look_at(name).await;
    }
}

#[tokio::test]
async fn every_page_is_one_for_everybody() {
    let Some(axe) = Axe::fetched() else { return };
    let mut stack = Stack::prepare(Settings::new()).await;
    let file = stack.dir().join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    for Words { language, .. } in &Words::ALL {
        let email = format!("ana.{language}@example.com");
        let file = file.display().to_string();
        stack.operate(&["user", "add", &email, "--roles", "marketer", "--password-file", &file]);
    }
    stack.serve("server", "").await;
    stack.ready().await;
    let mut complaints = Vec::new();
    for words in &Words::ALL {
        let visitor = Visitor { language: words.language, has_scripts: true };
        let Some(browser) = Browser::start_for(visitor).await else { return };
        let mut gallery = Gallery::new(&browser, &axe, words);
        preferences(&stack, &mut gallery).await;
        links_that_do_not_work(&stack, &mut gallery).await;
        passwords(&stack, &mut gallery).await;
        subscriptions(&stack, &mut gallery).await;
        complaints.append(&mut gallery.complaints);
        browser.close().await;
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Each state of the preference centre.
async fn preferences(stack: &Stack, gallery: &mut Gallery<'_>) {
    let (api, words) = (stack.client(), gallery.words);
    let names = ["Tea & Biscuits", "Offers", "Events in Dublin"];
    let mut groups = Vec::new();
    for name in names {
        groups.push(api.group(&format!("{name} ({})", words.language)).await);
    }
    let mut many = vec![groups[0]];
    for number in 1..MANY {
        many.push(
            api.group(&format!("Donaudampfschifffahrtsgesellschaftskapitänsnachrichten {number}")).await,
        );
    }
    let address = |name: &str| format!("{name}.{}@example.com", words.language);
    let [several, one, lots] = ["several", "one", "many"].map(address);
    let readers: [(&str, &[Uuid]); 3] = [(&several, &groups), (&one, &groups[..1]), (&lots, &many)];
    let readers = scene::linked(stack, &readers).await;
    let [several, one, many] = &readers[..] else { panic!("three readers") };

    gallery.open("preferences", &several.link).await;
    gallery.press("left-a-group", words.leave, words.left).await;
    gallery.press("returned-to-a-group", words.again, words.returned).await;
    let boxes = gallery.browser.client.find_all(Locator::Css("input[type=checkbox]")).await.unwrap();
    boxes[1].click().await.unwrap();
    gallery.press("saved", words.save, words.saved).await;
    gallery.press("left-everything", words.leave_all, words.left).await;
    // The page still offers a way back, which its link lost meanwhile.
    move_away(&api, several, &address("moved")).await;
    gallery.press("old-link-returns", words.again, words.too_old).await;
    gallery.open("old-link-left-everything", &several.link).await;

    gallery.open("preferences-of-one-group", &one.link).await;
    move_away(&api, one, &address("moved-too")).await;
    gallery.open("old-link", &one.link).await;
    gallery.open("preferences-of-many-groups", &many.link).await;
}

/// To another address: links to the old one only opt out from then on.
async fn move_away(api: &Client, reader: &Linked, email: &str) {
    let path = format!("/subscribers/{}", reader.id);
    api.command(Method::PATCH, &path, &json!({ "email": email })).await.expect(200);
}

async fn links_that_do_not_work(stack: &Stack, gallery: &mut Gallery<'_>) {
    let page = format!("{}/emails/unsubscribe", stack.url());
    gallery.open("no-token", &page).await;
    gallery.open("broken-link", &format!("{page}?token=x")).await;
    gallery.open("test-link", &format!("{page}?token=preview")).await;
    let group = stack.client().group("Elsewhere").await;
    let email = format!("elsewhere.{}@example.com", gallery.words.language);
    let reader = scene::linked(stack, &[(&email, &[group])]).await.remove(0);
    let (head, _) = reader.link.rsplit_once('.').unwrap();
    gallery.open("tampered-link", &format!("{head}.AAAA")).await;
    // A page of another site that would like somebody to leave.
    let prize = "<button name=prize value=1>Win a prize</button>";
    let form = format!("<form method=post action='{}'>{prize}</form>", reader.link);
    gallery.browser.client.goto(&format!("data:text/html,{form}")).await.unwrap();
    gallery.press("foreign-form", "Win a prize", gallery.words.foreign).await;
    stack.take_database_away().await;
    gallery.open("failed", &reader.link).await;
    stack.database_is_back().await;
    eventually("the page is there again", WITHIN, async || {
        let path = reader.link.strip_prefix(&stack.url()).unwrap();
        Client::public(&stack.url()).try_once(path).await.filter(|status| *status == 200)
    })
    .await;
    // Others' requests go over another pool: each of its connections that died meanwhile costs one of them a 503.
    let api = stack.client();
    eventually("no dead connection is left", WITHIN, async || {
        for _ in 0..CONNECTIONS_MAX {
            api.try_once("/groups").await.filter(|status| *status == 200)?;
        }
        Some(())
    })
    .await;
}

async fn passwords(stack: &Stack, gallery: &mut Gallery<'_>) {
    let (public, language) = (Client::public(&stack.url()), gallery.words.language);
    let (email, other) = (format!("ana.{language}@example.com"), format!("bob.{language}@example.com"));
    let ask = public.request(Method::POST, "/auth/password-reset").json(&json!({ "email": email }));
    public.send(ask).await.unwrap().expect(202);
    let link = link_to(stack, &email).await;
    gallery.open("reset", &link).await;
    choose(gallery.browser, "another password of the tests", "and something else").await;
    gallery.press("reset-refused", gallery.words.choose, gallery.words.differ).await;
    choose(gallery.browser, "another password of the tests", "another password of the tests").await;
    gallery.press("reset-done", gallery.words.choose, gallery.words.chosen).await;
    gallery.open("reset-over", &link).await;
    stack.operate(&["user", "invite", &other, "--roles", "analyst"]);
    gallery.open("invitation", &link_to(stack, &other).await).await;
    gallery.open("invitation-over", &format!("{}/auth/invitation?token=pli_x", stack.url())).await;
}

async fn subscriptions(stack: &Stack, gallery: &mut Gallery<'_>) {
    let words = gallery.words;
    let mut groups = Vec::new();
    for name in ["Tea & Biscuits", "Donaudampfschifffahrtsgesellschaftskapitänsnachrichten"] {
        groups.push(stack.client().group(name).await);
    }
    let email = format!("carla.{}@example.com", words.language);
    let fields: String = groups.iter().map(|group| format!("<input name=groups value={group}>")).collect();
    for (name, email, says) in
        [("form-refused", "nobody", words.not_asked), ("form-taken", &email, words.asked)]
    {
        let field = format!("<input name=email value={email}>");
        let form = format!("<form method=post action='{}/subscriptions'>{field}{fields}", stack.url());
        gallery
            .browser
            .client
            .goto(&format!("data:text/html,{form}<button>Join</button></form>"))
            .await
            .unwrap();
        gallery.press(name, "Join", says).await;
    }
    gallery.open("subscription", &link_to(stack, &email).await).await;
    gallery.press("subscription-confirmed", words.subscribe, words.subscribed).await;
    gallery.open("subscription-over", &format!("{}/subscriptions/confirm?token=plc_x", stack.url())).await;
}

/// Of the only mail to this address.
async fn link_to(stack: &Stack, email: &str) -> String {
    eventually("the mail is there", WITHIN, async || {
        let mails = stack.outbox().handovers().into_iter().map(|sent| Mail::read(&sent.file));
        let text = mails.filter(|mail| mail.to.address == email).map(|mail| mail.text).next()?;
        text.split_whitespace().find(|word| word.contains("token=")).map(str::to_owned)
    })
    .await
}

async fn choose(browser: &Browser, password: &str, again: &str) {
    for (field, text) in [("password", password), ("again", again)] {
        browser.client.find(Locator::Id(field)).await.unwrap().send_keys(text).await.unwrap();
    }
}

/// A page that keeps people out is found: else the tests of this file would say nothing.
#[tokio::test]
async fn barriers_are_found() {
    let Some(axe) = Axe::fetched() else { return };
    let Some(browser) = Browser::start().await else { return };
    let wide = "<p style='width:2000px;color:%23ccc;background:white'>pale</p><img src=x><button></button>";
    browser.client.goto(&format!("data:text/html,{wide}")).await.unwrap();
    let mut gallery = Gallery::new(&browser, &axe, &Words::ALL[0]);
    gallery.screenshots = None;
    gallery.look_at("bad").await;
    for expected in ["color-contrast", "image-alt", "button-name", "document-title", "scrolls sideways"] {
        let found = gallery.complaints.iter().filter(|what| what.contains(expected)).count();
        assert_eq!(found, Look::ALL.len(), "{expected}: {:#?}", gallery.complaints);
    }
    browser.close().await;
}
