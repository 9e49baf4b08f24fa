//! Input that can't be taken gets the contract's answer, and leaves nothing half done.

use crate::scene;
use chrono::TimeDelta;
use e2e::{Client, Draft, Export, Settings, Stack, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// All that could be left behind: lists, and the events themselves.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    lists: Vec<(&'static str, usize)>,
    events: i64,
    /// What an upload that was refused could leave.
    spooled: i64,
}

impl Counts {
    /// Once every read model has done all that the log holds: lists are behind for a moment after a command.
    async fn of(stack: &Stack) -> Self {
        let api = stack.client();
        eventually("the read models are up to date", Duration::from_secs(20), async || {
            let ready: Value = api.query("/health/ready").await.expect(200).json();
            let pending = "SELECT EXISTS (SELECT FROM pending)";
            let numbered = !sqlx::query_scalar::<_, bool>(pending).fetch_one(stack.pool()).await.unwrap();
            let models = ready["read_models"].as_array().expect("the read models");
            (numbered && models.iter().all(|model| model["lag_events"] == 0)).then_some(())
        })
        .await;
        let mut lists = Vec::new();
        for list in ["/groups", "/templates", "/emails", "/subscribers", "/imports"] {
            lists.push((list, api.all::<Value>(list).await.len()));
        }
        let count = |sql: &'static str| async move {
            sqlx::query_scalar::<_, i64>(sql).fetch_one(stack.pool()).await.unwrap()
        };
        let events = count("SELECT count(*) FROM events").await;
        Self { lists, events, spooled: count("SELECT count(*) FROM import_chunks").await }
    }
}

#[tokio::test]
async fn bad_input_gets_its_answer_and_leaves_nothing_half_done() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", 3)).await;
    let campaign = api.draft(&draft).await;
    let before = Counts::of(&stack).await;

    bad_imports(&api, draft.group).await;
    bad_templates(&api).await;
    bad_campaigns(&api, &draft).await;
    bad_times(&api, &draft, campaign).await;
    bad_requests(&api).await;

    assert_eq!(Counts::of(&stack).await, before, "something was left behind");
}

async fn bad_imports(api: &Client, group: Uuid) {
    let import = |query: String, csv: &'static [u8]| async move { api.upload(&query, csv).await };
    let ours = format!("group={group}");
    let problem = import(ours.clone(), b"Name,City\r\nAna,Oslo\r\n").await.problem(422);
    let said = problem.to_string();
    assert!(said.contains("address") && said.contains("Name") && said.contains("City"), "{problem}");
    import(ours.clone(), b"").await.problem(422);
    import(ours.clone(), b"email\r\n\"open,quote\r\n").await.problem(422);
    import(ours.clone(), b"email,town\r\na@example.com,K\xf6ln\r\n").await.problem(422);
    import(ours.clone() + "&status=gone", b"email\r\n").await.invalid("status");
    import(format!("group={}", e2e::new_id()), b"email\r\na@example.com\r\n").await.invalid("group");
}

async fn bad_templates(api: &Client) {
    let html = |html: &str| json!({ "name": "Bad", "subject": "x", "html": html });
    for (template, field) in [
        (html("<p>{% if first_name %}</p>"), "html"),
        (html("<p>{{ frist_name }}</p>"), "html"),
        (json!({ "name": "Bad", "subject": "{{ frist_name }}", "html": "<p>x</p>" }), "subject"),
        (json!({ "name": "Bad", "subject": "x", "mjml": "<mjml><mj-body><mj-secti" }), "mjml"),
        (json!({ "name": "Bad", "subject": "x", "html": "<p>x</p>", "text": "{{ 1 + }}" }), "text"),
        (json!({ "subject": "x", "html": "<p>x</p>" }), "name"),
    ] {
        api.post("/templates", &template).await.invalid(field);
    }
    let unknown = api.post("/templates", &html("<p>\n{{ frist_name }}</p>")).await.invalid("html");
    assert!(
        unknown["errors"][0]["reason"].as_str().unwrap().contains("first_name"),
        "names the nearest: {unknown}"
    );
}

async fn bad_campaigns(api: &Client, draft: &Draft) {
    let nobody = e2e::new_id();
    api.post("/emails", &json!({ "template": draft.template, "group": nobody })).await.invalid("group");
    api.post("/emails", &json!({ "template": nobody, "group": draft.group })).await.invalid("template");
    let mailer = json!({ "template": draft.template, "group": draft.group, "mailer": "pigeon" });
    api.post("/emails", &mailer).await.invalid("mailer");
    let typo = json!({ "template": draft.template, "group": draft.group, "tiem": e2e::now() });
    api.post("/emails", &typo).await.invalid("tiem");
    api.query(&format!("/emails/{nobody}")).await.problem(404);
    api.schedule(nobody, e2e::now()).await.problem(404);
}

