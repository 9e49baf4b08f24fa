//! Media: announced, uploaded straight to a store that checks signatures, completed; and what an attacker would try.

use crate::store::{MAX_BYTES, Mode, NO_CHECKSUM, Studio, announcement, long_ago, png};
use crate::support::{ORIGIN, TestApp};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use domain::media::{ContentType, Sha256, Upload};
use eventstore::clock;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// No client waits longer for a store that does not answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The seed's diagram.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_file_is_announced_uploaded_completed_shown_and_deleted(pool: PgPool) {
    let studio = Studio::new(pool).await;
    let (app, file) = (&studio.app, png(5_000));
    let announced = studio.announce(&file, "image/png").await.ok(201);
    let id = announced.id("media_id");
    assert_eq!(announced.header("location"), format!("{ORIGIN}/media/{id}"));
    let upload = announced.json()["upload"].clone();
    assert_eq!(upload["method"], "PUT");
    let expires_at: DateTime<Utc> = upload["expires_at"].as_str().unwrap().parse().unwrap();
    let left = expires_at - clock::now();
    assert!(left <= TimeDelta::minutes(15) && left > TimeDelta::minutes(14), "{left}");
    let headers = upload["headers"].as_object().unwrap();
    assert_eq!(headers["content-type"], "image/png");
    assert!(headers.keys().all(|name| name != "content-length" && name != "host"), "{headers:?}");
    assert!(upload["url"].as_str().unwrap().contains(&format!("/media/{id}/Summer-fest.png?")), "{upload}");

    assert_eq!(studio.put(&upload, file.clone()).await, 200);
    let completed = studio.complete(id).await.ok(200);
    let medium = completed.json();
    assert_eq!((&medium["media_id"], &medium["status"]), (&json!(id), &json!("uploaded")));
    assert_eq!((&medium["width"], &medium["height"]), (&json!(3), &json!(2)));
    let url = medium["url"].as_str().unwrap();
    assert_eq!(studio.fetch(url).await, (200, Some("image/png".to_owned()), file.clone()));

    let path = format!("/media/{id}");
    let shown = app.get(&path).position(&completed.position()).send().await.ok(200);
    assert_eq!(shown.header("etag"), "\"2\"");
    let expected = announcement(&file, "image/png");
    for field in ["filename", "content_type", "size_bytes", "sha256"] {
        assert_eq!(shown.json()[field], expected[field], "{field}");
    }
    assert_eq!((&shown.json()["url"], &shown.json()["reason"]), (&medium["url"], &json!(null)));
    assert_eq!(app.get("/media?status=uploaded").send().await.json()["items"][0]["media_id"], json!(id));
    assert_eq!(app.get("/media?status=rejected").send().await.json()["items"], json!([]));
    app.get("/media?status=lost").send().await.invalid(&["status"]);

    app.delete(&path).header("if-match", "\"1\"").send().await.problem(412);
    let deleted = app.delete(&path).header("if-match", "\"2\"").send().await.ok(204);
    assert_eq!(studio.fetch(url).await.0, 404);
    app.get(&path).position(&deleted.position()).send().await.problem(404);
    studio.complete(id).await.problem(404);
    assert_eq!(studio.events(id).await, ["MediaRequested", "MediaUploaded", "MediaDeleted"]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_is_repeated_is_done_once(pool: PgPool) {
    let studio = Studio::new(pool).await;
    let (app, file) = (&studio.app, png(100));
    let announce = || app.post("/media").key("summer").json(announcement(&file, "image/png")).send();
    let (first, again) = (announce().await.ok(201), announce().await.ok(201));
    assert_eq!((first.json(), first.header("location")), (again.json(), again.header("location")));
    // What was signed is in no table.
    let kept: Vec<String> =
        sqlx::query_scalar("SELECT answer::text FROM idempotency_keys").fetch_all(&app.pool).await.unwrap();
    assert!(kept.len() == 1 && !kept[0].contains("X-Amz-Signature"), "{kept:?}");
    app.post("/media").key("summer").json(announcement(&png(101), "image/png")).send().await.problem(422);

    let id = first.id("media_id");
    assert_eq!(studio.put(&first.json()["upload"], file.clone()).await, 200);
    let (one, two) = tokio::join!(studio.complete(id), studio.complete(id));
    assert_eq!(one.ok(200).json(), two.ok(200).json());
    studio.complete(id).await.ok(200);
    assert_eq!(studio.events(id).await, ["MediaRequested", "MediaUploaded"]);

    let delete = || app.delete(&format!("/media/{id}")).key("away").send();
    delete().await.ok(204);
    delete().await.ok(204);
    app.delete(&format!("/media/{id}")).send().await.problem(404);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_cannot_be_taken_is_named(pool: PgPool) {
    let studio = Studio::new(pool).await;
    let with = |field: &str, value: Value| {
        let mut announced = announcement(&png(100), "image/png");
        announced[field] = value;
        studio.app.post("/media").json(announced).send()
    };
    for refused in ["image/svg+xml", "text/html", "application/javascript", "image/png; charset=x", ""] {
        with("content_type", json!(refused)).await.invalid(&["content_type"]);
    }
    for size in [json!(0), json!(MAX_BYTES + 1), json!(-1), json!(1.5), json!("1")] {
        with("size_bytes", size).await.invalid(&["size_bytes"]);
    }
    for checksum in ["", "xyz", &NO_CHECKSUM[1..]] {
        with("sha256", json!(checksum)).await.invalid(&["sha256"]);
    }
    for filename in ["", "two\nlines.png", &"x".repeat(256)] {
        with("filename", json!(filename)).await.invalid(&["filename"]);
    }
    with("key", json!("media/mine")).await.invalid(&["key"]);
    assert_eq!(studio.app.events().await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn without_a_store_there_are_no_media(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let announced = app.post("/media").json(announcement(&png(10), "image/png")).send().await;
    assert_eq!(announced.problem(409)["status"], "not_configured");
    assert_eq!(app.get("/media").send().await.ok(200).json()["items"], json!([]));
}

/// Attack: the name leads out of the file's own place.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn keys_are_ours_whatever_a_file_is_called(pool: PgPool) {
    let studio = Studio::new(pool).await;
    let names = [
        "../../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%252e%252e%252fx.png",
        "..\\..\\x.png",
        "/etc/passwd",
        "a/../../b.png",
        "x.png?versionId=1",
        "x.png#y",
        "..",
        "x.html",
    ];
    for name in names {
        let mut announced = announcement(&png(64), "image/png");
        announced["filename"] = json!(name);
        let answer = studio.app.post("/media").json(announced).send().await.ok(201);
        let (id, upload) = (answer.id("media_id"), answer.json()["upload"].clone());
        let key = studio.announced(id).await.key;
        let (own, safe) = key.split_at(format!("media/{id}/").len());
        assert_eq!(own, format!("media/{id}/"), "{name}");
        assert!(safe.ends_with(".png") && !safe.contains(['/', '\\', '%', '?', '#']), "{name}: {safe}");
        assert_eq!(studio.put(&upload, png(64)).await, 200, "{name}");
    }
    assert_eq!(studio.stored().len(), names.len());
}

/// Attack: a signed URL is changed, to write elsewhere.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_changed_key_is_refused_by_the_store(pool: PgPool) {
    let studio = Studio::new(pool).await;
    let upload = studio.announce(&png(64), "image/png").await.ok(201).json()["upload"].clone();
    let url = upload["url"].as_str().unwrap();
    let other = Uuid::from_u128(1).to_string();
    let (start, own) = url.split_once("/media/media/").unwrap();
    let (_, rest) = own.split_once('/').unwrap();
    let changed = [
        format!("{start}/media/media/{other}/{rest}"),
        url.replace("Summer-fest.png", "index.html"),
        url.replace("Summer-fest.png", "..%2F..%2Findex.html"),
        url.replace("Summer-fest.png", "%2e%2e/%2e%2e/index.html"),
        url.replace("/media/media/", "/other/media/"),
        url.replace("X-Amz-Expires=900", "X-Amz-Expires=90000"),
        url.split_once('?').unwrap().0.to_owned(),
    ];
    for url in changed {
        let forged = json!({ "url": url, "headers": upload["headers"] });
        let status = studio.put(&forged, png(64)).await;
        assert!((400..500).contains(&status), "{status} {url}");
    }
    assert_eq!(studio.stored().len(), 0);
}

/// Attack: something else than what was announced is uploaded by a good URL.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_store_takes_what_was_announced_and_nothing_else(pool: PgPool) {
    let studio = Studio::new(pool).await;
    let file = png(64);
    let announced = studio.announce(&file, "image/png").await.ok(201);
    let upload = announced.json()["upload"].clone();
    let with = |name: &str, value: Value| {
        let mut changed = upload.clone();
        changed["headers"][name] = value;
        changed
    };
    let mut other_bytes = file.clone();
    other_bytes[63] = 1;
    let cases = [
        (upload.clone(), png(65), "longer"),
        (upload.clone(), png(63), "shorter"),
        (upload.clone(), Vec::new(), "empty"),
        (upload.clone(), other_bytes.clone(), "other bytes"),
        (with("content-type", json!("text/html")), file.clone(), "another type"),
        (with("content-type", json!("image/svg+xml")), file.clone(), "SVG"),
        (
            with("x-amz-checksum-sha256", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
            file.clone(),
            "another checksum",
        ),
    ];
    for (upload, file, what) in cases {
        let status = studio.put(&upload, file).await;
        assert!((400..500).contains(&status), "{what}: {status}");
        assert_eq!(studio.stored().len(), 0, "{what}");
    }
    let id = announced.id("media_id");
    assert_eq!(studio.complete(id).await.problem(409)["status"], "requested");
    assert_eq!(studio.put(&upload, file.clone()).await, 200);
    studio.complete(id).await.ok(200);

    // Attack: what was checked is changed afterwards.
    assert!((400..500).contains(&studio.put(&upload, other_bytes).await));
    let url = studio.files.url(&studio.announced(id).await.key);
    assert_eq!(studio.fetch(&url).await.2, file);
}

/// Attack: a URL is used after its time.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_url_ends_after_fifteen_minutes(pool: PgPool) {
    let studio = Studio::new(pool).await;
    let announced = studio.announce(&png(64), "image/png").await.ok(201);
    let upload = studio.announced(announced.id("media_id")).await;
    let signed = studio.files.sign(&long_ago(upload)).await.unwrap();
    assert_eq!(studio.put_signed(&signed, png(64)).await, 403);
    assert_eq!(studio.stored().len(), 0);
}

/// Attack: completed before it was uploaded. The upload may still come.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn nothing_is_completed_before_it_is_there(pool: PgPool) {
    let studio = Studio::new(pool).await;
    let announced = studio.announce(&png(64), "image/png").await.ok(201);
    let id = announced.id("media_id");
    let problem = studio.complete(id).await.problem(409);
    assert_eq!(
        (&problem["status"], &problem["detail"]),
        (&json!("requested"), &json!("nothing was uploaded yet"))
    );
    assert_eq!(studio.events(id).await, ["MediaRequested"]);
    assert_eq!(studio.put(&announced.json()["upload"], png(64)).await, 200);
    studio.complete(id).await.ok(200);
    studio.complete(Uuid::from_u128(1)).await.problem(404);
}

