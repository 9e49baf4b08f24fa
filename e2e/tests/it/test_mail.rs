//! A template's test mail, from the request to the file that a mail program opens.

use crate::scene;
use e2e::{Export, Mail, Settings, Stack, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_test_goes_to_colleagues_and_to_nobody_who_opted_out() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", 2)).await;
    let campaign = api.launch(&draft).await;
    api.completes(campaign, WITHIN).await;
    let sent = stack.outbox().handovers();
    let (leaves, stays) = (Mail::read(&sent[0].file), Mail::read(&sent[1].file));
    let (_, token) =
        leaves.one_click_link().split_once("token=").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let everything = json!({ "global": true });
    api.with_bearer(&token)
        .command(reqwest::Method::POST, "/emails/unsubscribe", &everything)
        .await
        .expect(204);

    let path = format!("/templates/{}/test", draft.template);
    let to = json!({ "to": [leaves.to.address, stays.to.address, "editor@example.com"] });
    let dispatch = api.post(&path, &to).await.expect(202).id("dispatch_id");
    let shown: Value = eventually("the test was sent", WITHIN, async || {
        let shown: Value = api.get(&format!("/dispatches/{dispatch}")).await;
        let pending = shown["recipients"].as_array().unwrap().iter().any(|r| r["state"] == "pending");
        (!pending).then_some(shown)
    })
    .await;
    let states: Vec<_> = shown["recipients"].as_array().unwrap().iter().map(|r| &r["state"]).collect();
    assert_eq!(states, ["suppressed", "accepted", "accepted"], "{shown}");

    let sent = stack.outbox().handovers().into_iter().filter(|handover| handover.dispatch == dispatch);
    let mails: Vec<Mail> = sent.map(|handover| Mail::read(&handover.file)).collect();
    let to = |address: &str| mails.iter().find(|mail| mail.to.address == address).expect("a mail");
    assert_eq!(mails.len(), 2);
    assert_eq!(
        to(&stays.to.address).subject,
        format!("[Test] {}", stays.subject),
        "with the reader's own fields"
    );
    let editors = to("editor@example.com");
    assert_eq!(editors.subject, "[Test] A letter for");
    // What a mail program would press on a test: it is told that all is well, and nobody is opted out.
    let page = api.one_click(&editors.one_click_link()).await.expect(200).body;
    assert!(page.contains("link of a test mail"), "{page}");
    let link = editors.text.split_whitespace().find(|word| word.contains("token=")).unwrap();
    api.one_click(link.trim_matches(['<', '>', '(', ')'])).await.expect(200);
}
