//! A list of one group's opt-outs reads what it shows, however rare or common the group is.

use projections::Slice;
use projections::opt_outs::{Filter, list};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

const ALL: i64 = 50_000;

/// Rows of `opt_outs` that this session has read.
async fn rows_read(pool: &PgPool) -> i64 {
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(pool).await.unwrap();
    let read = "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
                WHERE relname = 'opt_outs'";
    sqlx::query_scalar(read).fetch_one(pool).await.unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_rare_groups_opt_outs_are_found_without_a_walk_through_all(pool: PgPool) {
    let one = PgPoolOptions::new().max_connections(1);
    let pool = one.connect_with((*pool.connect_options()).clone()).await.unwrap();
    let (common, rare) = (Uuid::from_u128(1), Uuid::from_u128(2));
    // Three of them are of the rare group, the oldest ones.
    let fill = "INSERT INTO opt_outs (position, subscriber_id, recorded_at, channel, groups)
                SELECT n, gen_random_uuid(), now(), 'one_click', ARRAY[CASE WHEN n <= 3 THEN $2 ELSE $3 END]
                FROM generate_series(1, $1) n";
    sqlx::query(fill).bind(ALL).bind(rare).bind(common).execute(&pool).await.unwrap();
    sqlx::query("ANALYZE opt_outs, opt_outs_of_groups").execute(&pool).await.unwrap();
    for (group, expected) in [(rare, vec![3, 2, 1]), (common, vec![ALL, ALL - 1, ALL - 2])] {
        let before = rows_read(&pool).await;
        let filter = Filter { group: Some(group), ..Filter::default() };
        let page = list(&pool, &filter, Slice::new(None, 3)).await.unwrap();
        let positions: Vec<i64> = page.items.iter().map(|item| item.position).collect();
        assert_eq!(positions, expected);
        assert_eq!(page.next_cursor.is_some(), group == common);
        let read = rows_read(&pool).await - before;
        assert!(read < 100, "{read} rows were read for {expected:?}");
    }
}
