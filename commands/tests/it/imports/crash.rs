use super::export::{Export, export};
use super::support::*;
use commands::Commands;
use commands::imports::ImportStatus;
use domain::ImportId;
use sqlx::PgPool;
use std::collections::BTreeSet;
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

/// The worker dies at random moments, and another takes over: what an import finds is what it finds uninterrupted.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_killed_import_goes_on_exactly(pool: PgPool) {
    let commands = commands(&pool);
    let mut interrupted = 0;
    // The second file is longer than a chunk of the spool.
    for (seed, rows) in [(1, 2_500), (2, 6_000), (3, 2_500)] {
        sqlx::query("TRUNCATE gates, subject_keys").execute(&pool).await.unwrap();
        let export = export(seed, rows);
        let id = start(&commands, active(None), export.text.clone()).await;
        let (kills, places) = work_with_kills(&commands, id, &mut Random(seed)).await;
        println!("seed {seed}: killed {kills} times, with {places:?} rows done");
        assert!(kills >= 10, "{kills}");
        interrupted += places.len();
        assert_exact(&commands, id, &export).await;
    }
    assert!(interrupted >= 6, "within the file too: {interrupted}");
}

/// How often the worker was killed, and how many rows were done then. Each life is a little longer, so that every batch
/// is met by several kills and none holds for ever.
async fn work_with_kills(commands: &Commands, id: ImportId, random: &mut Random) -> (i32, BTreeSet<i64>) {
    let (mut kills, mut places, mut longest) = (0, BTreeSet::new(), 0);
    loop {
        longest += 1;
        let stop = CancellationToken::new();
        let life = random.next() % longest + 1;
        match polled(pin!(commands.work_on_next_import(&stop)), life).await {
            Some(worked) => drop(worked.unwrap()),
            None => kills += 1,
        }
        let status = commands.import(id).await.unwrap();
        counts(&status);
        if status.finished_at.is_some() {
            return (kills, places);
        }
        if places.insert(status.rows) {
            longest = 10;
        }
        expire_leases(&commands.store.pool).await;
        // Where nothing was written since the last one: more kills than an import is forgiven.
        sqlx::query("UPDATE imports SET deaths = 0").execute(&commands.store.pool).await.unwrap();
    }
}

/// A worker that stalls past its lease and wakes after another took over writes nothing more.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_worker_that_lost_its_lease_writes_nothing(pool: PgPool) {
    let commands = commands(&pool);
    let stop = CancellationToken::new();
    let export = export(9, 2_500);
    let places: [fn(&ImportStatus) -> bool; 3] =
        [|import| import.status == "running", |import| import.rows == 1_000, |import| import.rows == 2_000];
    for reached in places {
        sqlx::query("TRUNCATE gates, subject_keys").execute(&pool).await.unwrap();
        let id = start(&commands, active(None), export.text.clone()).await;
        let mut stalled = pin!(commands.work_on_next_import(&stop));
        while !reached(&commands.import(id).await.unwrap()) {
            assert!(polled(stalled.as_mut(), 1).await.is_none());
        }
        expire_leases(&pool).await;
        assert_eq!(commands.work_on_next_import(&stop).await.unwrap(), Some(id));
        let status = commands.import(id).await.unwrap();
        stalled.await.unwrap();
        assert_eq!(commands.import(id).await.unwrap(), status);
        assert_exact(&commands, id, &export).await;
    }
}

/// One that stalls within a batch's transaction keeps its import past its lease, and goes on when it wakes.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_batch_under_way_is_not_taken_over(pool: PgPool) {
    let commands = commands(&pool);
    let stop = CancellationToken::new();
    let export = export(9, 900);
    let id = start(&commands, active(None), export.text.clone()).await;
    let mut stalled = pin!(commands.work_on_next_import(&stop));
    let in_transaction = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'gates'::regclass
         AND mode = 'RowExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
    while !sqlx::query_scalar::<_, bool>(in_transaction).fetch_one(&pool).await.unwrap() {
        assert!(polled(stalled.as_mut(), 1).await.is_none());
    }
    expire_leases(&pool).await;
    assert_eq!(commands.work_on_next_import(&stop).await.unwrap(), None);
    assert_eq!(stalled.await.unwrap(), Some(id));
    assert_exact(&commands, id, &export).await;
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
