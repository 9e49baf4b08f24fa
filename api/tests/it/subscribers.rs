use crate::support::TestApp;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_subscriber_is_added_shown_found_and_changed(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Readers").await;
    let new = json!({
        "email": " Ana@Example.com ", "name": "Ana O'Brien", "attributes": { "Home City": "Łódź" }, "groups": [group],
        "consent": { "source": "checkout", "wording_version": "2026-03", "given_from": "203.0.113.7" },
    });
    let added = app.post("/subscribers").json(new).send().await.ok(201);
    let id = added.id("subscriber_id");
    let path = format!("/subscribers/{id}");
    app.get(&path).position(&added.position()).send().await.ok(200);
    // The name is the group's own.
    app.settled().await;
    let shown = app.get(&path).send().await.ok(200);
    let subscriber = shown.json();
    assert_eq!(subscriber["email"], "Ana@example.com");
    assert_eq!(subscriber["name"], "Ana O'Brien");
    assert_eq!(subscriber["attributes"], json!({ "home_city": "Łódź" }));
    assert_eq!(subscriber["status"], "active");
    assert_eq!(subscriber["groups"], json!([{ "group_id": group, "name": "Readers", "subscribed": true }]));
    assert_eq!(shown.header("etag"), "\"1\"");

    for found in ["email=ANA%40example.com", &format!("group={group}&status=active")] {
        let list = app.get(&format!("/subscribers?{found}")).send().await.ok(200).json();
        assert_eq!(list["items"], json!([subscriber]), "{found}");
    }
    for missed in ["email=ben%40example.com", "status=opted_out", "email=ana%40example.com&status=opted_out"]
    {
        let list = app.get(&format!("/subscribers?{missed}")).send().await.ok(200).json();
        assert_eq!(list, json!({ "items": [], "next_cursor": null }), "{missed}");
    }

    let change = json!({ "email": "ana@example.org", "name": "", "attributes": { "plan": "plus" } });
    let changed = app.patch(&path).header("if-match", "\"1\"").json(change).send().await.ok(200).json();
    assert_eq!((&changed["email"], &changed["name"]), (&json!("ana@example.org"), &json!(null)));
    assert_eq!(changed["attributes"], json!({ "plan": "plus" }));
    assert_eq!(changed["groups"], subscriber["groups"]);
    app.patch(&path).header("if-match", "\"1\"").json(json!({ "name": "Eve" })).send().await.problem(412);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_address_is_taken_once(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let ana = app.subscriber("ana@example.com", &[]).await;
    let again = json!({ "email": "ANA@example.com", "consent": { "source": "test" } });
    let problem = app.post("/subscribers").json(again).send().await.problem(409);
    assert_eq!((&problem["status"], &problem["subscriber_id"]), (&json!("taken"), &json!(ana)));
    let ben = app.subscriber("ben@example.com", &[]).await;
    let change = json!({ "email": "ana@example.com" });
    let problem = app.patch(&format!("/subscribers/{ben}")).json(change).send().await.problem(409);
    assert_eq!(problem["subscriber_id"], json!(ana));
    // Whose address it was, and stays closed since they opted out, is nobody's to be found by it.
    let out = json!({ "global": true, "reason": "by letter" });
    app.post(&format!("/subscribers/{ana}/opt-out")).json(out).send().await.ok(204);
    let moved = json!({ "email": "ana@example.org" });
    app.patch(&format!("/subscribers/{ana}")).json(moved).send().await.ok(200);
    let left = json!({ "email": "ana@example.com", "consent": { "source": "test" } });
    assert_eq!(app.post("/subscribers").json(left).send().await.problem(409)["subscriber_id"], json!(null));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn bad_subscribers_are_refused(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let consent = json!({ "source": "test" });
    let unknown = Uuid::from_u128(1);
    let cases = [
        (json!({ "consent": consent }), "email"),
        (json!({ "email": "nobody", "consent": consent }), "email"),
        (json!({ "email": "a@example.com\r\nBcc: b@example.com", "consent": consent }), "email"),
        (json!({ "email": "a@example.com" }), "consent"),
        (json!({ "email": "a@example.com", "consent": {} }), "consent.source"),
        (json!({ "email": "a@example.com", "consent": { "source": " " } }), "consent.source"),
        (
            json!({ "email": "a@example.com", "consent": { "source": "x", "given_at": "2026-01-01T09:00:00" } }),
            "consent.given_at",
        ),
        (
            json!({ "email": "a@example.com", "consent": { "source": "x", "given_from": "here" } }),
            "consent.given_from",
        ),
        (json!({ "email": "a@example.com", "name": "x\u{0}", "consent": consent }), "name"),
        (json!({ "email": "a@example.com", "attributes": { "a": 5 }, "consent": consent }), "attributes.a"),
        (json!({ "email": "a@example.com", "attributes": { "!": "x" }, "consent": consent }), "attributes"),
        (json!({ "email": "a@example.com", "groups": ["x"], "consent": consent }), "groups[0]"),
        (json!({ "email": "a@example.com", "groups": [unknown], "consent": consent }), "groups"),
        (json!({ "email": "a@example.com", "status": "active", "consent": consent }), "status"),
    ];
    for (body, field) in cases {
        app.post("/subscribers").json(body).send().await.invalid(&[field]);
    }
    assert_eq!(app.events().await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_shows(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Readers").await;
    let ana = app.subscriber("ana@example.com", &[group]).await;
    let opt_out = app.post("/emails/unsubscribe").bearer(&app.token(ana, Some(group)));
    let done = opt_out.json(json!({ "global": true })).send().await.ok(204);
    let shown =
        app.get(&format!("/subscribers/{ana}")).position(&done.position()).send().await.ok(200).json();
    assert_eq!(shown["status"], "opted_out");
    assert_eq!(shown["groups"][0]["subscribed"], false);
    let listed = app.get("/subscribers?status=opted_out").position(&done.position()).send().await.json();
    assert_eq!(listed["items"][0]["subscriber_id"], json!(ana));
}
