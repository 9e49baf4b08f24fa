//! How long each table keeps its rows is said in one place, for every table, and in the docs as there.

use sqlx::PgPool;
use std::collections::BTreeSet;
use std::fmt::Write;
use tokio_util::sync::CancellationToken;
use workers::maintenance;
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
        `database.maintenance_every_seconds`, a thousand rows at once, and waits for nobody.\n\n| Table | Kept |\n|---|---|\n"
        .to_owned();
    for table in TABLES {
        writeln!(docs, "| `{}` | {} |", table.name, table.kept).unwrap();
    }
    if std::env::var_os("POSTLEDGER_TEST_WRITE_DOCS").is_some() {
        std::fs::write(DOCS, &docs).unwrap();
    }
    assert_eq!(std::fs::read_to_string(DOCS).unwrap(), docs, "docs/retention.md is not what the code says");
}

/// What ended long ago goes, with the keys of its mails; what is under way, or ended lately, stays.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn work_goes_long_after_its_campaign_and_the_keys_of_mails_with_it(pool: PgPool) {
    for statement in [
        // Campaigns: ended long ago, ended lately, under way for long; and two mails outside campaigns.
        "INSERT INTO campaign_gates (campaign_id, template_id, group_id, status)
         SELECT ('00000000-0000-7000-8000-00000000000' || n)::uuid, gen_random_uuid(), gen_random_uuid(),
             CASE n WHEN 3 THEN 'paused' ELSE 'completed' END FROM generate_series(1, 3) n",
        "INSERT INTO dispatch_work (dispatch_id, campaign_id, page, last_subscriber, recipients, pending)
         SELECT gen_random_uuid(), campaign_id, 1, gen_random_uuid(), 1, 0 FROM campaign_gates",
        "INSERT INTO dispatch_work (dispatch_id, page, recipients, pending)
         SELECT ('00000000-0000-7000-8000-00000000001' || n)::uuid, 0, 1, 0 FROM generate_series(1, 2) n",
        "INSERT INTO expiring_keys (subject_id, expires_at)
         SELECT gen_random_uuid(), now() + make_interval(days => n) FROM generate_series(-1, 1, 2) n",
        "INSERT INTO subject_keys (subject_id, master_key_id, wrapped_key)
         SELECT dispatch_id, 'test', 'x'::bytea FROM dispatch_work WHERE campaign_id IS NULL
         UNION ALL SELECT subject_id, 'test', 'x'::bytea FROM expiring_keys",
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at)
         SELECT kind, '00000000-0000-7000-8000-0000000000' || lpad(n::text, 2, '0'), 1, type, '1', '{}', '{}',
             now() - make_interval(days => age)
         FROM (VALUES ('campaign', 1, 'CampaignCompleted', 31), ('campaign', 2, 'CampaignCompleted', 29),
             ('campaign', 3, 'CampaignPaused', 90), ('transactional', 11, 'TestMailRequested', 16),
             ('transactional', 12, 'TestMailRequested', 14)) e (kind, n, type, age)",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    maintenance::round(&pool, &CancellationToken::new()).await;
    let left = "SELECT coalesce(campaign_id, dispatch_id)::text FROM dispatch_work ORDER BY 1";
    let left: Vec<String> = sqlx::query_scalar(left).fetch_all(&pool).await.unwrap();
    let ends: Vec<&str> = left.iter().map(|id| &id[34..]).collect();
    assert_eq!(ends, ["02", "03", "12"]);
    let keys = "SELECT count(*) FILTER (WHERE wrapped_key IS NULL), count(*) FROM subject_keys";
    let keys: (i64, i64) = sqlx::query_as(keys).fetch_one(&pool).await.unwrap();
    assert_eq!(keys, (2, 4), "of the old mail, and of what has expired");
}
