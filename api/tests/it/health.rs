use crate::support::TestApp;
use eventstore::sending;
use serde_json::json;
use sqlx::PgPool;
use std::time::Duration;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_ready_system_tells_how_far_its_read_models_are(pool: PgPool) {
    let app = TestApp::new(pool).await;
    assert_eq!(app.get("/health/live").anonymous().send().await.ok(200).json(), json!({ "status": "live" }));
    let ready = app.get("/health/ready").anonymous().send().await.ok(200).json();
    assert_eq!(ready["status"], "ready");
    let names: Vec<&str> =
        ready["read_models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"campaigns") && names.len() == projections::all().len(), "{names:?}");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn lag_is_told_and_decides_nothing(pool: PgPool) {
    let app = TestApp::without_projectors(pool.clone(), |config| config.has_kafka = true).await;
    app.group("Readers").await;
    let ready = app.get("/health/ready").anonymous().send().await.ok(200).json();
    assert_eq!(ready["log"]["waiting_events"], 1, "no read model knows of it yet");
    let mut sequencer = eventstore::sequencer::Sequencer::new(app.commands.store.clone());
    sequencer.step().await.unwrap();
    let ready = app.get("/health/ready").anonymous().send().await.ok(200).json();
    assert_eq!(ready["log"]["waiting_events"], 0);
    let groups = ready["read_models"]
        .as_array()
        .unwrap()
        .iter()
        .find(|model| model["name"] == "groups")
        .unwrap()
        .clone();
    assert_eq!(groups["lag_events"], 1);
    assert!(groups["waiting_since"].is_string());
    assert!(ready["relay"].is_null());
    let relay = "INSERT INTO relay (epoch) SELECT epoch FROM log_epoch";
    sqlx::query(relay).execute(&app.commands.store.pool).await.unwrap();
    let ready = app.get("/health/ready").anonymous().send().await.ok(200).json();
    assert_eq!(ready["relay"]["lag_events"], 1);
    // Events travel by Postgres again: what a relay once did is no news.
    let app = TestApp::without_projectors(pool, |_| {}).await;
    assert!(app.get("/health/ready").anonymous().send().await.ok(200).json()["relay"].is_null());
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn that_sending_is_off_is_told_with_its_remedy_and_decides_nothing(pool: PgPool) {
    let app = TestApp::without_projectors(pool.clone(), |_| {}).await;
    let stopped = async || {
        let ready = app.get("/health/ready").anonymous().send().await.ok(200).json();
        ready["sending_stopped"].clone()
    };
    assert!(stopped().await.is_null());
    sending::pause(&pool).await.unwrap();
    let stop = stopped().await;
    assert_eq!(stop["reason"], "operator");
    assert!(
        stop["since"].is_string() && stop["remedy"].as_str().unwrap().contains("sending resume"),
        "{stop}"
    );
    sending::resume(&pool).await.unwrap();
    assert!(stopped().await.is_null());
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn another_schema_is_not_ready(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .execute(&app.pool)
        .await
        .unwrap();
    let answer = app.get("/health/ready").anonymous().send().await;
    answer.problem(503);
    assert_eq!(answer.header("retry-after"), "1");
    sqlx::query("DROP TABLE _sqlx_migrations").execute(&app.pool).await.unwrap();
    app.get("/health/ready").anonymous().send().await.problem(503);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn without_a_database_it_lives_and_is_not_ready(pool: PgPool) {
    let app =
        TestApp::without_projectors(pool, |config| config.request_timeout = Duration::from_secs(10)).await;
    app.pool.close().await;
    app.get("/health/live").anonymous().send().await.ok(200);
    app.get("/health/ready").anonymous().send().await.problem(503);
    let list = app.get("/groups").send().await;
    list.problem(503);
    assert_eq!(list.header("retry-after"), "1");
    assert!(!list.text().contains("pool"), "{}", list.text());
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_process_that_is_about_to_end_lives_and_is_not_ready(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    app.leaving.cancel();
    let answer = app.get("/health/ready").anonymous().send().await;
    answer.problem(503);
    app.get("/health/live").anonymous().send().await.ok(200);
    app.get("/groups").send().await.ok(200);
}
