//! Refresh tokens and clients that hang up or hold back.

use crate::support::{TestApp, until};
use axum::body::{Body, Bytes};
use chrono::{DateTime, Utc};
use domain::access::Role;
use futures::StreamExt;
use serde_json::json;
use sqlx::PgPool;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::oneshot;

const ANA: &str = "ana@example.com";

async fn with_ana(pool: PgPool) -> TestApp {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    app.user(ANA, &[Role::Marketer]).await;
    app
}

/// When the one token that was spent counts as spent: ahead of now until the answer has left.
async fn spent_at(app: &TestApp) -> Option<(DateTime<Utc>, bool)> {
    let spent =
        "SELECT spent_at, spent_at > clock_timestamp() FROM refresh_tokens WHERE spent_at IS NOT NULL";
    sqlx::query_as(spent).fetch_optional(&app.pool).await.unwrap()
}

/// Else replays of its token would go unpunished for ten seconds.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_refresh_that_its_client_cuts_off_is_noted_all_the_same(pool: PgPool) {
    let app = with_ana(pool).await;
    for _ in 0..20 {
        sqlx::query("DELETE FROM refresh_tokens").execute(&app.pool).await.unwrap();
        let tokens = app.login(ANA).await;
        let ahead = async {
            loop {
                if let Some((at, true)) = spent_at(&app).await {
                    return at;
                }
            }
        };
        // Dropped, as when a client hangs up, in the moment between the token's rotation and its answer.
        let ahead = tokio::select! {
            ahead = ahead => ahead,
            _ = app.refresh(&tokens.refresh) => continue,
        };
        until("the answer is noted", || async { spent_at(&app).await.is_some_and(|(at, _)| at < ahead) })
            .await;
        let (at, is_ahead) = spent_at(&app).await.unwrap();
        assert!(!is_ahead && ahead - at > chrono::TimeDelta::seconds(5), "{at} {ahead}");
        return;
    }
    panic!("no refresh was ever cut off in its middle");
}

/// Who sends a head and keeps the body back until the token was spent by another is no racer.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_refresh_whose_body_is_held_back_has_not_arrived(pool: PgPool) {
    let app = with_ana(pool).await;
    let tokens = app.login(ANA).await;
    let (arrived, has_arrived) = oneshot::channel();
    let (release, released) = oneshot::channel::<()>();
    let whole = json!({ "refresh_token": tokens.refresh }).to_string();
    let mut arrived = Some(arrived);
    // The first look at it comes after the head was taken.
    let body = futures::stream::once(async move {
        arrived.take().unwrap().send(()).unwrap();
        released.await.unwrap();
        Ok::<_, Infallible>(Bytes::from(whole))
    });
    let held =
        app.post("/auth/refresh").anonymous().body("application/json", Body::from_stream(body.boxed()));
    let held = tokio::spawn(held.send());
    has_arrived.await.unwrap();
    let next = app.refresh(&tokens.refresh).await.tokens();
    // A burst is over a second after the winner's answer.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    release.send(()).unwrap();
    let late = held.await.unwrap().problem(401);
    assert_eq!(late["type"], "urn:postledger:problem:unauthorized");
    app.refresh(&next.refresh).await.problem(401);
    app.get("/auth/me").bearer(&next.access).send().await.problem(401);
}
