//! A sequence that was taken back is refused, and what was lost under it is found and numbered.

use crate::support::*;
use eventstore::sequencer::Sequencer;
use eventstore::{StoreError, lost};
use sqlx::PgPool;

async fn set_back(pool: &PgPool, to: i64) {
    let set = "SELECT setval(pg_get_serial_sequence('events', 'append_id'), $1)";
    sqlx::query(set).bind(to).execute(pool).await.unwrap();
}

async fn found(pool: &PgPool) -> Vec<i64> {
    let mut ids = Vec::new();
    let mut db = pool.acquire().await.unwrap();
    lost::scan(&mut db, |_, _, range| ids.extend(range.iter().map(|one| one.append_id))).await.unwrap();
    ids
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_sequence_below_what_is_numbered_is_refused_until_it_is_repaired(pool: PgPool) {
    let store = store(&pool);
    // Ids 1 to 4 are burnt, so that they can be drawn again.
    let mut burnt = pool.begin().await.unwrap();
    for _ in 0..4 {
        sqlx::query("SELECT nextval(pg_get_serial_sequence('events', 'append_id'))")
            .execute(&mut *burnt)
            .await
            .unwrap();
    }
    burnt.rollback().await.unwrap();
    // One sequencer, whose mark moves.
    let mut sequencer = Sequencer::new(store.clone());
    for n in 0..6 {
        create_group(&store, &format!("group {n}")).await;
        assert_eq!(sequencer.step().await.unwrap(), 1);
    }
    set_back(&pool, 1).await;
    assert!(lost::order(&pool).await.unwrap().is_behind());
    for _ in 0..2 {
        let refused = Sequencer::new(store.clone()).step().await;
        assert!(matches!(refused, Err(StoreError::SequenceBehind { drawn: 1, numbered: 10 })), "{refused:?}");
    }
    // Appended below the mark: nobody would ever number it.
    create_group(&store, "lost").await;
    assert_eq!(lost::count(&pool).await.unwrap(), 1);
    assert_eq!(found(&pool).await, [2]);

    let mut db = pool.acquire().await.unwrap();
    let repair = lost::find(&mut db).await.unwrap();
    assert!(repair.is_whole);
    let mut tx = pool.begin().await.unwrap();
    let numbered = lost::number(&mut tx, &repair).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((numbered.events, numbered.late.len()), (1, 0));
    assert_eq!(log(&pool).await.last(), Some(&(7, 2)), "it is the log's last");
    assert_eq!((lost::count(&pool).await.unwrap(), found(&pool).await), (0, vec![]));
    create_group(&store, "next").await;
    assert_eq!(sequence(&store).await, 1, "the sequencer works again");
}

/// Its note in `pending` is gone as well: the comparison of all events finds it.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_event_without_a_note_is_found_too(pool: PgPool) {
    let store = store(&pool);
    create_group(&store, "a").await;
    sqlx::query("DELETE FROM pending").execute(&pool).await.unwrap();
    let mut sequencer = Sequencer::new(store.clone());
    for name in ["b", "c", "d"] {
        create_group(&store, name).await;
        assert_eq!(sequencer.step().await.unwrap(), 1);
    }
    assert_eq!((lost::count(&pool).await.unwrap(), found(&pool).await), (0, vec![1]));
}
