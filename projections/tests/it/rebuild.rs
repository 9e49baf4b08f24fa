//! I5: a read model that is rebuilt from the log equals the live one, row for row.

use crate::log::{append, caught_up, count, dump, follow, forget, start};
use crate::picky::{Picky, group, kept};
use crate::world::{World, fresh_seed};
use projections::{Interleaving, Progress, Projection, all, rebuild};
use sqlx::PgPool;
use std::sync::Arc;
use uuid::Uuid;

async fn dumps(pool: &PgPool, models: &[Arc<dyn Projection>]) -> Vec<Vec<String>> {
    let mut dumps = Vec::new();
    for model in models {
        dumps.push(dump(pool, model.as_ref()).await);
    }
    dumps
}

fn assert_same(models: &[Arc<dyn Projection>], expected: &[Vec<String>], found: &[Vec<String>], how: &str) {
    for ((model, expected), found) in models.iter().zip(expected).zip(found) {
        let differing = expected.iter().zip(found).find(|(a, b)| a != b);
        assert!(expected == found, "{} differs {how}: first {differing:#?}", model.name());
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn rebuilt_equals_live_under_any_interleaving(pool: PgPool) {
    let fresh = fresh_seed();
    let models = all();
    let mut world = World::new(fresh);
    let live = start(&pool, &models, Some(Interleaving::new(fresh)));
    for _ in 0..6 {
        let events = world.history(150).await;
        append(&pool, &events).await;
    }
    caught_up(&pool, &models).await;
    live.stop().await;
    assert_eq!(count(&pool, "dead_letters").await, 0);
    let lived = dumps(&pool, &models).await;
    assert!(lived.iter().all(|rows| rows.len() > 1), "each read model has rows to compare");

    for model in &models {
        let rebuilt = rebuild(&pool, &models, model.name(), |_| {}).await.unwrap();
        assert_eq!(rebuilt.dead_letters, 0);
    }
    assert_same(&models, &lived, &dumps(&pool, &models).await, "after a rebuild");

    for seed in [1, 2, fresh ^ 0xffff] {
        for model in &models {
            forget(&pool, model.as_ref()).await;
        }
        follow(&pool, &models, Some(Interleaving::new(seed))).await;
        assert_same(&models, &lived, &dumps(&pool, &models).await, &format!("interleaved by seed {seed}"));
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_rebuild_is_safe_beside_a_live_projector(pool: PgPool) {
    let seed = fresh_seed();
    let models = all();
    let mut world = World::new(seed);
    append(&pool, &world.history(600).await).await;
    let live = start(&pool, &models, Some(Interleaving::new(seed)));
    for model in &models {
        append(&pool, &world.history(60).await).await;
        rebuild(&pool, &models, model.name(), |_| {}).await.unwrap();
    }
    caught_up(&pool, &models).await;
    live.stop().await;
    let lived = dumps(&pool, &models).await;
    for model in &models {
        forget(&pool, model.as_ref()).await;
    }
    follow(&pool, &models, None).await;
    assert_same(&models, &dumps(&pool, &models).await, &lived, "after rebuilds beside a projector");
    assert_eq!(count(&pool, "dead_letters").await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_rebuild_says_how_far_it_is(pool: PgPool) {
    for n in 0..30 {
        append(&pool, &group(Uuid::from_u128(n), &["a", "b"])).await;
    }
    let mut seen = Vec::new();
    let rebuilt = rebuild(&pool, &all(), "groups", |progress| seen.push(progress)).await.unwrap();
    assert_eq!(rebuilt.until, 60);
    assert_eq!(seen.last(), Some(&Progress { position: 60, until: 60 }));
    assert_eq!(count(&pool, "groups").await, 30);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_rebuild_tries_dead_letters_anew(pool: PgPool) {
    let id = Uuid::from_u128(1);
    let picky = Picky::create(&pool, &["poison"]).await;
    let models: Vec<Arc<dyn Projection>> = vec![picky.clone()];
    append(&pool, &group(id, &["a", "poison", "c"])).await;
    assert_eq!(rebuild(&pool, &models, "picky", |_| {}).await.unwrap().dead_letters, 2);
    picky.allow_everything();
    assert_eq!(rebuild(&pool, &models, "picky", |_| {}).await.unwrap().dead_letters, 0);
    assert_eq!(kept(&pool, id).await, [1, 2, 3]);
    assert_eq!(count(&pool, "parked_streams").await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_unknown_read_model_is_refused_by_name(pool: PgPool) {
    let error = rebuild(&pool, &all(), "subscriber", |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("\"subscriber\"") && error.contains("campaign_report"), "{error}");
}
