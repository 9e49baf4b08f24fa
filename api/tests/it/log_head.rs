//! `log_head` is updated for each batch of events, so that under an old snapshot (a dump that runs for an hour) whoever reads it
//! passes all its dead versions. Its readers are the sequencers, and nobody whom a client waits for.

use crate::support::{PASSWORD, TestApp};
use domain::access::Role;
use serde_json::json;
use sqlx::PgPool;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn commands_waits_and_opt_outs_read_no_log_head(pool: PgPool) {
    let app = TestApp::new(pool.clone()).await;
    let group = app.post("/groups").json(json!({ "name": "Readers" })).send().await.ok(201);
    let seen = group.position();
    let group = group.id("group_id");
    app.settled().await;
    sqlx::query("ALTER TABLE log_head RENAME TO hidden").execute(&pool).await.unwrap();

    // Read models still fill, and a query still waits for them.
    let groups = app.get("/groups").position(&seen).send().await.ok(200).json();
    assert_eq!(groups["items"][0]["name"], "Readers");
    // New, changed, changed to the same, with a key, with the same key, and many streams at once.
    let (path, name) = (format!("/groups/{group}"), json!({ "name": "Letters" }));
    app.patch(&path).json(name.clone()).send().await.ok(200);
    app.patch(&path).json(name.clone()).send().await.ok(200);
    for _ in 0..2 {
        app.patch(&path).key("once").json(json!({ "name": "News" })).send().await.ok(200);
    }
    let reader = app.subscriber("ana@example.com", &[group]).await;
    let form = json!({ "email": "bo@example.com", "groups": [group] });
    app.post("/subscriptions").anonymous().json(form).send().await.ok(202);
    let campaign = app.campaign().await;
    app.delete(&format!("/emails/{campaign}")).send().await.ok(204);
    app.user("eva@example.com", &[Role::Admin]).await;
    let session = app.try_login("eva@example.com", PASSWORD).await.tokens();
    app.refresh(&session.refresh).await.tokens();

    let token = app.token(reader, Some(group));
    for _ in 0..2 {
        let click = app.post(&format!("/emails/unsubscribe?token={token}")).anonymous();
        click.form("List-Unsubscribe=One-Click").send().await.ok(200);
    }
    app.get("/preferences").bearer(&token).send().await.ok(200);
    app.post(&format!("/subscribers/{reader}/erase")).send().await.ok(202);
}

/// A binary of the last version goes on with the epoch of `log_head`.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_last_versions_epoch_follows(pool: PgPool) {
    let both = "SELECT h.epoch = e.epoch FROM log_head h CROSS JOIN log_epoch e";
    assert!(sqlx::query_scalar::<_, bool>(both).fetch_one(&pool).await.unwrap());
    sqlx::query("UPDATE log_epoch SET epoch = gen_random_uuid()").execute(&pool).await.unwrap();
    assert!(sqlx::query_scalar::<_, bool>(both).fetch_one(&pool).await.unwrap());
}
