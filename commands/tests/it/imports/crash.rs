use super::export::{Export, export};
use super::support::*;
use commands::Commands;
use commands::imports::ImportStatus;
use domain::ImportId;
use sqlx::PgPool;
use std::pin::pin;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

async fn assert_exact(commands: &Commands, id: ImportId, export: &Export) {
    let status = commands.import(id).await.unwrap();
    assert_eq!(completed(&status), export.counts);
    assert_eq!(rejected_lines(commands, id).await, export.rejected);
    export.assert_found(&people(commands).await);
    assert_gates_follow(commands).await;
    assert_eq!(
        rows_in(&commands.store.pool, "subject_keys").await,
        export.people.len() as i64,
        "no key is left over"
    );
    assert_eq!(rows_in(&commands.store.pool, "import_chunks").await, 0);
}

fn ended(status: &ImportStatus) -> bool {
    status.finished_at.is_some()
}

/// The worker dies at random moments, and another takes over: what an import finds is what it finds uninterrupted.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_killed_import_goes_on_exactly(pool: PgPool) {
    let commands = commands(&pool);
    for seed in [1, 2, 3] {
        sqlx::query("TRUNCATE gates, subject_keys").execute(&pool).await.unwrap();
        let export = export(seed, 4_300);
        let id = start(&commands, active(None), export.text.clone()).await;
        let mut random = Random(seed);
        let (mut kills, mut mid) = (0, 0);
        while !ended(&commands.import(id).await.unwrap()) {
            let stop = CancellationToken::new();
            let polls = random.next() % 60 + 1;
            match polled(pin!(commands.work_on_next_import(&stop)), polls).await {
                Some(worked) => drop(worked.unwrap()),
                None => kills += 1,
            }
            let status = commands.import(id).await.unwrap();
            counts(&status);
            mid += i32::from(status.rows > 0 && !ended(&status));
            expire_leases(&pool).await;
        }
        println!("seed {seed}: killed {kills} times, {mid} of them with rows done");
        assert!(kills >= 5 && mid >= 2, "{kills} {mid}");
        assert_exact(&commands, id, &export).await;
    }
}

/// A worker that stalls past its lease and wakes after another took over writes nothing more.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_worker_that_lost_its_lease_writes_nothing(pool: PgPool) {
    let commands = commands(&pool);
    let stop = CancellationToken::new();
    let mut random = Random(9);
    let export = export(9, 2_500);
    let mut took_over = 0;
    for _ in 0..12 {
        sqlx::query("TRUNCATE gates, subject_keys").execute(&pool).await.unwrap();
        let id = start(&commands, active(None), export.text.clone()).await;
        let mut stalled = pin!(commands.work_on_next_import(&stop));
        let polls = random.next() % 100 + 1;
        if let Some(worked) = polled(stalled.as_mut(), polls).await {
            assert_eq!(worked.unwrap(), Some(id));
            continue;
        }
        expire_leases(&pool).await;
        // It cannot be taken over while the stalled one is within a batch's transaction.
        let other = commands.work_on_next_import(&stop).await.unwrap();
        took_over += i32::from(other == Some(id));
        stalled.await.unwrap();
        work(&commands).await;
        assert_exact(&commands, id, &export).await;
    }
    assert!(took_over >= 3, "{took_over}");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_stopping_worker_ends_its_batch_and_gives_the_import_back(pool: PgPool) {
    let commands = commands(&pool);
    let export = export(5, 3_000);
    let id = start(&commands, active(None), export.text.clone()).await;
    let stop = CancellationToken::new();
    let stopping = async {
        while commands.import(id).await.unwrap().rows == 0 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (worked, ()) = tokio::join!(commands.work_on_next_import(&stop), stopping);
    assert_eq!(worked.unwrap(), Some(id));
    let status = commands.import(id).await.unwrap();
    assert_eq!(status.status, "queued");
    assert!(status.rows >= 1_000 && status.rows < status.rows_total, "{status:?}");
    // Nobody waits for a lease to end.
    work(&commands).await;
    assert_exact(&commands, id, &export).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_error_of_ours_is_tried_again_and_then_said(pool: PgPool) {
    let commands = commands(&pool);
    let stop = CancellationToken::new();
    let rename = |from: &str, to: &str| format!("ALTER TABLE {from} RENAME TO {to}");
    let id = start(&commands, active(None), "email\nana@example.com\n").await;
    sqlx::query(&rename("gates", "gone")).execute(&pool).await.unwrap();
    assert!(commands.work_on_next_import(&stop).await.is_err());
    let status = commands.import(id).await.unwrap();
    assert_eq!((status.status.as_str(), status.reason.as_deref()), ("running", Some("internal_error")));
    assert_eq!(commands.work_on_next_import(&stop).await.unwrap(), None, "not at once");
    sqlx::query(&rename("gone", "gates")).execute(&pool).await.unwrap();
    expire_leases(&pool).await;
    work(&commands).await;
    assert_eq!(completed(&commands.import(id).await.unwrap()), [1, 0, 0, 0, 0]);

    let id = start(&commands, active(None), "email\nbo@example.com\n").await;
    sqlx::query(&rename("gates", "gone")).execute(&pool).await.unwrap();
    for _ in 0..5 {
        assert_eq!(commands.import(id).await.unwrap().finished_at, None);
        assert!(commands.work_on_next_import(&stop).await.is_err());
        expire_leases(&pool).await;
    }
    let status = commands.import(id).await.unwrap();
    assert_eq!((status.status.as_str(), status.reason.as_deref()), ("failed", Some("internal_error")));
    assert_eq!(rows_in(&pool, "import_chunks").await, 0);
}

/// A lock that nobody gives up does not hang an import: its batch is given up, it says that it waits, and it goes on.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_busy_database_only_delays(pool: PgPool) {
    let commands = commands(&pool);
    let stop = CancellationToken::new();
    // Far below the batch's own ten seconds, so that the test is quick: every connection of this pool takes it over.
    let id = start(&commands, active(None), "email\nana@example.com\n").await;
    let mut foreign = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE gates IN SHARE MODE").execute(&mut *foreign).await.unwrap();
    let worker = {
        let commands = commands.clone();
        tokio::spawn(async move { commands.work_on_next_import(&stop).await })
    };
    // End whatever waits for the foreign lock, as the time-out would.
    while !worker.is_finished() {
        sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation = 'gates'::regclass")
            .execute(&pool)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(worker.await.unwrap().is_err());
    let status = commands.import(id).await.unwrap();
    assert_eq!((status.status.as_str(), status.reason.as_deref()), ("running", Some("waiting_for_database")));
    foreign.rollback().await.unwrap();
    expire_leases(&pool).await;
    work(&commands).await;
    assert_eq!(completed(&commands.import(id).await.unwrap()), [1, 0, 0, 0, 0]);
}
