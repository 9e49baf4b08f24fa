use super::support::*;
use bytes::Bytes;
use commands::Commands;
use commands::imports::{ImportStatus, REJECTED_MAX};
use futures::{Stream, stream};
use sqlx::PgPool;
use std::convert::Infallible;

/// A line of /proc/self/status, in bytes.
fn memory(line: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kibibytes = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    kibibytes.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Rows that are made while they are sent.
fn generated(
    header: &'static str,
    rows: u64,
    row: impl Fn(u64) -> String + Send + Unpin + 'static,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + Unpin {
    stream::iter((0..rows.div_ceil(100)).map(move |piece| {
        let start = piece * 100;
        let rows = (start..rows.min(start + 100)).map(&row).collect::<String>();
        Ok(Bytes::from(if piece == 0 { format!("{header}\n{rows}") } else { rows }))
    }))
}

async fn import_generated(
    commands: &Commands,
    body: impl Stream<Item = Result<Bytes, Infallible>> + Send + Unpin,
) -> ImportStatus {
    let done = commands.start_import(&context(), active(None), body).await.unwrap();
    work(commands).await;
    commands.import(id_in(&done, "import_id")).await.unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_large_file_takes_little_memory(pool: PgPool) {
    const BYTES: usize = 60_000_000;
    let commands = commands(&pool);
    let (a, b) = ("a".repeat(4_000), "b".repeat(4_000));
    let row = move |n| format!("reader{n}@example.com,{a},{b}\n");
    // Begins to count the peak anew (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").ok();
    let before = memory("VmRSS:");
    let status = import_generated(&commands, generated("email,a,b", BYTES as u64 / 8_025, row)).await;
    let grown = memory("VmHWM:") - before;
    completed(&status);
    println!("{} bytes imported, memory grew by {grown}", status.bytes_total);
    assert!(grown < BYTES / 2, "memory grew by {grown}");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_list_of_rejected_rows_is_bounded_and_says_so(pool: PgPool) {
    let commands = commands(&pool);
    let rows = REJECTED_MAX as u64 + 1_500;
    let status = import_generated(&commands, generated("email", rows, |n| format!("{n}\n"))).await;
    assert_eq!((status.status.as_str(), status.reason.as_deref()), ("completed", Some("rejected_list_cut")));
    assert_eq!((counts(&status)[4] as u64, status.rejected_listed), (rows, REJECTED_MAX));
    assert_eq!(rows_in(&pool, "import_rejected").await, REJECTED_MAX);
    let last = commands.rejected_rows(status.import_id, REJECTED_MAX - 1, 10).await.unwrap();
    assert_eq!(last.iter().map(|row| row.line).collect::<Vec<_>>(), [REJECTED_MAX, REJECTED_MAX + 1]);
}