/// Attack: a script that calls itself an image, well announced and well uploaded.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_its_first_bytes_betray_is_rejected_and_removed(pool: PgPool) {
    let studio = Studio::new(pool).await;
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    let html = b"<!DOCTYPE html><script>alert(1)</script>";
    let gif = b"GIF89a\x05\0\x04\0\0\0\0";
    for (file, content_type) in
        [(svg.as_slice(), "image/png"), (html, "image/jpeg"), (gif, "image/png"), (b"\0", "video/mp4")]
    {
        let id = studio.upload(file, content_type).await;
        let problem = studio.complete(id).await.invalid(&["content_type"]);
        assert_eq!(studio.complete(id).await.invalid(&["content_type"])["errors"], problem["errors"]);
        assert_eq!(studio.events(id).await, ["MediaRequested", "MediaRejected"]);
        assert_eq!(studio.stored().len(), 0, "{content_type}");
        studio.app.settled().await;
        let shown = studio.app.get(&format!("/media/{id}")).send().await.ok(200).json();
        assert_eq!((&shown["status"], &shown["url"]), (&json!("rejected"), &json!(null)));
        assert_eq!(shown["reason"], problem["errors"][0]["reason"]);
    }
}

/// Attack: somebody who can write to the bucket puts something else at the key.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_the_store_has_is_compared_with_what_was_announced(pool: PgPool) {
    let studio = Studio::new(pool).await;
    let sum =
        |file: &[u8]| announcement(file, "image/png")["sha256"].as_str().unwrap().parse::<Sha256>().unwrap();
    let mut other = png(64);
    other[63] = 1;
    let cases = [
        ("size_bytes", png(65), ContentType::Png),
        ("sha256", other, ContentType::Png),
        ("content_type", png(64), ContentType::Gif),
    ];
    for (field, file, content_type) in cases {
        let announced = studio.announce(&png(64), "image/png").await.ok(201);
        let id = announced.id("media_id");
        let (size_bytes, sha256) = (file.len() as u64, sum(&file));
        let upload = Upload { size_bytes, sha256, content_type, ..studio.announced(id).await };
        let signed = studio.files.sign(&upload).await.unwrap();
        assert_eq!(studio.put_signed(&signed, file).await, 200, "{field}");
        studio.complete(id).await.invalid(&[field]);
        assert_eq!(studio.events(id).await, ["MediaRequested", "MediaRejected"]);
        assert_eq!(studio.stored().len(), 0, "{field}");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn of_a_large_file_no_more_than_its_beginning_is_read(pool: PgPool) {
    const HEADERS_MAX: u64 = 4 * 1024;
    let studio = Studio::new(pool).await;
    let id = studio.upload(&png(900_000), "image/png").await;
    let before = studio.sent_bytes();
    studio.complete(id).await.ok(200);
    let read = studio.sent_bytes() - before;
    let head = media::HEAD_MAX_BYTES as u64;
    assert!((head..=head + HEADERS_MAX).contains(&read), "{read}");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_store_that_is_away_costs_503_and_nothing_is_half_done(pool: PgPool) {
    let studio = Studio::new(pool).await;
    let app = &studio.app;
    let (waiting, done) =
        (studio.upload(&png(64), "image/png").await, studio.upload(&png(64), "image/png").await);
    studio.complete(done).await.ok(200);
    let before = app.events().await;
    for mode in [Mode::Closed, Mode::Silent, Mode::Failing] {
        studio.set(mode);
        let started = Instant::now();
        let (completed, deleted) =
            tokio::join!(studio.complete(waiting), app.delete(&format!("/media/{done}")).send());
        assert!(started.elapsed() < PATIENCE, "{mode:?}: {:?}", started.elapsed());
        for answer in [completed, deleted] {
            assert_eq!(answer.problem(503)["type"], "urn:postledger:problem:overloaded", "{mode:?}");
            assert_eq!(answer.header("retry-after"), "1");
        }
        assert_eq!(app.events().await, before, "{mode:?}");
        // What needs no answer of the store goes on.
        app.get("/media").send().await.ok(200);
        app.get("/groups").send().await.ok(200);
        studio.complete(done).await.ok(200);
    }
    studio.set(Mode::Open);
    studio.complete(waiting).await.ok(200);
    app.delete(&format!("/media/{done}")).send().await.ok(204);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_template_shows_media_that_are_there(pool: PgPool) {
    let studio = Studio::new(pool).await;
    let app = &studio.app;
    let id = studio.upload(&png(64), "image/png").await;
    let body = json!({ "name": "Letter", "subject": "Hello", "html": format!("<p>\n<img src=\"{{{{ media('{id}') }}}}\" alt=\"x\"></p>") });
    let save = || app.post("/templates").json(body.clone()).send();
    // Announced, and not completed.
    let problem = save().await.invalid(&["html"]);
    let reason = problem["errors"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("line 2: media: there is no such medium"), "{reason}");
    let url = studio.complete(id).await.ok(200).json()["url"].as_str().unwrap().to_owned();
    let template = save().await.ok(201).id("template_id");
    let preview = || app.post(&format!("/templates/{template}/preview")).json(json!({})).send();
    let html = preview().await.ok(200).json()["html"].as_str().unwrap().to_owned();
    assert!(html.contains(&format!("<img src=\"{url}\"")), "{html}");

    // A campaign that is scheduled shows it.
    let time = (clock::now() + TimeDelta::hours(1)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let campaign = json!({ "template": template, "group": app.group("Readers").await, "time": time });
    let campaign = app.post("/emails").json(campaign).send().await.id("campaign_id");
    let delete = || app.delete(&format!("/media/{id}")).send();
    assert_eq!(delete().await.problem(409)["status"], "scheduled");
    // Its template's last version alone counts.
    let without = json!({ "name": "Letter", "subject": "Hello", "html": "<p>Hello</p>" });
    let replace = |body: Value| app.put(&format!("/templates/{template}")).json(body).send();
    replace(without).await.ok(200);
    let again = studio.upload(&png(65), "image/png").await;
    studio.complete(again).await.ok(200);
    replace(json!({ "name": "Letter", "subject": "Hello", "html": body["html"] })).await.ok(200);
    assert_eq!(delete().await.problem(409)["status"], "scheduled");
    app.post(&format!("/emails/{campaign}/unschedule")).send().await.ok(202);
    delete().await.ok(204);
    preview().await.invalid(&["html"]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_type_is_taken_as_programs_write_it(pool: PgPool) {
    let studio = Studio::new(pool).await;
    let types = [("image/jpg", "image/jpeg"), ("IMAGE/PNG", "image/png"), ("Image/Jpeg", "image/jpeg")];
    for (written, taken) in types {
        let announced = studio.app.post("/media").json(announcement(&png(100), written)).send().await.ok(201);
        assert_eq!(announced.json()["upload"]["headers"]["content-type"], taken, "{written}");
    }
}
