//! Media over real processes: by a browser on another origin, by a store that is not ours, and in a mail.

use e2e::{Browser, Client, Draft, Mail, MediaStore, Moto, Settings, Stack, eventually, serve_page};
use fantoccini::Locator;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const PAGE: &str = include_str!("../../src/upload.html");
const WAIT: Duration = Duration::from_secs(30);
/// A PNG of 3 by 2 pixels, and its SHA-256.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x03\0\0\0\x02\x08\x02\0\0\0";
const PNG_SHA256: &str = "7c58cf77d0f67776c9caaa28d9742d5a013bd9247b9be0f3e3f24fec74f337a1";

/// Announced, uploaded and completed, by a program.
pub async fn upload(api: &Client) -> (Uuid, String) {
    let file = json!({ "filename": "a.png", "content_type": "image/png", "size_bytes": PNG.len(), "sha256": PNG_SHA256 });
    let announced = api.post("/media", &file).await.expect(201);
    let id = announced.id("media_id");
    let upload: Value = announced.json();
    let upload = &upload["upload"];
    let mut put = api.anonymous().request(Method::PUT, upload["url"].as_str().unwrap()).body(PNG);
    for (name, value) in upload["headers"].as_object().unwrap() {
        put = put.header(name, value.as_str().unwrap());
    }
    api.anonymous().send(put).await.unwrap().expect(200);
    let completed: Value = api.post(&format!("/media/{id}/complete"), &json!({})).await.expect(200).json();
    (id, completed["url"].as_str().unwrap().to_owned())
}

pub async fn start(settings: Settings) -> Stack {
    let mut stack = Stack::prepare(settings).await;
    let said = stack.operate(&["media", "setup"]);
    assert!(said.contains("made the bucket"), "{said}");
    assert!(stack.operate(&["media", "setup"]).contains("the bucket is there"));
    stack.serve("server", "").await;
    stack.ready().await;
    stack
}

/// A page may upload from the origins that are set, by what `postledger media setup` told the store, and from no other.
#[tokio::test]
async fn a_browser_uploads_from_another_origin() {
    let Some(browser) = Browser::start().await else { return };
    let store = MediaStore::start().await;
    let (frontend, foreign) = (serve_page(PAGE.to_owned()), serve_page(PAGE.to_owned()));
    let settings = Settings::new().media(&store).set("api.allowed_origins", json!([frontend]));
    let stack = start(settings).await;
    let page = &browser.client;
    let shown = async |origin: &str| -> Value {
        let with = json!({ "api": stack.url(), "bearer": stack.api_key }).to_string();
        let fragment: String = with.bytes().map(|byte| format!("%{byte:02X}")).collect();
        page.goto(&format!("{origin}/#{fragment}")).await.unwrap();
        eventually("the page is done", WAIT, async || {
            let state = page.find(Locator::Id("state")).await.ok()?.text().await.ok()?;
            serde_json::from_str(&state).ok()
        })
        .await
    };
    let medium = shown(&frontend).await;
    assert_eq!(
        (&medium["status"], &medium["width"], &medium["height"]),
        (&json!("uploaded"), &json!(20), &json!(10)),
        "{medium}"
    );
    page.goto(medium["url"].as_str().unwrap()).await.unwrap();
    assert!(page.find(Locator::Css("img")).await.is_ok(), "the browser shows the image");
    let refused = shown(&foreign).await;
    assert!(refused["error"].as_str().is_some_and(|error| error.contains("Failed to fetch")), "{refused}");
    browser.close().await;
}

/// An S3 and a CloudFront that know nothing of us.
#[tokio::test]
async fn another_s3_and_cloudfront_do_as_well() {
    let Some(moto) = Moto::start().await else { return };
    let distribution = moto.distribute().await;
    let stack = start(Settings::new().moto(&moto, &distribution)).await;
    let api = stack.client();
    let (id, url) = upload(&api).await;
    let path = format!("/{}", url.split_once("/postledger-media/").unwrap().1);
    assert_eq!(moto.invalidated(&distribution).await, [path.as_str()]);
    api.command(Method::DELETE, &format!("/media/{id}"), &json!({})).await.expect(204);
    assert_eq!(moto.invalidated(&distribution).await, [path.as_str(), path.as_str()]);
    assert_eq!(api.anonymous().query(&url).await.status, 404);
}

#[tokio::test]
async fn a_mail_shows_a_medium() {
    let store = MediaStore::start().await;
    let stack = start(Settings::new().media(&store)).await;
    let api = stack.client();
    let (id, url) = upload(&api).await;
    let html = format!("<p>Hello</p><img src=\"{{{{ media('{id}') }}}}\" alt=\"Summer\">");
    let template =
        api.post("/templates", &json!({ "name": "Image", "subject": "Hello", "html": html })).await;
    let template = template.expect(201).id("template_id");
    let group = api.group("Readers").await;
    let reader = json!({ "email": "reader@example.com", "groups": [group], "consent": { "source": "test" } });
    api.post("/subscribers", &reader).await.expect(201);
    let campaign = api.launch(&Draft { template, group, ..Draft::default() }).await;
    api.completes(campaign, WAIT).await;
    let mail = Mail::read(&stack.outbox().handovers()[0].file);
    assert!(mail.html_seen().contains(&format!("src=\"{url}\"")), "{}", mail.html_seen());
    assert_eq!(api.anonymous().query(&url).await.status, 200);
}
