use super::support::*;
use bytes::Bytes;
use commands::imports::ImportRequest;
use commands::{CommandError, Commands};
use futures::stream;
use sqlx::PgPool;

async fn refused(commands: &Commands, request: ImportRequest, text: impl Into<Bytes>) -> (String, String) {
    let error = commands.start_import(&context(), request, body(text)).await.unwrap_err();
    assert_eq!(rows_in(&commands.store.pool, "imports").await, 0, "nothing is left");
    assert_eq!(rows_in(&commands.store.pool, "import_chunks").await, 0);
    let (field, reason) = field_of(&error);
    (field.into(), reason.into())
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_body_that_is_no_export_is_refused_at_once(pool: PgPool) {
    let commands = commands(&pool);
    let late = |end: &[u8]| {
        let mut text = b"email,town\n".to_vec();
        (0..30_000).for_each(|n| text.extend(format!("reader{n}@example.com,Rome\n").into_bytes()));
        text.extend(end);
        text
    };
    let bodies: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "is empty"),
        (b"\r\n \n".to_vec(), "no column for the address"),
        (b"Vorname;Telefon\nAna;1\n".to_vec(), "its columns are \"Vorname\", \"Telefon\""),
        (b"ana@example.com,Ana\n".to_vec(), "header row"),
        (b"email,town\na@example.com,K\xf6ln\n".to_vec(), "not UTF-8 in line 2"),
        (b"email,town\na@example.com,K\0ln\n".to_vec(), "NUL character in line 2"),
        (late(b"x@example.com,K\xf6ln\n"), "not UTF-8 in line 30002"),
        (late(b"x@example.com,\"Rome\n"), "starts in line 30002"),
        (late(&[b"x@example.com,".to_vec(), vec![b'x'; 1_100_000]].concat()), "longer than 1 MiB"),
        (vec![b'x'; 100_000], "64 KiB"),
    ];
    for (text, expected) in bodies {
        let (field, reason) = refused(&commands, active(None), text).await;
        assert!(field == "body" && reason.contains(expected), "{field}: {reason}");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn bad_parameters_are_refused_by_name(pool: PgPool) {
    let commands = commands(&pool);
    let unknown = active(Some(uuid::Uuid::from_u128(7)));
    assert_eq!(refused(&commands, unknown, "email\n").await.0, "group");
    let long = ImportRequest { name: Some("x".repeat(301)), ..active(None) };
    assert_eq!(refused(&commands, long, "email\n").await.0, "name");
    let control = ImportRequest { consent_source: Some("a\nb".into()), ..active(None) };
    assert_eq!(refused(&commands, control, "email\n").await.0, "consent_source");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_endless_body_is_refused_in_time(pool: PgPool) {
    let commands = commands(&pool);
    let mut text = String::from("email,town\n");
    text.push_str(&"a@example.com,Rome\n".repeat(20_000));
    let pieces = stream::iter([Ok(Bytes::from(text)), Err(std::io::Error::other("the limit is reached"))]);
    let error = commands.start_import(&context(), active(None), pieces).await.unwrap_err();
    assert_eq!(field_of(&error), ("body", "broke off: the limit is reached"));
    assert_eq!((rows_in(&pool, "imports").await, rows_in(&pool, "import_chunks").await), (0, 0));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_unknown_import_is_not_found(pool: PgPool) {
    let commands = commands(&pool);
    let id = uuid::Uuid::from_u128(7);
    assert!(matches!(commands.import(id).await, Err(CommandError::NotFound("import"))));
    assert!(matches!(commands.rejected_rows(id, 0, 10).await, Err(CommandError::NotFound("import"))));
}
