//! kill -9 at random moments of freezing and sending, and a start after each: every recipient is accounted for, nobody
//! gets two mails, and what is unknown is no more than what was under way at the kills.

use crate::account::Account;
use crate::blows::Blow;
use crate::scene;
use e2e::{Client, Draft, Export, Handover, Random, Settings, Smtp, SmtpOptions, Stack, eventually};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

const CHUNK_MAX: u64 = 40;
/// With the outbox, what a dead worker left may be cleared up after 36 s: its longest call.
const ENDS_WITHIN: Duration = Duration::from_secs(300);
const NEXT_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test]
async fn ten_kills_lose_and_repeat_nobody() {
    let mut random = Random::from_environment("crash");
    let smtp = Smtp::start(SmtpOptions::default()).await;
    let ordeal = Ordeal {
        readers: 20_000,
        // Small, so that there is time for three kills while the audience is frozen.
        page_size: 100,
        freezing: &[Blow::Replace("server"); 3],
        sending: &[Blow::Replace("server"); 7],
    };
    let mut stack = Stack::start(ordeal.settings(&smtp)).await;
    let draft = ordeal.draft(&stack).await;
    ordeal.is_survived_over_outbox(&mut stack, &draft, &mut random).await;
    ordeal.is_survived_over_smtp(&mut stack, &smtp, &draft, &mut random).await;
}

/// A campaign's size, and what befalls the stack while it is frozen and while it is sent, each spread over three
/// quarters of that time or a little more.
pub struct Ordeal<'a> {
    pub readers: u64,
    pub page_size: u64,
    pub freezing: &'a [Blow<'a>],
    pub sending: &'a [Blow<'a>],
}

impl Ordeal<'_> {
    pub fn settings(&self, smtp: &Smtp) -> Settings {
        Settings::new()
            .smtp(smtp)
            .set("smtp.connections", 8)
            .set("send.page_size", self.page_size)
            .set("send.chunk_max", CHUNK_MAX)
            .set("send.window_ms", 500)
            .set("send.margin_ms", 200)
    }

    /// To its readers, who are imported.
    pub async fn draft(&self, stack: &Stack) -> Draft {
        scene::readers(&stack.client(), &Export::clean("reader", self.readers)).await
    }

    /// The outbox counts by its links.
    pub async fn is_survived_over_outbox(&self, stack: &mut Stack, draft: &Draft, random: &mut Random) {
        let draft = Draft { mailer: Some("outbox"), ..draft.clone() };
        let (campaign, permits) = self.send(stack, &draft, random).await;
        let account = Account::of(stack, campaign).await;
        let ledger = account.hand_overs(stack.outbox().handovers());
        self.check(&account, &ledger, &permits);
        assert_eq!(account.report.unknown, 0, "the outbox always tells what became of an attempt");
        assert_eq!(ledger.len() as u64, self.readers);
    }

    /// SMTP's ledger is in another process.
    pub async fn is_survived_over_smtp(
        &self,
        stack: &mut Stack,
        smtp: &Smtp,
        draft: &Draft,
        random: &mut Random,
    ) {
        let draft = Draft { mailer: Some("smtp"), ..draft.clone() };
        let (campaign, permits) = self.send(stack, &draft, random).await;
        let account = Account::of(stack, campaign).await;
        self.check(&account, &account.hand_overs(smtp.handovers()), &permits);
    }

    fn check(&self, account: &Account, ledger: &[Handover], permits: &HashMap<Uuid, u64>) {
        let (report, under_way) = (&account.report, permits.values().sum());
        println!(
            "ordeal: {report:?}; {} handed over, {} permits open at blows, for {under_way} readers",
            ledger.len(),
            permits.len()
        );
        account.check_intents(ledger);
        account.check_once(ledger);
        assert_eq!(report.planned, self.readers, "the audience is the CSV's readers");
        assert_eq!(
            (report.pending, report.suppressed, report.rejected, report.cancelled),
            (0, 0, 0, 0),
            "{report:?}"
        );
        assert!(report.unknown <= under_way, "{} unknown, {under_way} under way at blows", report.unknown);
        assert!(under_way > 0, "no blow met an open permit: nothing was proved");
    }

    /// Sends a campaign through all blows. Answers it, and the permits that were open right after them.
    async fn send(
        &self,
        stack: &mut Stack,
        draft: &Draft,
        random: &mut Random,
    ) -> (Uuid, HashMap<Uuid, u64>) {
        let (api, started) = (stack.client(), Instant::now());
        let campaign = api.launch(draft).await;
        let watch = tokio::spawn(watch(api.clone(), campaign, self.readers));
        let mut permits = HashMap::new();
        let pages = self.readers / self.page_size;
        for (blow, share) in spread(self.freezing, 75, random) {
            in_freezing(stack, campaign, pages * share / 100, blow).await;
            blow.mend(stack).await;
        }
        for (blow, share) in spread(self.sending, 84, random) {
            in_sending(stack, campaign, self.readers * share / 100, blow, random).await;
            permits.extend(stack.trail().open_permits().await);
            blow.mend(stack).await;
        }
        stack.ready().await;
        api.completes(campaign, ENDS_WITHIN).await;
        let looks = watch.await.expect("the report added up at every look");
        println!("ordeal: {:?} in all; the report added up at {looks} looks", started.elapsed());
        (campaign, permits)
    }
}

