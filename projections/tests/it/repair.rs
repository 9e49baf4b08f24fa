//! Events that lost their positions get new ones, and every read model is what it would have been.

use crate::log::{append, caught_up, count, follow, forget, start};
use crate::world::{World, fresh_seed};
use eventstore::lost;
use projections::{Projection, all, rebuild, repair};
use sqlx::{Executor, PgPool};
use std::sync::Arc;

/// The rows of all read models, without the positions that they mention, and without memberships that are over: one that began late may
/// have been in force at no position.
async fn without_positions(pool: &PgPool, models: &[Arc<dyn Projection>]) -> Vec<String> {
    let mut rows = Vec::new();
    for table in models.iter().flat_map(|model| model.tables()) {
        let select = format!(
            "SELECT '{table} ' || (SELECT jsonb_object_agg(key, value) FROM jsonb_each(to_jsonb(t))
                                   WHERE key NOT LIKE '%position%')::text AS row
             FROM {table} t WHERE to_jsonb(t) ->> 'left_position' IS NULL ORDER BY 1"
        );
        rows.extend(sqlx::query_scalar::<_, String>(&select).fetch_all(pool).await.unwrap());
    }
    rows
}

/// As a mark that outlived its session left it: of all events up to the mark, every fifth has no position.
async fn lose_every_fifth(pool: &PgPool) -> i64 {
    pool.execute(
        "ALTER TABLE log DISABLE TRIGGER USER;
         INSERT INTO pending SELECT append_id, aggregate_type, slot FROM log WHERE append_id % 5 = 0;
         CREATE TABLE kept AS SELECT * FROM log WHERE append_id % 5 <> 0;
         DELETE FROM log;
         INSERT INTO log SELECT row_number() OVER (ORDER BY position), aggregate_type, slot, append_id, sequenced_at FROM kept;
         UPDATE log_head SET position = (SELECT count(*) FROM log), low_water = (SELECT max(append_id) FROM events);
         ALTER TABLE log ENABLE TRIGGER USER",
    )
    .await
    .unwrap();
    count(pool, "pending").await
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn read_models_of_a_repaired_log_equal_those_of_a_whole_one(pool: PgPool) {
    let (models, mut world) = (all(), World::new(fresh_seed()));
    for _ in 0..4 {
        append(&pool, &world.history(150).await).await;
    }
    follow(&pool, &models, None).await;
    let expected = without_positions(&pool, &models).await;

    let lost = lose_every_fifth(&pool).await;
    assert!(lost > 50, "{lost}");
    for model in &models {
        forget(&pool, model.as_ref()).await;
    }
    follow(&pool, &models, None).await;
    assert_eq!(lost::count(&pool).await.unwrap(), lost, "they are seen");
    // The carrier lives on beside the repair.
    let live = start(&pool, &models, None);
    let mut db = pool.acquire().await.unwrap();
    let repaired = repair(&mut db, &models).await.unwrap();
    assert_eq!((repaired.numbered.events, repaired.is_whole), (lost.unsigned_abs(), true));
    assert!(!repaired.numbered.late.is_empty() && !repaired.models.is_empty());
    assert_eq!(lost::count(&pool).await.unwrap(), 0);
    caught_up(&pool, &models).await;
    for model in &repaired.models {
        let rebuilt = rebuild(&pool, &models, model, |_| {}).await.unwrap();
        assert_eq!(rebuilt.dead_letters, 0, "{model}");
    }
    live.stop().await;
    assert_eq!(without_positions(&pool, &models).await, expected);
    assert_eq!(count(&pool, "parked_streams").await, 0);

    let again = repair(&mut db, &models).await.unwrap();
    assert_eq!((again.numbered.events, again.models.len()), (0, 0), "there is nothing left to repair");
    // Once more from the start: the order of the log stays as it is.
    for model in &models {
        rebuild(&pool, &models, model.name(), |_| {}).await.unwrap();
    }
    assert_eq!(without_positions(&pool, &models).await, expected);
}
