//! The embedded carrier's loops.

use crate::log::{append, caught_up, count, dump, follow, forget, start};
use crate::picky::{Picky, group, kept};
use crate::world::{World, fresh_seed};
use eventstore::News;
use projections::{ConsumeError, Embedded, Interleaving, Projection, all, lag};
use sqlx::PgPool;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const A: Uuid = Uuid::from_u128(1);

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn two_carriers_at_once_have_one_effect(pool: PgPool) {
    let seed = fresh_seed();
    let models = all();
    let mut world = World::new(seed);
    let carriers = [1, 2].map(|n| start(&pool, &models, Some(Interleaving::new(seed + n))));
    for _ in 0..5 {
        append(&pool, &world.history(150).await).await;
    }
    caught_up(&pool, &models).await;
    for carrier in carriers {
        carrier.stop().await;
    }
    for model in &models {
        let by_two = dump(&pool, model.as_ref()).await;
        forget(&pool, model.as_ref()).await;
        follow(&pool, std::slice::from_ref(model), None).await;
        assert_eq!(dump(&pool, model.as_ref()).await, by_two, "{}", model.name());
    }
    assert_eq!(count(&pool, "dead_letters").await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_failing_database_is_waited_out(pool: PgPool) {
    let picky = Picky::create(&pool, &[]).await;
    picky.failures.store(3, Ordering::SeqCst);
    let models: Vec<Arc<dyn Projection>> = vec![picky.clone()];
    let carrier = start(&pool, &models, None);
    append(&pool, &group(A, &["a", "b"])).await;
    caught_up(&pool, &models).await;
    carrier.stop().await;
    assert_eq!(kept(&pool, A).await, [1, 2]);
    assert_eq!(picky.failures.load(Ordering::SeqCst), 0);
    assert_eq!(count(&pool, "dead_letters").await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn terminated_connections_and_deadlocks_park_nothing(pool: PgPool) {
    let seed = fresh_seed();
    let models = all();
    let mut world = World::new(seed);
    let carrier = start(&pool, &models, Some(Interleaving::new(seed)));
    let elsewhere = PgPool::connect_with((*pool.connect_options()).clone()).await.unwrap();
    for _ in 0..6 {
        append(&elsewhere, &world.history(80).await).await;
        let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        sqlx::query(others).execute(&elsewhere).await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    caught_up(&elsewhere, &models).await;
    carrier.stop().await;
    assert_eq!(count(&elsewhere, "dead_letters").await, 0);
    for model in &models {
        let lived = dump(&elsewhere, model.as_ref()).await;
        forget(&elsewhere, model.as_ref()).await;
        follow(&elsewhere, std::slice::from_ref(model), None).await;
        assert_eq!(dump(&elsewhere, model.as_ref()).await, lived, "{}", model.name());
    }
    elsewhere.close().await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn news_of_this_process_wakes_the_carrier(pool: PgPool) {
    let picky = Picky::create(&pool, &[]).await;
    let news = News::default();
    let stop = CancellationToken::new();
    let carrier = Embedded {
        pool: pool.clone(),
        projections: vec![picky.clone()],
        news: news.clone(),
        interleaving: None,
    };
    let running = tokio::spawn(carrier.run(stop.clone()));
    append(&pool, &group(A, &["a"])).await;
    news.moved();
    let models: [Arc<dyn Projection>; 1] = [picky];
    caught_up(&pool, &models).await;
    append(&pool, &group(A, &["a", "b"])[1..]).await;
    caught_up(&pool, &models).await;
    assert_eq!(kept(&pool, A).await, [1, 2]);
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_foreign_epoch_ends_the_carrier_with_an_error(pool: PgPool) {
    let models = all();
    append(&pool, &group(A, &["a"])).await;
    follow(&pool, &models, None).await;
    sqlx::query("UPDATE log_epoch SET epoch = gen_random_uuid()").execute(&pool).await.unwrap();
    let carrier =
        Embedded { pool: pool.clone(), projections: models, news: News::default(), interleaving: None };
    let ended = tokio::time::timeout(Duration::from_secs(10), carrier.run(CancellationToken::new())).await;
    assert!(matches!(ended.unwrap(), Err(ConsumeError::ForeignEpoch { .. })));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn lag_counts_what_is_left(pool: PgPool) {
    let models = all();
    append(&pool, &group(A, &["a", "b"])).await;
    let groups =
        |lags: Vec<projections::Lag>| lags.into_iter().find(|lag| lag.projection == "groups").unwrap();
    let behind = groups(lag(&pool, &models).await.unwrap());
    assert_eq!((behind.events, behind.oldest.is_some()), (2, true));
    follow(&pool, &models, None).await;
    let done = groups(lag(&pool, &models).await.unwrap());
    assert_eq!((done.events, done.oldest), (0, None));
}
