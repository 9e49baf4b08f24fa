//! What most tests begin with: readers in a group, and a template.

use e2e::{Client, Draft, Export, Mail, Stack};
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

const SENT_WITHIN: Duration = Duration::from_secs(60);

/// A group with the readers of an export, all of them new, and a short template.
pub async fn readers(api: &Client, export: &Export) -> Draft {
    let group = api.group("Readers").await;
    let import = api.imported(group, &export.csv).await;
    assert_eq!((import.rows, import.created), (export.rows, export.rows), "{import:?}");
    Draft { template: template(api).await, group, ..Draft::default() }
}

pub async fn template(api: &Client) -> Uuid {
    let template = json!({
        "name": "Letter",
        "subject": "A letter for {{ first_name }}",
        "html": "<p>Dear {{ first_name }},</p><p>a letter.</p><p><a href=\"{{ unsubscribe_url }}\">No more</a></p>",
    });
    api.template(&template).await
}

/// Somebody with the link of a mail that they got.
pub struct Linked {
    pub id: Uuid,
    pub link: String,
}

impl Linked {
    pub fn token(&self) -> &str {
        self.link.split_once("token=").expect("a token").1
    }
}

/// Readers of these addresses, each in these groups, and in the order of the addresses their links, from a letter to the
/// first of all groups.
pub async fn linked(stack: &Stack, readers: &[(&str, &[Uuid])]) -> Vec<Linked> {
    let api = stack.client();
    let mut ids = Vec::new();
    for (email, groups) in readers {
        let new = json!({ "email": email, "groups": groups, "consent": { "source": "e2e" } });
        ids.push(api.post("/subscribers", &new).await.expect(201).id("subscriber_id"));
    }
    let (template, group) = (template(&api).await, readers[0].1[0]);
    let draft = Draft { template, group, mailer: Some("outbox"), ..Draft::default() };
    let campaign = api.launch(&draft).await;
    api.completes(campaign, SENT_WITHIN).await;
    let dispatches: Vec<Uuid> = stack.trail().dispatches(campaign).await.iter().map(|d| d.id).collect();
    let sent = stack.outbox().handovers();
    let link = |id: Uuid| {
        let mut mails = sent.iter().filter(|mail| dispatches.contains(&mail.dispatch));
        let mail = mails.find(|mail| mail.subscriber == id).expect("a mail to each reader");
        Mail::read(&mail.file).one_click_link()
    };
    ids.into_iter().map(|id| Linked { id, link: link(id) }).collect()
}