/// `POST /emails` with a bad time makes no draft either.
async fn bad_times(api: &Client, draft: &Draft, campaign: Uuid) {
    let past = e2e::now() - TimeDelta::minutes(2);
    api.schedule(campaign, past).await.invalid("datetime");
    let timed = |time: Value| json!({ "template": draft.template, "group": draft.group, "time": time });
    api.post("/emails", &timed(json!(past))).await.invalid("time");
    let no_offset = (e2e::now() + TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%S").to_string();
    api.post("/emails", &timed(json!(no_offset))).await.invalid("time");
    let schedule = json!({ "campaign_id": campaign, "datetime": no_offset });
    api.post("/schedule", &schedule).await.invalid("datetime");
    assert_eq!(api.campaign(campaign).await.status, "draft");
}

async fn bad_requests(api: &Client) {
    let post = |body: &'static str| async move {
        let request =
            api.request(Method::POST, "/groups").header("Content-Type", "application/json").body(body);
        api.send(request).await.unwrap()
    };
    post("{\"name\": ").await.problem(400);
    post("{\"name\": 5}").await.invalid("name");
    api.query("/groups?limit=501").await.invalid("limit");
    api.query("/nowhere").await.problem(404);
    api.with_bearer("not-the-key").query("/groups").await.problem(401);
    api.anonymous().query("/groups").await.problem(401);
    api.anonymous().query("/preferences?token=nonsense").await.problem(401);
}

#[tokio::test]
async fn an_empty_group_completes_with_a_reason() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let draft =
        Draft { group: api.group("Nobody").await, template: scene::template(&api).await, ..Draft::default() };
    let campaign = api.launch(&draft).await;
    let ended = api.reaches(campaign, "completed", Duration::from_secs(30)).await;
    assert_eq!(ended.status_reason.as_deref(), Some("empty_audience"));
    assert_eq!(api.report(campaign).await.planned, 0);
    assert_eq!(stack.outbox().count(), 0);
}

#[tokio::test]
async fn a_cancelled_campaign_takes_no_new_time() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", 1)).await;
    let campaign = api.draft(&Draft { time: Some(e2e::now() + TimeDelta::hours(1)), ..draft }).await;
    api.tell(campaign, "cancel").await.expect(202);
    let before = stack.trail().campaign(campaign).await;
    let problem = api.schedule(campaign, e2e::now()).await.problem(409);
    assert_eq!(problem["status"], "cancelled", "{problem}");
    assert_eq!(stack.trail().campaign(campaign).await, before);
    assert_eq!(api.campaign(campaign).await.status, "cancelled");
}

#[tokio::test]
async fn a_stale_version_is_refused() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let path = format!("/groups/{}", api.group("One").await);
    let seen = api.query(&path).await.expect(200).header("etag").unwrap().to_owned();
    let rename = |name: &'static str, etag: String| {
        let request =
            api.request(Method::PATCH, &path).header("If-Match", etag).json(&json!({ "name": name }));
        let api = &api;
        async move { api.send(request).await.unwrap() }
    };
    rename("Two", seen.clone()).await.expect(200);
    rename("Three", seen).await.problem(412);
    let group: Value = api.get(&path).await;
    assert_eq!(group["name"], "Two");
}

#[tokio::test]
async fn a_key_stands_for_one_body() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let (one, two) = (json!({ "name": "One" }), json!({ "name": "Two" }));
    let first = api.keyed(Method::POST, "/groups", &one, "a key").await.expect(201).id("group_id");
    let again = api.keyed(Method::POST, "/groups", &one, "a key").await.expect(201).id("group_id");
    assert_eq!(first, again, "the first answer again");
    let problem = api.keyed(Method::POST, "/groups", &two, "a key").await.problem(422);
    assert!(problem["type"].as_str().unwrap().contains("idempotency-key"), "{problem}");
    assert_eq!(api.all::<Value>("/groups").await.len(), 1);

    // An import's body is part of it as well.
    let import = |csv: &'static [u8]| {
        let request = api.request(Method::POST, &format!("/subscribers/import?group={first}"));
        let request =
            request.header("Idempotency-Key", "an import").header("Content-Type", "text/csv").body(csv);
        let api = &api;
        async move { api.send(request).await.unwrap() }
    };
    let once = import(b"email\na@example.com\n").await.expect(202).id("import_id");
    assert_eq!(import(b"email\na@example.com\n").await.expect(202).id("import_id"), once);
    import(b"email\nb@example.com\n").await.problem(422);
    assert_eq!(api.all::<Value>("/imports").await.len(), 1);
}
