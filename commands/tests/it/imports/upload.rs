use super::support::*;
use bytes::Bytes;
use commands::imports::ImportRequest;
use futures::StreamExt;
use futures::channel::mpsc;
use sqlx::PgPool;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_import_says_what_it_is(pool: PgPool) {
    let commands = commands(&pool);
    let group = group(&commands).await;
    let text = "email\nana@example.com\nbad\n";
    let request = ImportRequest {
        consent_source: Some("shop".into()),
        name: Some("readers.csv".into()),
        ..active(Some(group))
    };
    let id = start(&commands, request, text).await;
    let status = commands.import(id).await.unwrap();
    assert_eq!((status.status.as_str(), status.rows, status.rows_total), ("queued", 0, 2));
    assert_eq!((status.bytes_read, status.bytes_total), (6, text.len() as i64));
    assert_eq!((status.name.as_deref(), status.group), (Some("readers.csv"), Some(group)));
    assert_eq!((status.imported_as.as_str(), status.consent_source.as_str()), ("active", "shop"));
    let stored: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT sealed FROM import_chunks").fetch_all(&pool).await.unwrap();
    assert!(stored.iter().all(|chunk| !chunk.windows(4).any(|part| part == b"ana@")), "the spool is sealed");
    work(&commands).await;
    let status = commands.import(id).await.unwrap();
    assert_eq!(completed(&status), [1, 0, 0, 0, 1]);
    assert_eq!(status.rejected_listed, 1);
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!((&json["status"], &json["group"]), (&"completed".into(), &group.to_string().into()));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn imports_are_listed_newest_first(pool: PgPool) {
    let commands = commands(&pool);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, start(&commands, active(None), "email\n").await);
    }
    let page = async |limit, before| -> Vec<_> {
        commands.imports(limit, before).await.unwrap().into_iter().map(|status| status.import_id).collect()
    };
    assert_eq!(page(50, None).await, ids);
    assert_eq!(page(2, None).await, ids[..2]);
    assert_eq!(page(2, Some(ids[1])).await, ids[2..4]);
}

/// A request that dies while it sends leaves what nobody sees and the next worker sweeps, once it is old.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_dead_uploads_leftovers_are_swept(pool: PgPool) {
    let commands = commands(&pool);
    let context = context();
    {
        let (mut send, receive) = mpsc::channel::<Result<Bytes, Infallible>>(4);
        let mut upload = pin!(commands.start_import(&context, active(None), receive.boxed()));
        let text = format!("email\n{}", "ana@example.com\n".repeat(40_000));
        send.try_send(Ok(text.into())).unwrap();
        while rows_in(&pool, "import_chunks").await < 2 {
            let waiting = tokio::time::timeout(Duration::from_millis(5), upload.as_mut()).await;
            assert!(waiting.is_err());
        }
    }
    assert!(commands.imports(50, None).await.unwrap().is_empty());
    let id: uuid::Uuid = sqlx::query_scalar("SELECT import_id FROM imports").fetch_one(&pool).await.unwrap();
    assert!(commands.import(id).await.is_err() && commands.cancel_import(&context, id).await.is_err());
    work(&commands).await;
    assert_eq!(rows_in(&pool, "imports").await, 1, "it may still be alive");
    let age = "UPDATE imports SET touched_at = clock_timestamp() - interval '61 minutes'";
    sqlx::query(age).execute(&pool).await.unwrap();
    work(&commands).await;
    assert_eq!((rows_in(&pool, "imports").await, rows_in(&pool, "import_chunks").await), (0, 0));
}
