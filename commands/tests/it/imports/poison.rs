//! An import that its worker does not survive.

use super::export::export;
use super::support::*;
use commands::Commands;
use commands::imports::ImportStatus;
use commands::send::DEATHS_MAX;
use domain::ImportId;
use sqlx::PgPool;
use std::pin::pin;
use tokio_util::sync::CancellationToken;

/// Rows of a batch.
const BATCH: i64 = 1_000;

/// A worker takes an import, and is gone as soon as `is_enough` says so.
async fn a_worker_dies(commands: &Commands, id: ImportId, is_enough: impl Fn(&ImportStatus) -> bool) {
    expire_leases(&commands.store.pool).await;
    let fence = fence(commands, id).await;
    let stop = CancellationToken::new();
    let mut working = pin!(commands.work_on_next_import(&stop));
    while fence == self::fence(commands, id).await || !is_enough(&commands.import(id).await.unwrap()) {
        assert!(polled(working.as_mut(), 1).await.is_none(), "it ended");
    }
}

async fn fence(commands: &Commands, id: ImportId) -> i64 {
    let fence = sqlx::query_scalar("SELECT fence FROM imports WHERE import_id = $1");
    fence.bind(id).fetch_one(&commands.store.pool).await.unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_import_that_five_workers_died_with_fails_and_holds_up_no_other(pool: PgPool) {
    let commands = commands(&pool);
    let poisoned = start(&commands, active(None), export(9, 2_500).text).await;
    a_worker_dies(&commands, poisoned, |import| import.rows == BATCH).await;
    for _ in 0..DEATHS_MAX {
        a_worker_dies(&commands, poisoned, |_| true).await;
        assert_eq!(commands.import(poisoned).await.unwrap().finished_at, None);
    }
    let other = start(&commands, active(None), "email\nana@example.com\n").await;
    // While the last one's lease runs, and afterwards.
    work(&commands).await;
    assert_eq!(completed(&commands.import(other).await.unwrap()), [1, 0, 0, 0, 0]);
    expire_leases(&pool).await;
    work(&commands).await;
    let failed = commands.import(poisoned).await.unwrap();
    assert_eq!((failed.status.as_str(), failed.reason.as_deref()), ("failed", Some("worker_died")));
    assert_eq!(failed.rows, BATCH, "what was written is counted");
    let [created, updated, ..] = counts(&failed);
    assert_eq!(
        people(&commands).await.len() as i64,
        created + 1,
        "and stays: {updated} rows named one of them again"
    );
    assert_eq!(rows_in(&pool, "import_chunks").await, 0);
}

/// A batch, an error, a stop, and another's turn: the worker lived.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn whoever_writes_a_batch_fails_or_gives_back_has_not_died(pool: PgPool) {
    let commands = commands(&pool);
    let export = export(5, 3_500);
    let id = start(&commands, active(None), export.text.clone()).await;
    for batch in 1..=3 {
        for _ in 1..DEATHS_MAX {
            a_worker_dies(&commands, id, |_| true).await;
        }
        match batch {
            1 => a_worker_dies(&commands, id, |import| import.rows == BATCH).await,
            2 => {
                sqlx::query("ALTER TABLE gates RENAME TO gone").execute(&pool).await.unwrap();
                expire_leases(&pool).await;
                assert!(commands.work_on_next_import(&CancellationToken::new()).await.is_err());
                sqlx::query("ALTER TABLE gone RENAME TO gates").execute(&pool).await.unwrap();
            }
            _ => {
                let stopped = CancellationToken::new();
                stopped.cancel();
                expire_leases(&pool).await;
                assert_eq!(commands.work_on_next_import(&stopped).await.unwrap(), Some(id));
            }
        }
    }
    for _ in 1..DEATHS_MAX {
        a_worker_dies(&commands, id, |_| true).await;
    }
    let other = start(&commands, active(None), "email\nlast@example.com\n").await;
    expire_leases(&pool).await;
    work(&commands).await;
    assert_eq!(completed(&commands.import(id).await.unwrap()), export.counts);
    assert_eq!(completed(&commands.import(other).await.unwrap()), [1, 0, 0, 0, 0]);
}
