//! Mail programs, mailbox providers and companies open the links of mails before their readers do.

use crate::support::{TestApp, until};
use axum::http::Method;
use futures::StreamExt;
use mail::links::PreferenceClaims;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Each with a link of their own, which is opened once.
const READERS: usize = 10_000;
const AT_ONCE: usize = 16;
/// What a link opens: the page, and what a frontend asks for to draw one of its own.
const PATHS: [&str; 2] = ["/emails/unsubscribe", "/preferences"];

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn ten_thousand_links_that_scanners_open_change_nothing(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Readers").await;
    let readers = import(&app, group).await;
    assert_eq!(readers.len(), READERS);
    let links: Vec<(Method, String)> = readers
        .iter()
        .enumerate()
        .map(|(index, reader)| {
            let method = if index % 2 == 0 { Method::GET } else { Method::HEAD };
            let path = PATHS[index / 2 % PATHS.len()];
            (method, format!("{path}?token={}", app.token(*reader, Some(group))))
        })
        .collect();
    let before = rows(&app.pool).await;
    let app = &app;
    let opened = futures::stream::iter(links).map(|(method, link)| async move {
        let answer = app.call(method.clone(), &link).anonymous().send().await.ok(200);
        assert_eq!(answer.body.is_empty(), method == Method::HEAD);
    });
    assert_eq!(opened.buffer_unordered(AT_ONCE).count().await, READERS);
    assert_eq!(rows(&app.pool).await, before);
    // What would be seen: one of them opts out after all.
    let token = app.token(readers[0], Some(group));
    let click = app.post(&format!("/emails/unsubscribe?token={token}")).anonymous();
    click.form("List-Unsubscribe=One-Click").send().await.ok(200);
    assert_ne!(rows(&app.pool).await, before);
}

/// A thousand look at the same moment, by the connections that opt-outs have, and one leaves: not behind them all.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_leaves_overtakes_those_who_look(pool: PgPool) {
    const LOOKS: usize = 1_000;
    let opt_outs = PgPoolOptions::new().max_connections(4);
    let opt_outs = opt_outs.connect_with((*pool.connect_options()).clone()).await.unwrap();
    let app = TestApp::over(pool, opt_outs, |_| {}).await;
    let group = app.group("Readers").await;
    let reader = app.subscriber("reader@example.com", &[group]).await;
    let issued_at = eventstore::clock::now().timestamp();
    let token = |dispatch: usize| {
        let dispatch = Some(Uuid::from_u128(dispatch as u128));
        app.token_of(PreferenceClaims {
            subscriber: reader,
            campaign: None,
            group: Some(group),
            dispatch,
            issued_at,
        })
    };
    let (looked, is_under_way) = (AtomicUsize::new(0), Notify::new());
    let looks = (0..LOOKS).map(|look| {
        let path = format!("/emails/unsubscribe?token={}", token(look));
        let (app, looked, is_under_way) = (&app, &looked, &is_under_way);
        async move {
            app.get(&path).anonymous().send().await.ok(200);
            looked.fetch_add(1, Ordering::Relaxed);
            is_under_way.notify_one();
        }
    });
    let leave = async {
        is_under_way.notified().await;
        let click = app.post(&format!("/emails/unsubscribe?token={}", token(LOOKS))).anonymous();
        click.form("List-Unsubscribe=One-Click").send().await.ok(200);
        looked.load(Ordering::Relaxed)
    };
    let (_, before) = tokio::join!(futures::future::join_all(looks), leave);
    assert!(before < LOOKS / 2, "{before} of {LOOKS} pages were shown first");
}

async fn import(app: &TestApp, group: Uuid) -> Vec<Uuid> {
    let csv: String = (0..READERS).map(|number| format!("reader{number}@example.com\n")).collect();
    let path = format!("/subscribers/import?group={group}&consent_source=desk");
    app.post(&path).body("text/csv", format!("email\n{csv}")).send().await.ok(202);
    while app.commands.work_on_next_import(&CancellationToken::new()).await.unwrap().is_some() {}
    until("the readers are in the read models", || async {
        let listed: i64 =
            sqlx::query_scalar("SELECT count(*) FROM subscribers").fetch_one(&app.pool).await.unwrap();
        listed == READERS as i64
    })
    .await;
    app.settled().await;
    sqlx::query_scalar("SELECT id FROM subscribers").fetch_all(&app.pool).await.unwrap()
}

/// Of every table, how many rows it has, and a digest of where each lies and which transaction wrote it: whatever is
/// written, if only the same once more, changes that.
async fn rows(pool: &PgPool) -> BTreeMap<String, (i64, Option<String>)> {
    let tables =
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(pool).await.unwrap();
    let mut found = BTreeMap::new();
    for table in tables {
        let rows = format!(
            "SELECT count(*), md5(string_agg(concat(ctid, ' ', xmin), ',' ORDER BY tableoid, ctid)) FROM \"{table}\""
        );
        found.insert(table, sqlx::query_as(&rows).fetch_one(pool).await.unwrap());
    }
    found
}
