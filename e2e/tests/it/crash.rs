//! kill -9 at random moments of freezing and sending, and a start after each: every recipient is accounted for, nobody
//! gets two mails, and what is unknown is no more than what was under way at the kills.

use crate::account::Account;
use crate::scene;
use e2e::{Client, Draft, Export, Handover, Random, Settings, Smtp, SmtpOptions, Stack, eventually};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

const READERS: u64 = 20_000;
/// Small, so that there is time for three kills while the audience is frozen.
const PAGE_SIZE: u64 = 100;
const CHUNK_MAX: u64 = 40;
const KILLS_FREEZING: u64 = 3;
const KILLS_SENDING: u64 = 7;
/// With the outbox, what a dead worker left may be cleared up after 36 s: its longest call.
const ENDS_WITHIN: Duration = Duration::from_secs(300);
const NEXT_WITHIN: Duration = Duration::from_secs(120);

fn settings() -> Settings {
    Settings::new()
        .set("send.page_size", PAGE_SIZE)
        .set("send.chunk_max", CHUNK_MAX)
        .set("send.window_ms", 500)
        .set("send.margin_ms", 200)
}

/// Over the outbox, which counts by its links, and over SMTP, with a ledger in another process; the same readers.
#[tokio::test]
async fn ten_kills_lose_and_repeat_nobody() {
    let mut random = Random::from_environment("crash");
    let smtp = Smtp::start(SmtpOptions::default()).await;
    let mut stack = Stack::prepare(settings().smtp(&smtp).set("smtp.connections", 8)).await;
    start(&mut stack).await;
    stack.ready().await;
    let started = Instant::now();
    let draft = scene::readers(&stack.client(), &Export::clean("reader", READERS)).await;
    println!("crash: {READERS} readers imported in {:?}", started.elapsed());

    let over_outbox = Draft { mailer: Some("outbox"), ..draft.clone() };
    let (campaign, permits) = survive(&mut stack, &over_outbox, &mut random).await;
    let account = Account::of(&stack, campaign).await;
    let ledger = account.hand_overs(stack.outbox().handovers());
    check(&account, &ledger, &permits);
    assert_eq!(account.report.unknown, 0, "the outbox always tells what became of an attempt");
    assert_eq!(ledger.len() as u64, READERS);

    let over_smtp = Draft { mailer: Some("smtp"), ..draft };
    let (campaign, permits) = survive(&mut stack, &over_smtp, &mut random).await;
    let account = Account::of(&stack, campaign).await;
    check(&account, &account.hand_overs(smtp.handovers()), &permits);
}

fn check(account: &Account, ledger: &[Handover], permits: &HashMap<Uuid, u64>) {
    let (report, under_way) = (&account.report, permits.values().sum());
    println!(
        "crash: {report:?}; {} handed over, {} permits open at kills, for {under_way} readers",
        ledger.len(),
        permits.len()
    );
    account.check_intents(ledger);
    account.check_once(ledger);
    assert_eq!(report.planned, READERS, "the audience is the CSV's readers");
    assert_eq!(
        (report.pending, report.suppressed, report.rejected, report.cancelled),
        (0, 0, 0, 0),
        "{report:?}"
    );
    assert!(report.unknown <= under_way, "{} unknown, {under_way} under way at the kills", report.unknown);
    assert!(under_way > 0, "no kill met an open permit: nothing was proved");
}

/// Sends a campaign through all kills. Answers it, and the permits that were open right after them.
async fn survive(stack: &mut Stack, draft: &Draft, random: &mut Random) -> (Uuid, HashMap<Uuid, u64>) {
    let (api, started) = (stack.client(), Instant::now());
    let campaign = api.launch(draft).await;
    let watch = tokio::spawn(watch(api.clone(), campaign));
    let mut permits = HashMap::new();
    for kill in 0..KILLS_FREEZING {
        let pages = READERS / PAGE_SIZE;
        // Spread over three quarters of the pages.
        let at = pages * (kill * 25 + random.within(1..20)) / 100;
        kill_in_freezing(stack, campaign, at, pages).await;
        start(stack).await;
    }
    for kill in 0..KILLS_SENDING {
        let at = READERS * (kill * 12 + random.within(1..11)) / 100;
        kill_in_sending(stack, campaign, at, random.within(0..150)).await;
        permits.extend(stack.trail().open_permits().await);
        start(stack).await;
    }
    stack.ready().await;
    api.completes(campaign, ENDS_WITHIN).await;
    let looks = watch.await.expect("the report added up at every look");
    println!("crash: {:?} with ten kills; the report added up at {looks} looks", started.elapsed());
    (campaign, permits)
}

async fn start(stack: &mut Stack) {
    stack.serve("server", "").await;
}

async fn kill_in_freezing(stack: &mut Stack, campaign: Uuid, at: u64, pages: u64) {
    let trail = stack.trail();
    eventually(&format!("page {at} is frozen"), NEXT_WITHIN, async || {
        let (frozen, status) = trail.frozen_pages(campaign).await;
        (status != "scheduled" && frozen as u64 >= at).then_some(())
    })
    .await;
    stack.kill("server").await;
    let (frozen, status) = trail.frozen_pages(campaign).await;
    println!("killed in {status}, {frozen} of {pages} pages frozen");
    assert_eq!(
        status, "freezing",
        "the kill missed the freezing, {frozen} pages are done: make them smaller"
    );
}

async fn kill_in_sending(stack: &mut Stack, campaign: Uuid, at: u64, later_ms: u64) {
    let trail = stack.trail();
    eventually(&format!("{at} of {READERS} are settled"), NEXT_WITHIN, async || {
        let (settled, status) = trail.settled(campaign).await;
        (status != "freezing" && settled as u64 >= at).then_some(())
    })
    .await;
    // Anywhere between an authorization and its settlement: a moment by chance, not a wait for something.
    tokio::time::sleep(Duration::from_millis(later_ms)).await;
    stack.kill("server").await;
    let (settled, status) = trail.settled(campaign).await;
    println!("killed in {status}, {settled} of {READERS} settled");
    assert_eq!(status, "sending", "the kill missed the sending: {settled} are settled");
}

/// Looks at the report until nobody waits, whenever the server answers. Each look checks that it adds up.
async fn watch(api: Client, campaign: Uuid) -> u64 {
    let mut looks = 0;
    loop {
        let report = api.report(campaign).await;
        looks += 1;
        if report.pending == 0 && report.planned == READERS {
            return looks;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
