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
    assert_eq!(
        done["columns"][1],
        json!({"name": "First Name", "meaning": "first_name", "key": "first_name", "date_order": null})
    );
    let listed = app.get("/imports").send().await.ok(200).json();
    assert_eq!(
        (&listed["items"][0]["import_id"], &listed["items"][0]["rows"]),
        (&done["import_id"], &done["rows"])
    );

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

/// A mapping as a query says it.
fn query(mapping: &Value) -> String {
    let written: String = mapping.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("?columns={written}")
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_dry_run_shows_what_columns_mean_and_a_mapping_changes_it(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let csv = "Kontakt;Group;Seit\r\nana@example.com;Choir;05/12/2023\r\nben@example.com;;soon\r\n";
    let mapping = json!({"Kontakt": "email", "Seit": "consent_date"});
    let dry = import(&app, &format!("{}&dry_run=true", query(&mapping)), csv).await.ok(200).json();
    assert_eq!(
        dry["columns"],
        json!([
            {"name": "Kontakt", "meaning": "email", "key": null, "date_order": null},
            {"name": "Group", "meaning": "attribute", "key": "group_2", "date_order": null},
            {"name": "Seit", "meaning": "consent_date", "key": "seit", "date_order": null},
        ])
    );
    assert_eq!(dry["sample"][0], json!({"line": 2, "cells": ["ana@example.com", "Choir", "05/12/2023"]}));
    assert_eq!((&dry["rows"], &dry["can_be_imported"]), (&json!(2), &json!(false)));
    assert_eq!(app.get("/imports").send().await.json()["items"], json!([]), "nothing is kept");

    import(&app, &query(&mapping), csv).await.invalid(&["date_order"]);
    let started = import(&app, &format!("{}&date_order=mdy", query(&mapping)), csv).await.ok(202);
    let shown = app.get(&format!("/imports/{}", started.id("import_id"))).send().await.ok(200).json();
    assert_eq!(shown["columns"][2]["date_order"], "mdy");
    let unread =
        shown["warnings"].as_array().unwrap().iter().find(|warning| warning["code"] == "date_unreadable");
    assert_eq!((&unread.unwrap()["line"], &unread.unwrap()["column"]), (&json!(3), &json!("Seit")));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mapping_is_checked_by_its_words_and_names(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    for mapping in
        [json!({"Email Address": "address"}), json!({"Phone": "ignore"}), json!(["email"]), json!({"a": 1})]
    {
        import(&app, &query(&mapping), CSV).await.invalid(&["columns"]);
    }
    import(&app, "?columns=x", CSV).await.invalid(&["columns"]);
    import(&app, "?date_order=ymd", CSV).await.invalid(&["date_order"]);
    import(&app, "?encoding=latin-1", CSV).await.invalid(&["encoding"]);
    import(&app, "?dry_run=maybe", CSV).await.invalid(&["dry_run"]);
    import(&app, "", "email,status\nana@example.com,gold\n").await.invalid(&["columns"]);
}

/// Merge fields that a column cannot be called are those that templates have.
#[test]
fn no_column_takes_the_name_of_a_built_in_field() {
    for name in mail::BUILT_IN {
        let root = name.split('.').next().unwrap();
        assert!(
            matches!(root, "first_name" | "last_name") || commands::attributes::is_reserved(root),
            "{root}"
        );
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_import_without_room_is_told_when_to_come_back(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    sqlx::query(
        "INSERT INTO imports (import_id, status, imported_as, consent_source, metadata, master_key_id, wrapped_key,
             next_byte, next_line)
         SELECT gen_random_uuid(), 'queued', 'active', 'x', '{}', 'x', '', 0, 1 FROM generate_series(1, $1)",
    )
    .bind(commands::imports::Quota::default().open_max)
    .execute(&app.pool)
    .await
    .unwrap();
    let full = import(&app, "", CSV).await;
    assert_eq!(full.header("retry-after"), "60");
    assert_eq!(full.problem(503)["type"], "urn:postledger:problem:full");
    sqlx::query("UPDATE imports SET status = 'failed', finished_at = now()")
        .execute(&app.pool)
        .await
        .unwrap();
    import(&app, "", CSV).await.ok(202);
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
    assert_eq!(ended.problem(409)["status"], "completed");
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

/// As `curl -F file=@readers.csv` sends it; a file larger than other bodies may be, in pieces.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_form_brings_a_file(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Readers").await;
    let part = |name: &str, file: &str, text: &str| {
        format!("--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{text}\r\n")
    };
    let send = |body: Vec<u8>| {
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            body.chunks(100_000).map(|piece| Ok(piece.to_vec())).collect();
        let body = Body::from_stream(stream::iter(pieces));
        let path = format!("/subscribers/import?group={group}");
        app.post(&path).key("form").body("multipart/form-data; boundary=b0undary", body).send()
    };
    let mut csv = CSV.to_owned();
    (0..100_000).for_each(|n| csv.push_str(&format!("reader{n}@example.com,Reader,Cork\n")));
    let file = "; filename=\"readers.csv\"\r\nContent-Type: text/csv";
    let form = part("note", "", "for Ana") + &part("file", file, &csv) + "--b0undary--\r\n";
    let first = send(form.clone().into_bytes()).await.ok(202);
    let id = first.id("import_id");
    let total = app.get(&format!("/imports/{id}")).send().await.ok(200).json()["bytes_total"].clone();
    assert_eq!(total, json!(csv.len()), "the file, and nothing around it");
    assert_eq!(send(form.into_bytes()).await.ok(202).id("import_id"), id, "a repeat is the same import");
    let none = part("note", "", "no file") + "--b0undary--\r\n";
    let path = "/subscribers/import";
    let none = app.post(path).body("multipart/form-data; boundary=b0undary", none).send().await;
    none.invalid(&["file"]);
    let broken = part("file", file, "email\na@example.com\n");
    app.post(path).body("multipart/form-data; boundary=b0undary", broken).send().await.problem(400);
}
