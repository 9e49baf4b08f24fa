//! A process that is killed or told to stop in the middle of its work goes on exactly at the next start.

use crate::account::Account;
use crate::scene;
use e2e::{Draft, Export, Random, Settings, Smtp, SmtpOptions, Stack, eventually};
use std::time::{Duration, Instant};

const ROWS: u64 = 20_000;
/// A dead worker's import is taken over after its lease of 60 s.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(150);
const READERS: u64 = 1_500;
const STOPS_WITHIN: Duration = Duration::from_secs(30);
const WITHIN: Duration = Duration::from_secs(60);

/// Both in one stack, so that the campaign fills the time of the dead worker's lease.
#[tokio::test]
async fn a_killed_import_and_a_stopped_send_go_on_at_the_next_start() {
    let mut random = Random::from_environment("restart");
    let smtp = Smtp::start(SmtpOptions { delay: Duration::from_millis(15), ..SmtpOptions::default() }).await;
    let mut stack = Stack::start(Settings::new().smtp(&smtp).set("send.page_size", 200)).await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", READERS)).await;

    let export = Export::dirty(ROWS, &mut random);
    let imported = api.group("Imported").await;
    let import = api.import(imported, &export.csv).await;
    let at = random.within(1_000..ROWS / 2);
    let rows = eventually(&format!("{at} rows are imported"), WITHIN, async || {
        Some(api.import_status(import).await.rows).filter(|rows| *rows >= at)
    })
    .await;
    stack.kill("server").await;
    println!("restart: killed with {rows} of {ROWS} rows imported");
    stack.serve("server", "").await;
    stack.ready().await;
    assert_eq!(api.import_status(import).await.status, "running", "the kill missed the import");

    stop_in_mid_send(&mut stack, &smtp, &draft).await;

    let status = api.import_ended(import, TAKEN_OVER_WITHIN).await;
    assert_eq!((status.rows, status.created), (ROWS, export.readers.len() as u64), "{status:?}");
    assert_eq!((status.updated, status.unchanged), (export.updated, export.unchanged), "{status:?}");
    let rejected: Vec<u64> = api.rejected_rows(import).await.iter().map(|row| row.line).collect();
    assert_eq!(rejected, export.rejected_lines);
    let spooled: i64 =
        sqlx::query_scalar("SELECT count(*) FROM import_chunks").fetch_one(stack.pool()).await.unwrap();
    assert_eq!(spooled, 0, "the body is deleted at the end");
}

async fn stop_in_mid_send(stack: &mut Stack, smtp: &Smtp, draft: &Draft) {
    let api = stack.client();
    let campaign = api.launch(draft).await;
    eventually("200 are handed over", WITHIN, async || (smtp.count() >= 200).then_some(())).await;
    let told = Instant::now();
    let status = stack.terminate("server", STOPS_WITHIN).await;
    println!(
        "restart: stopped {} ms after SIGTERM, {} handed over",
        told.elapsed().as_millis(),
        smtp.count()
    );
    assert!(status.success(), "after SIGTERM it ended with {status}");
    assert_eq!(
        stack.trail().open_permits().await.len(),
        0,
        "what was authorized was not settled before the end"
    );
    assert!((smtp.count() as u64) < READERS, "the campaign was over before the stop: nothing was proved");

    stack.serve("server", "").await;
    stack.ready().await;
    api.completes(campaign, WITHIN).await;
    let account = Account::of(stack, campaign).await;
    let ledger = account.hand_overs(smtp.handovers());
    account.check_intents(&ledger);
    account.check_once(&ledger);
    assert_eq!((account.report.planned, account.report.accepted), (READERS, READERS), "{:?}", account.report);
}
