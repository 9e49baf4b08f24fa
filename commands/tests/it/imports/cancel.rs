use super::export::export;
use super::support::*;
use commands::CommandError;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_queued_import_is_cancelled_once(pool: PgPool) {
    let commands = commands(&pool);
    let id = start(&commands, active(None), "email\nana@example.com\n").await;
    assert!(commands.cancel_import(&context(), id).await.unwrap().appended);
    assert!(!commands.cancel_import(&context(), id).await.unwrap().appended);
    work(&commands).await;
    let status = commands.import(id).await.unwrap();
    assert_eq!((status.status.as_str(), status.reason.as_deref()), ("failed", Some("cancelled")));
    assert_eq!((counts(&status), rows_in(&pool, "import_chunks").await), ([0; 5], 0));
    assert_eq!(rows_in(&pool, "events").await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_running_import_stops_within_a_batch(pool: PgPool) {
    let commands = commands(&pool);
    let export = export(31, 6_000);
    let id = start(&commands, active(None), export.text).await;
    let stop = CancellationToken::new();
    let cancelling = async {
        while commands.import(id).await.unwrap().rows == 0 {
            tokio::task::yield_now().await;
        }
        commands.cancel_import(&context(), id).await.unwrap();
        commands.import(id).await.unwrap()
    };
    let (worked, at_cancel) = tokio::join!(commands.work_on_next_import(&stop), cancelling);
    assert_eq!(worked.unwrap(), Some(id));
    let status = commands.import(id).await.unwrap();
    assert_eq!(status, at_cancel, "what the cancellation answered is final");
    assert_eq!((status.status.as_str(), status.reason.as_deref()), ("failed", Some("cancelled")));
    assert!(status.rows < status.rows_total);
    let [created, updated, ..] = counts(&status);
    assert_eq!(rows_in(&pool, "events").await, created + updated, "what was counted is there, and no more");
    assert_eq!(rejected_lines(&commands, id).await.len() as i64, status.rejected, "the list stays");
    assert_eq!(rows_in(&pool, "import_chunks").await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_import_that_ended_cannot_be_cancelled(pool: PgPool) {
    let commands = commands(&pool);
    let status = import(&commands, active(None), "email\nana@example.com\n").await;
    match commands.cancel_import(&context(), status.import_id).await {
        Err(CommandError::Forbidden { status, .. }) => assert_eq!(status, "completed"),
        other => panic!("{other:?}"),
    }
    let unknown = uuid::Uuid::from_u128(1);
    assert!(matches!(
        commands.cancel_import(&context(), unknown).await,
        Err(CommandError::NotFound("import"))
    ));
}
