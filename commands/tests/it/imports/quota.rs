//! Uploads do not fill the disk that opt-outs need.

use super::support::*;
use commands::imports::Quota;
use commands::{CommandError, Commands};
use sqlx::PgPool;

fn limited(pool: &PgPool, spool_max_bytes: i64, open_max: i64) -> Commands {
    commands(pool).with_import_quota(Quota { spool_max_bytes, open_max })
}

async fn upload(commands: &Commands, bytes: usize) -> Result<(), CommandError> {
    let text = format!("email,a\n{}", "a@example.com,xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(bytes / 45));
    commands.start_import(&context(), active(None), body(text)).await.map(drop)
}

/// How many of twelve at once were taken; the others were refused for want of room.
async fn taken(commands: &Commands, bytes: usize) -> usize {
    let uploads = (0..12).map(|_| upload(commands, bytes));
    let done = futures::future::join_all(uploads).await;
    let full = done.iter().filter(|done| matches!(done, Err(CommandError::Full(_)))).count();
    let taken = done.iter().filter(|done| done.is_ok()).count();
    assert_eq!(full + taken, 12, "{done:?}");
    taken
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn only_so_many_imports_are_open_at_once(pool: PgPool) {
    let commands = limited(&pool, i64::MAX, 3);
    assert_eq!(taken(&commands, 1_000).await, 3);
    assert_eq!(rows_in(&pool, "imports").await, 3, "nothing is left of the others");
    assert!(matches!(upload(&commands, 1_000).await, Err(CommandError::Full(_))));
    work(&commands).await;
    upload(&commands, 1_000).await.unwrap();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn uploads_at_once_do_not_take_the_same_room(pool: PgPool) {
    const MAX: i64 = 2_000_000;
    let commands = limited(&pool, MAX, 100);
    let taken = taken(&commands, 600_000).await;
    // Those that take the last room from one another may all be refused.
    assert!(taken <= 3, "{taken}");
    let spooled: i64 = sqlx::query_scalar("SELECT coalesce(sum(bytes_total), 0)::bigint FROM imports")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(spooled <= MAX && rows_in(&pool, "imports").await == taken as i64);
    // One that alone is larger than all room is refused, and what is refused holds no room.
    assert!(matches!(upload(&commands, 3_000_000).await, Err(CommandError::Full(_))));
    work(&commands).await;
    upload(&commands, 1_500_000).await.unwrap();
}
