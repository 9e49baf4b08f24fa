use crate::support::{Answer, TestApp};
use axum::body::Body;
use futures::stream;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const CSV: &str = "Email Address,First Name,City\nana@example.com,Ana,Cork\nnobody,Nobody,\n\
    =1+1@@,Formula,\nben@example.com,Ben,Łódź\nana@example.com,Ana,Cork\n";

async fn import(app: &TestApp, query: &str, csv: impl Into<Body>) -> Answer {
    app.post(&format!("/subscribers/import{query}")).body("text/csv", csv).send().await
}

async fn work(app: &TestApp) {
    while app.commands.work_on_next_import(&CancellationToken::new()).await.unwrap().is_some() {}
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_file_is_imported_and_what_was_rejected_can_be_read(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Readers").await;
    let started =
        import(&app, &format!("?group={group}&status=active&consent_source=desk&name=export.csv"), CSV)
            .await
            .ok(202);
    let id = started.id("import_id");
    assert!(started.header("location").ends_with(&format!("/imports/{id}")));
    let path = format!("/imports/{id}");
    let queued = app.get(&path).position(&started.position()).send().await.ok(200).json();
    assert_eq!(
        (&queued["status"], &queued["rows"], &queued["name"]),
        (&json!("queued"), &json!(0), &json!("export.csv"))
    );
    work(&app).await;
    let done = app.get(&path).send().await.ok(200).json();
    let counts = ["rows", "created", "updated", "unchanged", "kept_opted_out", "rejected"];
    let counts: Vec<i64> = counts.iter().map(|name| done[name].as_i64().unwrap()).collect();
    assert_eq!((done["status"].as_str(), counts), (Some("completed"), vec![5, 2, 0, 1, 0, 2]));
    assert_eq!(app.get("/imports").send().await.ok(200).json()["items"], json!([done]));

    let rejected = app.get(&format!("{path}/rejected.csv")).send().await.ok(200);
    assert_eq!(rejected.header("content-type"), "text/csv; charset=utf-8");
    let lines: Vec<&str> = rejected.text().lines().collect();
    assert_eq!(lines[0], "line,value,reason");
    assert!(lines[1].starts_with("3,nobody,") && lines[2].starts_with("4,'=1+1@@,"), "{lines:?}");
    assert_eq!(lines.len(), 3);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_upload_is_repeated_by_its_key(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let send = |query: &str, csv: &'static str| {
        app.post(&format!("/subscribers/import{query}")).key("k-1").body("text/csv", csv).send()
    };
    let first = send("?name=a", CSV).await.ok(202);
    assert_eq!(send("?name=a", CSV).await.ok(202).body, first.body);
    send("?name=a", "email\nother@example.com\n").await.problem(422);
    send("?name=b", CSV).await.problem(422);
    assert_eq!(app.get("/imports").send().await.json()["items"].as_array().unwrap().len(), 1);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn files_that_cannot_be_imported_are_refused_and_leave_nothing(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    for body in ["", "First Name,City\nAna,Cork\n", "email\n\"open quote\n"] {
        import(&app, "", body).await.invalid(&["body"]);
    }
    import(&app, "", Body::from(&b"email\n\xff\xfe\n"[..])).await.invalid(&["body"]);
    let unknown = Uuid::from_u128(1);
    import(&app, &format!("?group={unknown}"), CSV).await.invalid(&["group"]);
    import(&app, "?group=x", CSV).await.invalid(&["group"]);
    import(&app, "?status=happy", CSV).await.invalid(&["status"]);
    import(&app, "?bogus=1", CSV).await.invalid(&["bogus"]);
    import(&app, &format!("?consent_source={}", "x".repeat(300)), CSV).await.invalid(&["consent_source"]);
    assert_eq!(app.get("/imports").send().await.json()["items"], json!([]));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn uploads_are_bounded_in_size_and_patience(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |config| {
        config.import_max_bytes = 100_000;
        config.upload_idle = Duration::from_millis(200);
        config.request_timeout = Duration::from_millis(100);
    })
    .await;
    let line = || Ok::<_, std::io::Error>("ana@example.com\n".repeat(100));
    let large = (0..100).map(move |n| if n == 0 { Ok("email\n".to_owned()) } else { line() });
    import(&app, "", Body::from_stream(stream::iter(large))).await.problem(413);
    let told = app.post("/subscribers/import").body("text/csv", "email\n").header("content-length", "100001");
    told.send().await.problem(413);
    let silent = futures::StreamExt::chain(stream::iter([line()]), stream::pending());
    import(&app, "", Body::from_stream(silent)).await.problem(408);
    let broken = stream::iter([line(), Err(std::io::Error::other("gone"))]);
    import(&app, "", Body::from_stream(broken)).await.problem(400);
    // Slow is no reason, as long as something comes.
    let slow = stream::unfold(0, |n| async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let text = if n == 0 { "email\n".to_owned() } else { format!("reader-{n}@example.com\n") };
        (n < 10).then(|| (Ok::<_, std::io::Error>(text), n + 1))
    });
    import(&app, "", Body::from_stream(slow)).await.ok(202);
    assert_eq!(app.get("/imports").send().await.json()["items"].as_array().unwrap().len(), 1);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_import_can_be_cancelled(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let id = import(&app, "", CSV).await.id("import_id");
    let cancel = || app.post(&format!("/imports/{id}/cancel")).send();
    for _ in 0..2 {
        let cancelled = cancel().await.ok(200);
        assert_eq!(
            (&cancelled.json()["status"], &cancelled.json()["reason"]),
            (&json!("failed"), &json!("cancelled"))
        );
        assert!(!cancelled.position().is_empty());
    }
    let other = import(&app, "", CSV).await.id("import_id");
    work(&app).await;
    let ended = app.post(&format!("/imports/{other}/cancel")).send().await;
    assert_eq!(ended.problem(409)["current_status"], "completed");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn imports_are_listed_newest_first(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(json!(import(&app, "", CSV).await.id("import_id")));
    }
    ids.reverse();
    let (mut listed, mut path) = (Vec::<Value>::new(), "/imports?limit=2".to_owned());
    loop {
        let page = app.get(&path).send().await.ok(200).json();
        listed.extend(page["items"].as_array().unwrap().iter().map(|item| item["import_id"].clone()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/imports?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(listed, ids);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_long_list_of_rejected_rows_is_whole(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let rows: String = (0..2_100).map(|number| format!("nobody-{number}\n")).collect();
    let id = import(&app, "", format!("email\n{rows}")).await.id("import_id");
    work(&app).await;
    let rejected = app.get(&format!("/imports/{id}/rejected.csv")).send().await.ok(200);
    let lines: Vec<i64> = rejected
        .text()
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(lines, (2..=2_101).collect::<Vec<i64>>());
}
