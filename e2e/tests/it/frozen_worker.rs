//! A worker that stands still for longer than its lease while others take over, and then goes on as if nothing had been:
//! nobody gets two mails, and nobody gets one who opted out meanwhile.

use crate::account::Account;
use crate::scene;
use chrono::{DateTime, Utc};
use e2e::{Client, Draft, Export, Mail, Settings, Smtp, SmtpOptions, Stack, eventually};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::task::JoinSet;
use uuid::Uuid;

const READERS: u64 = 400;
const CONNECTIONS: u64 = 2;
/// A chunk must have this many readers left when the worker is stopped.
const UNDER_WAY_MIN: usize = 10;
const WITHIN: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_worker_that_stood_still_repeats_nobody_and_overtakes_no_opt_out() {
    let smtp = Smtp::start(SmtpOptions { delay: Duration::from_millis(50), ..SmtpOptions::default() }).await;
    let settings = Settings::new()
        .smtp(&smtp)
        .set("smtp.connections", CONNECTIONS)
        .set("send.window_ms", 1_500)
        .set("send.margin_ms", 300)
        .set("send.page_size", 100);
    let mut stack = Stack::prepare(settings).await;
    stack.serve("front", "api,sequencer,projector,scheduler,importer").await;
    stack.serve("frozen", "sender").await;
    stack.ready().await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", READERS)).await;
    let links = links(&stack, &api, &draft).await;

    let campaign = api.launch(&draft).await;
    freeze_in_a_call(&mut stack, &smtp, campaign).await;
    stack.serve("other", "sender").await;
    let under_way = under_way(&stack, campaign).await;
    let opt_outs = opt_out(&api, &links, &under_way).await;
    let report = api.completes(campaign, WITHIN).await;
    assert_eq!(
        report.unknown,
        under_way.len() as u64,
        "what the frozen worker had begun is unknown: {report:?}"
    );

    stack.process("frozen").signal("CONT");
    // It tells what it knows before it ends.
    let status = stack.terminate("frozen", Duration::from_secs(30)).await;
    assert!(status.success(), "{status}");
    let account = Account::of(&stack, campaign).await;
    let (ledger, report, late) = (account.hand_overs(smtp.handovers()), &account.report, account.late());
    println!("frozen worker: {report:?}; {} under way, {} late hand-overs", under_way.len(), late.len());
    for handover in ledger.iter().filter(|handover| !late.contains(&handover.subscriber)) {
        let after =
            opt_outs.get(&handover.subscriber).is_some_and(|acknowledged| handover.at > *acknowledged);
        assert!(!after, "started after its reader's opt-out was acknowledged: {handover:?}");
    }
    account.check_intents(&ledger);
    account.check_once(&ledger);
    assert_eq!((report.planned, report.pending), (READERS, 0), "{report:?}");
    // What it still learnt of its calls counts; whether an answer or its time-out was seen first is chance.
    assert!(report.unknown <= under_way.len() as u64, "{report:?}");
}

/// In the midst of an authorization it holds the gates of its readers, and its connection answers for as long as it is stopped.
/// More of them leave at once than there are connections for opt-outs.
#[tokio::test]
async fn a_worker_that_stands_still_in_a_transaction_keeps_nobody_from_leaving() {
    let mut stack = Stack::prepare(Settings::new()).await;
    stack.serve("front", "api,sequencer,projector,scheduler,importer").await;
    stack.serve("frozen", "sender").await;
    stack.ready().await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", 8)).await;
    let links = links(&stack, &api, &draft).await;
    let leaving: Vec<Uuid> = links.keys().copied().take(6).collect();

    let mut permits = stack.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE permits IN SHARE MODE").execute(&mut *permits).await.unwrap();
    let campaign = api.launch(&draft).await;
    sessions(&stack, "cardinality(pg_blocking_pids(pid)) > 0").await;
    stack.process("frozen").signal("STOP");
    permits.rollback().await.unwrap();
    sessions(&stack, "state = 'idle in transaction'").await;
    let all = opt_out(&api, &links, &leaving);
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("nobody waits for a stopped worker");

    stack.process("frozen").signal("CONT");
    let report = api.completes(campaign, WITHIN).await;
    assert_eq!((report.accepted, report.suppressed), (2, 6), "{report:?}");
}

/// Waits until a process has a session like this.
async fn sessions(stack: &Stack, like: &str) {
    let found = format!(
        "SELECT EXISTS (SELECT FROM pg_stat_activity
         WHERE datname = current_database() AND application_name <> 'e2e' AND {like})"
    );
    eventually(like, WITHIN, async || {
        let found: bool = sqlx::query_scalar(&found).fetch_one(stack.pool()).await.unwrap();
        found.then_some(())
    })
    .await;
}

/// Each reader's own link, from an earlier campaign's mail to them.
async fn links(stack: &Stack, api: &Client, draft: &Draft) -> HashMap<Uuid, String> {
    let campaign = api.launch(&Draft { mailer: Some("outbox"), ..draft.clone() }).await;
    api.completes(campaign, WITHIN).await;
    let mails = stack.outbox().handovers();
    mails.iter().map(|mail| (mail.subscriber, Mail::read(&mail.file).one_click_link())).collect()
}

/// Stops the worker while a chunk has readers left.
async fn freeze_in_a_call(stack: &mut Stack, smtp: &Smtp, campaign: Uuid) {
    let trail = stack.trail();
    eventually("a chunk is under way", WITHIN, async || {
        let open: u64 = trail.open_permits().await.values().sum();
        let left = (open as usize).saturating_sub(handed_over(&trail, smtp, campaign).await);
        (left >= UNDER_WAY_MIN).then_some(())
    })
    .await;
    stack.process("frozen").signal("STOP");
}

/// Readers of open permits whom the server has got already.
async fn handed_over(trail: &e2e::Trail, smtp: &Smtp, campaign: Uuid) -> usize {
    let taken: HashSet<Uuid> = smtp.handovers().iter().map(|handover| handover.subscriber).collect();
    let dispatches = trail.dispatches(campaign).await;
    let open =
        dispatches.iter().flat_map(|dispatch| &dispatch.permits).filter(|permit| permit.settled_at.is_none());
    open.flat_map(|permit| &permit.recipients).filter(|reader| taken.contains(reader)).count()
}

async fn under_way(stack: &Stack, campaign: Uuid) -> Vec<Uuid> {
    let dispatches = stack.trail().dispatches(campaign).await;
    let permits = dispatches.into_iter().flat_map(|dispatch| dispatch.permits);
    permits.filter(|permit| permit.settled_at.is_none()).flat_map(|permit| permit.recipients).collect()
}

/// All at once; answers when each was acknowledged.
async fn opt_out(
    api: &Client,
    links: &HashMap<Uuid, String>,
    readers: &[Uuid],
) -> HashMap<Uuid, DateTime<Utc>> {
    assert!(!readers.is_empty(), "nothing was under way: nothing was proved");
    let mut calls = JoinSet::new();
    for reader in readers.iter().copied() {
        let (api, link) = (api.clone(), links[&reader].clone());
        calls.spawn(async move {
            api.one_click(&link).await.expect(200);
            (reader, e2e::now())
        });
    }
    calls.join_all().await.into_iter().collect()
}