/// Each blow with a random percentage from its part of the way.
fn spread<'a>(blows: &[Blow<'a>], percent: u64, random: &mut Random) -> Vec<(Blow<'a>, u64)> {
    let part = percent / blows.len() as u64;
    (0..).zip(blows).map(|(turn, blow)| (*blow, turn * part + random.within(1..part))).collect()
}

async fn in_freezing(stack: &mut Stack, campaign: Uuid, at: u64, blow: Blow<'_>) {
    let trail = stack.trail();
    eventually(&format!("page {at} is frozen"), NEXT_WITHIN, async || {
        let (frozen, status) = trail.frozen_pages(campaign).await;
        (status != "scheduled" && frozen as u64 >= at).then_some(())
    })
    .await;
    blow.strike(stack).await;
    let (frozen, status) = trail.frozen_pages(campaign).await;
    println!("{blow:?} in {status}, {frozen} pages are frozen");
    assert_eq!(status, "freezing", "it missed the freezing, {frozen} pages are done: make them smaller");
}

async fn in_sending(stack: &mut Stack, campaign: Uuid, at: u64, blow: Blow<'_>, random: &mut Random) {
    let trail = stack.trail();
    eventually(&format!("{at} are settled"), NEXT_WITHIN, async || {
        let (settled, status) = trail.settled(campaign).await;
        (status != "freezing" && settled as u64 >= at).then_some(())
    })
    .await;
    // A moment by chance, not a wait for something: in the midst of a chunk, or between two.
    tokio::time::sleep(Duration::from_millis(random.within(0..150))).await;
    // The outbox is so fast that all blows could miss its chunks.
    if random.once_in(2) {
        let is_open = async || (!trail.open_permits().await.is_empty()).then_some(());
        eventually("a chunk is under way", NEXT_WITHIN, is_open).await;
    }
    blow.strike(stack).await;
    let (settled, status) = trail.settled(campaign).await;
    println!("{blow:?} in {status}, {settled} are settled");
    assert_eq!(status, "sending", "it missed the sending: {settled} are settled");
}

/// Looks at the report until nobody waits, whenever the server answers. Each look checks that it adds up.
async fn watch(api: Client, campaign: Uuid, readers: u64) -> u64 {
    let mut looks = 0;
    loop {
        let report = api.report(campaign).await;
        looks += 1;
        if report.pending == 0 && report.planned == readers {
            return looks;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
