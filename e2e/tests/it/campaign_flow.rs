//! The main job by REST alone: a dirty export is imported, a letter goes to everybody in it, a reader opts out by the
//! mail's own link and is not written to again, and the reports add up.

use crate::account::Account;
use e2e::{Answer, Client, Draft, Export, Handover, Mail, Random, Reader, Settings, Stack, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// The first 132 hold each pair of odd names.
const ROWS: u64 = 600;
const SENT_WITHIN: Duration = Duration::from_secs(90);
/// A display name with all that a header has to quote or encode.
const DISPLAY_NAME: &str = "Łukasz \"JJ\" O'Brien, Jr.";

const FIELDS: &str = "[{{ first_name }}] [{{ last_name }}] [{{ city }}]";

#[tokio::test]
async fn the_main_job_from_a_dirty_export_to_reports_that_add_up() {
    let mut random = Random::from_environment("campaign_flow");
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let group = api.group("Łetters & <more>").await;
    let mut export = Export::dirty(ROWS, &mut random);
    import_exactly(&api, group, &export).await;
    import_again_changes_nothing(&api, group, &export).await;
    add_by_hand(&api, group, &mut export).await;

    let template = html_template(&api).await;
    let reader = export.readers.values().find(|reader| reader.last_name == "<b>Bold</b>").unwrap();
    preview(&api, template, reader).await;

    let first = send(&api, Draft { template, group, ..Draft::default() }).await;
    let account = Account::of(&stack, first).await;
    assert_eq!(account.report.accepted, export.readers.len() as u64, "{:?}", account.report);
    assert!(account.recipients.values().all(|recipient| recipient.authorized_by.is_some()));
    let mails = mails_of(&account, stack.outbox().handovers());
    assert_eq!(mails.len(), export.readers.len());
    for (address, reader) in &export.readers {
        check_mail(&mails[address], reader, group, &stack.url());
    }
    check_display_name(&mails["by-hand@example.com"]);

    let opted_out = mails[&reader.address.to_lowercase()].one_click_link();
    opt_out_by_one_click(&api, &opted_out, group).await;
    eventually("the opt-out is in the report", Duration::from_secs(10), async || {
        (api.report(first).await.unsubscribed == 1).then_some(())
    })
    .await;

    let template = mjml_template(&api).await;
    let second = send(&api, Draft { template, group, ..Draft::default() }).await;
    let account = Account::of(&stack, second).await;
    let left = export.readers.len() as u64 - 1;
    assert_eq!((account.report.accepted, account.report.planned - account.report.suppressed), (left, left));
    let mails = mails_of(&account, stack.outbox().handovers());
    assert!(!mails.contains_key(&reader.address.to_lowercase()), "written to after the opt-out");
    let state = account.recipients.values().find(|r| r.address.eq_ignore_ascii_case(&reader.address));
    assert!(state.is_none_or(|recipient| recipient.state == "suppressed"), "{state:?}");
    for (address, mail) in &mails {
        check_derived(mail, &export.readers[address], &stack.url());
    }
    opt_out_of_everything(&api, &mails["by-hand@example.com"].one_click_link()).await;
}

async fn import_exactly(api: &Client, group: Uuid, export: &Export) {
    let import = api.import(group, &export.csv).await;
    let status = api.import_ended(import, SENT_WITHIN).await;
    let rejected: Vec<u64> = api.rejected_rows(import).await.iter().map(|row| row.line).collect();
    assert_eq!(rejected, export.rejected_lines, "the lines of rejected rows");
    assert_eq!(status.rows, export.rows);
    assert_eq!(status.created, export.readers.len() as u64, "{status:?}");
    assert_eq!((status.updated, status.unchanged), (export.updated, export.unchanged), "{status:?}");
    assert_eq!(status.rejected, export.rejected_lines.len() as u64);
    let listed = members(api, group, export.readers.len()).await;
    let addresses = listed.iter().map(|reader| reader["email"].as_str().unwrap().to_lowercase());
    assert_eq!(addresses.collect::<BTreeSet<_>>(), export.readers.keys().cloned().collect());
}

/// The read model follows an import's last rows: nothing says by which position.
async fn members(api: &Client, group: Uuid, count: usize) -> Vec<Value> {
    let path = format!("/subscribers?group={group}");
    eventually(&format!("{count} readers are listed"), SENT_WITHIN, async || {
        let listed: Vec<Value> = api.all(&path).await;
        assert!(listed.len() <= count, "{} readers are listed, not {count}", listed.len());
        (listed.len() == count).then_some(listed)
    })
    .await
}

/// But for readers whom the export itself says two things about.
async fn import_again_changes_nothing(api: &Client, group: Uuid, export: &Export) {
    let status = api.imported(group, &export.csv).await;
    assert_eq!((status.created, status.rows), (0, export.rows), "{status:?}");
    assert_eq!(status.rejected, export.rejected_lines.len() as u64);
    members(api, group, export.readers.len()).await;
}

async fn add_by_hand(api: &Client, group: Uuid, export: &mut Export) {
    let reader = Reader {
        address: "By-Hand@example.com".into(),
        first_name: "Łukasz".into(),
        last_name: "O'Brien".into(),
        city: "Łódź".into(),
    };
    let subscriber = json!({
        "email": reader.address, "name": DISPLAY_NAME, "groups": [group], "consent": { "source": "e2e" },
        "attributes": { "first_name": reader.first_name, "last_name": reader.last_name, "city": reader.city },
    });
    api.post("/subscribers", &subscriber).await.expect(201);
    api.post("/subscribers", &subscriber).await.problem(409);
    let found: Vec<Value> = api.all("/subscribers?email=BY-HAND@EXAMPLE.COM").await;
    assert_eq!(found.len(), 1, "found by another spelling of the address");
    export.readers.insert("by-hand@example.com".into(), reader);
}

async fn html_template(api: &Client) -> Uuid {
    let template = json!({
        "name": "Letter in HTML",
        "subject": "{{ first_name }}, a letter of {{ group.name }}",
        "html": format!("<html><body><p>{FIELDS}</p><a href=\"{{{{ unsubscribe_url }}}}\">No more</a></body></html>"),
        "text": format!("{FIELDS}\nNo more: {{{{ unsubscribe_url }}}}\n"),
    });
    api.template(&template).await
}

/// Without a text part and without a way out: both are added.
async fn mjml_template(api: &Client) -> Uuid {
    let mjml = format!(
        "<mjml><mj-body><mj-section><mj-column><mj-text>Hello {FIELDS}</mj-text></mj-column></mj-section></mj-body></mjml>"
    );
    api.template(&json!({ "name": "Letter in MJML", "subject": "A second letter", "mjml": mjml })).await
}

async fn preview(api: &Client, template: Uuid, reader: &Reader) {
    let found: Vec<Value> =
        api.all(&format!("/subscribers?email={}", reader.address.replace('+', "%2B"))).await;
    let path = format!("/templates/{template}/preview");
    let preview: Value =
        api.post(&path, &json!({ "subscriber_id": found[0]["subscriber_id"] })).await.expect(200).json();
    let text = preview["text"].as_str().unwrap();
    assert!(text.contains(&fields_of(reader)), "{text}");
    let html = preview["html"].as_str().unwrap();
    assert!(!html.contains("<b>Bold") && html.contains("&lt;b&gt;Bold"), "{html}");
    let attributes = json!({ "attributes": { "first_name": "<i>{{ 6*7 }}</i>" } });
    let preview: Value = api.post(&path, &attributes).await.expect(200).json();
    let (text, html) = (preview["text"].as_str().unwrap(), preview["html"].as_str().unwrap());
    assert!(text.contains("[<i>{{ 6*7 }}</i>]") && html.contains("[&lt;i&gt;{{ 6*7 }}"), "{preview}");
}

/// A draft first, then its time, as a form would.
async fn send(api: &Client, draft: Draft) -> Uuid {
    let created: Value = api.post("/emails", &json!(draft)).await.expect(201).json();
    assert_eq!(created["status"], "draft");
    let campaign: Uuid = created["campaign_id"].as_str().unwrap().parse().unwrap();
    let due = e2e::now();
    let scheduled: Value = api.schedule(campaign, due).await.expect(202).json();
    assert_eq!(scheduled["campaign_id"], json!(campaign));
    let answered: chrono::DateTime<chrono::Utc> =
        serde_json::from_value(scheduled["scheduled_for"].clone()).unwrap();
    assert_eq!(answered.timestamp_micros(), due.timestamp_micros());
    api.completes(campaign, SENT_WITHIN).await;
    campaign
}

/// By address, each read as a mail program would.
fn mails_of(account: &Account, ledger: Vec<Handover>) -> BTreeMap<String, Mail> {
    let ledger = account.hand_overs(ledger);
    account.check_intents(&ledger);
    account.check_once(&ledger);
    ledger
        .iter()
        .map(|handover| {
            let mail = Mail::read(&handover.file);
            assert!(mail.to.address.eq_ignore_ascii_case(&account.recipients[&handover.subscriber].address));
            assert_eq!(mail.header("X-Postledger-Dispatch"), Some(handover.dispatch.to_string()));
            (mail.to.address.to_lowercase(), mail)
        })
        .collect()
}

fn fields_of(reader: &Reader) -> String {
    format!("[{}] [{}] [{}]", reader.first_name, reader.last_name, reader.city)
}

fn check_mail(mail: &Mail, reader: &Reader, group: Uuid, url: &str) {
    assert_eq!(mail.to.address, reader.address, "the local part as it was written, the domain in A-labels");
    assert_eq!(mail.from.address, "newsletter@localhost.localdomain");
    assert_eq!(mail.subject, format!("{}, a letter of Łetters & <more>", reader.first_name));
    assert!(mail.text.contains(&fields_of(reader)), "{reader:?}: {}", mail.text);
    assert!(mail.html_seen().contains(&fields_of(reader)), "{reader:?}: {}", mail.html);
    check_escaped(mail);
    let link = mail.one_click_link();
    assert!(link.starts_with(&format!("{url}/emails/unsubscribe?token=")), "{link}");
    assert!(mail.text.contains(&link), "the text's link is another one: {}", mail.text);
    assert!(mail.html_seen().contains(&link), "the HTML's link is another one: {}", mail.html);
    let list = mail.header("List-Id").unwrap_or_default();
    assert!(list.contains(&group.to_string()), "List-Id: {list}");
}

/// What a field holds is data, in both parts.
fn check_escaped(mail: &Mail) {
    for tag in ["<b>Bold", "<script"] {
        assert!(!mail.html.contains(tag), "{tag} is not escaped: {}", mail.html);
    }
    assert!(!mail.text.contains("[49]") && !mail.html.contains("[49]"), "a field was run: {}", mail.text);
}

fn check_derived(mail: &Mail, reader: &Reader, url: &str) {
    // A derived text is wrapped anew.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = words(&format!("Hello {}", fields_of(reader)));
    assert!(words(&mail.text).contains(&expected), "{reader:?}: {}", mail.text);
    assert!(words(&mail.html_seen()).contains(&expected), "{reader:?}: {}", mail.html);
    check_escaped(mail);
    let way_out = format!("{url}/emails/unsubscribe?token=");
    assert!(mail.text.contains(&way_out) && mail.html_seen().contains(&way_out), "no footer: {}", mail.html);
}

fn check_display_name(mail: &Mail) {
    assert_eq!(mail.to.name.as_deref(), Some(DISPLAY_NAME));
}

/// As RFC 8058 has it: a form, 200, no redirect and no cookie; looking at the link changes nothing.
async fn opt_out_by_one_click(api: &Client, link: &str, group: Uuid) {
    let page = api.anonymous().query(link).await.expect(200);
    assert!(page.header("content-type").unwrap_or_default().starts_with("text/html"));
    let subscribed = |preferences: Value| {
        let groups = preferences["groups"].as_array().unwrap();
        groups.iter().find(|g| g["group_id"] == json!(group)).map(|g| g["subscribed"] == true)
    };
    let preferences: Value =
        reader_call(api, Method::GET, "/preferences", link, &Value::Null).await.expect(200).json();
    assert_eq!(preferences["global_opt_out"], false);
    assert_eq!(subscribed(preferences), Some(true), "a look at the link changed something");
    for _ in 0..2 {
        let answer = api.one_click(link).await.expect(200);
        assert_eq!((answer.header("location"), answer.header("set-cookie")), (None, None));
    }
    let preferences: Value =
        reader_call(api, Method::GET, "/preferences", link, &Value::Null).await.expect(200).json();
    assert_eq!(subscribed(preferences), Some(false));
}

async fn opt_out_of_everything(api: &Client, link: &str) {
    let path = "/emails/unsubscribe";
    reader_call(api, Method::POST, path, link, &json!({ "global": false })).await.problem(422);
    reader_call(api, Method::POST, path, link, &json!({ "global": true })).await.expect(204);
    let preferences: Value =
        reader_call(api, Method::GET, "/preferences", link, &Value::Null).await.expect(200).json();
    assert_eq!(preferences["global_opt_out"], true);
    let masked = preferences["subscriber"]["email_masked"].as_str().unwrap();
    assert!(!masked.is_empty() && !masked.eq_ignore_ascii_case("by-hand@example.com"), "{masked}");
}

/// A call by the reader, whose only credential is the link's token.
async fn reader_call(api: &Client, method: Method, path: &str, link: &str, body: &Value) -> Answer {
    let token = link.split_once("token=").unwrap().1;
    api.with_bearer(token).command(method, path, body).await
}
