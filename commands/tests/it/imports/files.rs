use super::export::export;
use super::support::*;
use sqlx::PgPool;
use std::path::PathBuf;

fn demo(file: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../demo").join(file)).unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_demonstrations_export_is_found_as_its_writer_says(pool: PgPool) {
    let commands = commands(&pool);
    let group = group(&commands).await;
    let expected: serde_json::Value = serde_json::from_slice(&demo("expected.json")).unwrap();
    let status = import(&commands, active(Some(group)), demo("subscribers.csv")).await;
    let [created, updated, unchanged, kept, rejected] = completed(&status);
    assert_eq!(created, expected["distinct_valid"]);
    assert_eq!(updated + unchanged, expected["repeats"].as_i64().unwrap());
    assert_eq!((kept, status.rows), (0, expected["rows"].as_i64().unwrap()));
    let lines = rejected_lines(&commands, status.import_id).await;
    assert_eq!(serde_json::json!(lines), expected["rejected_lines"]);
    assert_eq!(rejected, lines.len() as i64);
    assert_eq!(rows_in(&pool, "import_chunks").await, 0, "the spool is gone");
    let people = people(&commands).await;
    assert!(people.values().all(|person| person.state.is_subscribed(group)));
    assert!(people.values().all(|person| !person.details.attributes.contains_key("optin_ip")));
    assert_gates_follow(&commands).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn every_kind_of_dirt_is_counted_and_found(pool: PgPool) {
    let commands = commands(&pool);
    for seed in 0..8 {
        sqlx::query("TRUNCATE gates, subject_keys").execute(&pool).await.unwrap();
        let export = export(seed, 500);
        let known = people(&commands).await;
        assert!(known.is_empty(), "keys are gone, so that each file starts anew");
        let status = import(&commands, active(None), export.text.clone()).await;
        assert_eq!(completed(&status), export.counts, "seed {seed}");
        assert_eq!(rejected_lines(&commands, status.import_id).await, export.rejected, "seed {seed}");
        export.assert_found(&people(&commands).await);
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_large_dirty_export_is_found_and_then_changes_nothing(pool: PgPool) {
    let commands = commands(&pool);
    let export = export(77, 5_000);
    let first = import(&commands, active(None), export.text.clone()).await;
    assert_eq!(completed(&first), export.counts);
    assert_eq!(rejected_lines(&commands, first.import_id).await, export.rejected);
    export.assert_found(&people(&commands).await);
    assert_gates_follow(&commands).await;
    // People who are in the file twice with other details change to and fro; whoever is in it once does not.
    let events = rows_in(&pool, "events").await;
    let again = import(&commands, active(None), export.text.clone()).await;
    let [created, updated, unchanged, kept, rejected] = completed(&again);
    assert_eq!((created, kept, rejected), (0, 0, export.counts[4]));
    assert_eq!(updated + unchanged, export.counts[..3].iter().sum::<i64>());
    assert_eq!(rows_in(&pool, "events").await - events, updated);
    assert!(updated < unchanged / 4);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn rejected_rows_say_what_and_why(pool: PgPool) {
    let commands = commands(&pool);
    let status = import(
        &commands,
        active(None),
        "email,town\nno-at-sign,Rome\nana@example.com,Oslo\n,\nb@example.com,Rome,x",
    )
    .await;
    assert_eq!(completed(&status), [1, 0, 0, 0, 3]);
    let rows = rejected(&commands, status.import_id).await;
    let found: Vec<_> = rows.iter().map(|row| (row.line, row.value.as_str())).collect();
    assert_eq!(found, [(2, "no-at-sign"), (4, ""), (5, "b@example.com")]);
    assert!(rows[0].reason.contains('@') && rows[2].reason.contains("fields in the row: 3"));
    let stored: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT value FROM import_rejected").fetch_all(&pool).await.unwrap();
    assert!(stored.iter().all(|value| !value.windows(4).any(|part| part == b"no-a")), "values are sealed");
    let page = commands.rejected_rows(status.import_id, 2, 1).await.unwrap();
    assert_eq!(page.iter().map(|row| row.line).collect::<Vec<_>>(), [4]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_header_alone_is_an_import_of_nobody(pool: PgPool) {
    let commands = commands(&pool);
    for text in ["email", "\u{feff}Email Address,First Name\r\n\r\n"] {
        assert_eq!(completed(&import(&commands, active(None), text).await), [0; 5]);
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn imported_columns_are_known_to_templates(pool: PgPool) {
    let commands = commands(&pool);
    import(&commands, active(None), "email,FNAME,Favourite Town,OPTIN_IP\na@example.com,Ana,,192.0.2.1\n")
        .await;
    let known = commands::attributes::known(&pool).await.unwrap();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), ["favourite_town", "first_name"]);
}
