use crate::support::TestApp;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

fn template() -> Value {
    json!({
        "name": "Letter", "subject": "Hello {{ first_name }}", "preheader": "News", "attributes": ["city"],
        "html": "<p>Hello {{ first_name }}, how is {{ city }}?</p>", "text": "Hello {{ first_name }}",
    })
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_template_is_made_shown_replaced_and_deleted(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let created = app.post("/templates").json(template()).send().await.ok(201);
    let path = format!("/templates/{}", created.id("template_id"));
    let shown = app.get(&path).position(&created.position()).send().await.ok(200);
    assert_eq!(shown.header("etag"), "\"1\"");
    for (field, value) in template().as_object().unwrap() {
        assert_eq!(&shown.json()[field], value, "{field}");
    }
    assert_eq!(shown.json()["mjml"], json!(null));
    let listed = app.get("/templates").send().await.ok(200).json();
    assert_eq!(listed["items"][0]["subject"], "Hello {{ first_name }}");
    assert!(listed["items"][0].get("html").is_none());

    let mjml = json!({ "name": "Letter", "subject": "Hi",
        "mjml": "<mjml><mj-body><mj-section><mj-column><mj-text>Hi {{ name }}</mj-text></mj-column></mj-section></mj-body></mjml>" });
    let replaced = app.put(&path).header("if-match", "\"1\"").json(mjml.clone()).send().await.ok(200);
    assert_eq!((&replaced.json()["mjml"], &replaced.json()["html"]), (&mjml["mjml"], &json!(null)));
    assert_eq!(replaced.header("etag"), "\"2\"");
    app.put(&path).header("if-match", "\"1\"").json(template()).send().await.problem(412);

    let deleted = app.delete(&path).send().await.ok(204);
    app.get(&path).position(&deleted.position()).send().await.problem(404);
    app.post(&format!("{path}/preview")).json(json!({})).send().await.problem(404);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn broken_templates_are_refused_with_the_place(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let with = |field: &str, value: Value| {
        let mut template = template();
        template[field] = value;
        app.post("/templates").json(template).send()
    };
    let broken = with("html", json!("<p>one</p>\n<p>{{ first_name </p>")).await.invalid(&["html"]);
    assert!(broken["errors"][0]["reason"].as_str().unwrap().starts_with("line 2"), "{broken}");
    let unknown = with("subject", json!("Hello {{ frist_name }}")).await.invalid(&["subject"]);
    assert!(unknown["errors"][0]["reason"].as_str().unwrap().contains("first_name"), "{unknown}");
    with("text", json!("{{ contry }}")).await.invalid(&["text"]);
    with("text", json!("nul \u{0}")).await.invalid(&["text"]);
    with("attributes", json!(["Not snake", "city"])).await.invalid(&["attributes"]);
    with("mjml", json!("<mjml></mjml>")).await.invalid(&["mjml"]);
    with("html", json!(null)).await.invalid(&["html"]);
    with("name", json!("")).await.invalid(&["name"]);
    with("subject", json!("two\nlines")).await.invalid(&["subject"]);
    with("bogus", json!(1)).await.invalid(&["bogus"]);
    let mjml = json!({ "name": "x", "subject": "x", "mjml": "<mjml><mj-body><mj-section>" });
    app.post("/templates").json(mjml).send().await.invalid(&["mjml"]);
    assert_eq!(app.events().await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn attributes_that_readers_have_are_known(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let template = json!({ "name": "x", "subject": "x", "html": "<p>{{ favourite_dish }}</p>" });
    app.post("/templates").json(template.clone()).send().await.invalid(&["html"]);
    let reader = json!({ "email": "a@example.com", "attributes": { "Favourite dish": "" }, "consent": { "source": "x" } });
    app.post("/subscribers").json(reader).send().await.ok(201);
    let reader = json!({ "email": "b@example.com", "attributes": { "Favourite dish": "Pierogi" }, "consent": { "source": "x" } });
    app.post("/subscribers").json(reader).send().await.ok(201);
    app.post("/templates").json(template).send().await.ok(201);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_preview_shows_fields_as_data(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |config| {
        config.postal_address = Some("1 High Street\nCork".into())
    })
    .await;
    let id = app.post("/templates").json(template()).send().await.id("template_id");
    let path = format!("/templates/{id}/preview");
    let preview = |body| app.post(&path).json(body).send();

    let fields = json!({ "attributes": { "first_name": "O'Brien <b>{{ 7*7 }}</b>", "city": "浩" } });
    let shown = preview(fields).await.ok(200).json();
    assert_eq!(shown["subject"], "Hello O'Brien <b>{{ 7*7 }}</b>");
    let html = shown["html"].as_str().unwrap();
    assert!(html.contains("&lt;b&gt;{{ 7*7 }}&lt;") && html.contains("浩"), "{html}");
    assert!(html.contains("1 High Street"), "{html}");
    assert!(shown["text"].as_str().unwrap().contains("O'Brien <b>"));

    let new = json!({ "email": "ana@example.com", "name": "Ana Bell", "attributes": { "city": "Cork" },
        "consent": { "source": "test" } });
    let ana = app.post("/subscribers").json(new).send().await.id("subscriber_id");
    let shown = preview(json!({ "subscriber_id": ana })).await.ok(200).json();
    assert_eq!(shown["subject"], "Hello Ana");
    assert!(shown["html"].as_str().unwrap().contains("how is Cork?"));
    let shown =
        preview(json!({ "subscriber_id": ana, "attributes": { "city": "Galway" } })).await.ok(200).json();
    assert!(shown["html"].as_str().unwrap().contains("how is Galway?"));
    // What a reader lacks is empty.
    assert_eq!(preview(json!({})).await.ok(200).json()["subject"], "Hello");

    preview(json!({ "subscriber_id": Uuid::from_u128(1) })).await.invalid(&["subscriber_id"]);
    preview(json!({ "subscriber_id": "x" })).await.invalid(&["subscriber_id"]);
    preview(json!({ "attributes": { "first_name": 5 } })).await.invalid(&["attributes.first_name"]);
    preview(json!({ "bogus": 5 })).await.invalid(&["bogus"]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_previews_links_opt_nobody_out(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let ana = app.subscriber("ana@example.com", &[]).await;
    let id = app.template().await;
    let preview =
        app.post(&format!("/templates/{id}/preview")).json(json!({ "subscriber_id": ana })).send().await;
    let text = preview.ok(200).json()["text"].as_str().unwrap().to_owned();
    let (_, link) = text.split_once("https://mail.example.org").expect("no link to opt out");
    let link = link.split_whitespace().next().unwrap();
    let events = app.events().await;
    app.post(link).anonymous().form("List-Unsubscribe=One-Click").send().await.ok(200);
    assert_eq!(app.events().await, events, "nobody was opted out");
}

/// What is allowed and seldom meant is told, and keeps nobody from saving.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_is_seldom_meant_is_told_at_save_and_preview(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let codes = |answer: Value| -> Vec<Value> {
        answer["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].clone()).collect()
    };
    let mut template = template();
    let fine = app.post("/templates").json(template.clone()).send().await.ok(201);
    assert_eq!(codes(fine.json()), [""; 0]);
    template["html"] = json!("<p>Dear *|FNAME|*</p>\n<img src='https://pictures.example/a.png'>");
    let expected = ["image_without_alt", "foreign_image", "foreign_merge_tag"];
    let odd = app.post("/templates").json(template.clone()).send().await.ok(201);
    assert_eq!(codes(odd.json()), expected);
    assert_eq!(odd.json()["warnings"][0]["place"], "html, line 2");
    let path = format!("/templates/{}", fine.id("template_id"));
    let replaced = app.put(&path).json(template).send().await.ok(200);
    assert_eq!(codes(replaced.json()), expected);
    let previewed = app.post(&format!("{path}/preview")).json(json!({})).send().await.ok(200);
    assert_eq!(codes(previewed.json()), expected);
}

/// What the compiler finds is told at save and preview too, and what is true by mistake for the reader of a preview.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn styles_that_reach_nothing_and_texts_that_count_as_true_are_told(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let mut template = template();
    template["html"] = Value::Null;
    template["attributes"] = json!(["vip", "plan"]);
    template["mjml"] = json!(
        "<mjml><mj-head>\n<mj-style inline=\"inline\">a:hover { color: red }</mj-style></mj-head><mj-body><mj-section><mj-column>\n\
         <mj-text>{% if vip %}Gold{% endif %}\n{% if plan %}{{ plan }}{% endif %}</mj-text></mj-column></mj-section></mj-body></mjml>"
    );
    let told = |answer: Value| -> Vec<String> {
        let warnings = answer["warnings"].as_array().unwrap().iter();
        warnings
            .map(|one| format!("{} {}", one["code"].as_str().unwrap(), one["place"].as_str().unwrap()))
            .collect()
    };
    let saved = app.post("/templates").json(template.clone()).send().await.ok(201);
    let expected = ["not_inlined mjml, line 2", "text_as_truth mjml, line 3"];
    assert_eq!(told(saved.json()), expected);
    let path = format!("/templates/{}", saved.id("template_id"));
    let replaced = app.put(&path).json(template).send().await.ok(200);
    assert_eq!(told(replaced.json()), expected);
    let preview = app.post(&format!("{path}/preview"));
    let previewed = preview.json(json!({ "attributes": { "vip": "1", "plan": "no" } })).send().await.ok(200);
    assert_eq!(told(previewed.json()), [expected[0], expected[1], "text_as_truth mjml, line 4"]);
}
