//! A link that is older than the opt-out, such as one in a mail that was forwarded, brings nobody back after a day.

use crate::support::TestApp;
use eventstore::clock;
use mail::links::PreferenceClaims;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

const HOUR: i64 = 3600;

fn link(app: &TestApp, reader: Uuid, group: Uuid, hours_ago: i64) -> String {
    app.token_of(PreferenceClaims {
        subscriber: reader,
        campaign: None,
        group: Some(group),
        dispatch: None,
        issued_at: clock::now().timestamp() - hours_ago * HOUR,
    })
}

/// As if all that was recorded so far were older.
async fn age(app: &TestApp, hours: i64) {
    let mut tx = app.pool.begin().await.unwrap();
    sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *tx).await.unwrap();
    let older = "UPDATE events SET recorded_at = recorded_at - make_interval(hours => $1)";
    sqlx::query(older).bind(i32::try_from(hours).unwrap()).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_link_older_than_the_opt_out_undoes_it_for_a_day_alone(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (news, offers) = (app.group("News").await, app.group("Offers").await);
    let ana = app.subscriber("ana@example.com", &[news, offers]).await;
    let older = link(&app, ana, news, 100);
    let leave = || app.post("/emails/unsubscribe").bearer(&older).json(json!({ "groups": [news] })).send();
    let back = |token: &str| {
        let wanted = json!({ "global_opt_out": false, "groups": [{ "group_id": news, "subscribed": true }] });
        app.put("/preferences").bearer(token).json(wanted).send()
    };
    let page = |form: &'static str| {
        let call = app.post(&format!("/emails/unsubscribe?token={older}")).anonymous();
        call.header("origin", crate::support::ORIGIN).form(form).send()
    };
    // A mistake is taken back by the link that made it.
    leave().await.ok(204);
    back(&older).await.ok(204);
    leave().await.ok(204);
    age(&app, 25).await;
    back(&older).await.problem(401);
    page("action=return").await.ok(401);
    let shown = app.get(&format!("/emails/unsubscribe?token={older}")).anonymous().send().await.ok(200);
    assert!(!shown.text().contains("value=\"return\""), "what the link cannot do is not offered");
    // It still shows and still leaves, one by one too.
    app.get("/preferences").bearer(&older).send().await.ok(200);
    let leave_offers =
        json!({ "global_opt_out": false, "groups": [{ "group_id": offers, "subscribed": false }] });
    app.put("/preferences").bearer(&older).json(leave_offers).send().await.ok(204);
    // The link of a mail that was sent since, as the one that confirms the opt-out.
    age(&app, 25).await;
    let newer = link(&app, ana, news, 1);
    back(&newer).await.ok(204);
}
