//! How long each table keeps its rows is said in one place, for every table, and in the docs as there.

use sqlx::PgPool;
use std::collections::BTreeSet;
use std::fmt::Write;
use workers::retention::TABLES;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/retention.md");

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn every_table_of_the_schema_has_its_line(pool: PgPool) {
    let tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
                  AND relkind IN ('r', 'p', 'm') AND NOT relispartition AND relname <> '_sqlx_migrations'";
    let schema: Vec<String> = sqlx::query_scalar(tables).fetch_all(&pool).await.unwrap();
    let schema: BTreeSet<&str> = schema.iter().map(String::as_str).collect();
    let listed: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    assert!(listed.is_sorted(), "by name");
    assert_eq!(
        listed.into_iter().collect::<BTreeSet<_>>(),
        schema,
        "workers/src/retention.rs and the schema"
    );
}

/// Each runs, takes no more than it is told to, and finds nothing to do in an empty database.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn each_deletion_can_be_run(pool: PgPool) {
    for table in TABLES {
        let Some(deletion) = table.deletion() else { continue };
        assert!(
            deletion.contains("LIMIT $1 FOR UPDATE") && deletion.contains("SKIP LOCKED"),
            "{}",
            table.name
        );
        let done = sqlx::query(deletion).bind(1_000_i64).execute(&pool).await.unwrap();
        assert_eq!(done.rows_affected(), 0, "{}", table.name);
    }
}

/// Made anew by POSTLEDGER_TEST_WRITE_DOCS=1.
#[test]
fn the_docs_say_the_same() {
    let mut docs = "# How long each table keeps its rows\n\nMade of `workers/src/retention.rs`. Maintenance deletes at \
        `database.maintenance_seconds`, a thousand rows at once, and waits for nobody.\n\n| Table | Kept |\n|---|---|\n"
        .to_owned();
    for table in TABLES {
        writeln!(docs, "| `{}` | {} |", table.name, table.kept).unwrap();
    }
    if std::env::var_os("POSTLEDGER_TEST_WRITE_DOCS").is_some() {
        std::fs::write(DOCS, &docs).unwrap();
    }
    assert_eq!(std::fs::read_to_string(DOCS).unwrap(), docs, "docs/retention.md is not what the code says");
}
