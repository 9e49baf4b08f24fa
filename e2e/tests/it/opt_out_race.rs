//! Opt-outs against a send by two workers: once one is acknowledged, nothing to that reader starts (I3), however old the
//! read models are.
//!
//! The ledger's clock is this machine's, and stamps the DATA line. Half of the opt-outs are aimed at readers for whom a
//! send was just authorized: those are the ones that could be overtaken. Workers stand still for longer than an opt-out
//! waits, and go on as if nothing had been.

use crate::account::Account;
use crate::blows::Blow;
use crate::scene;
use chrono::{DateTime, Utc};
use e2e::{Client, Draft, Export, Handover, Mail, Random, Settings, Smtp, SmtpOptions, Stack, eventually};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Requests at once.
const CALLS: usize = 200;
/// Of the readers of an authorization, one in so many opts out at that moment.
const AIMED_ONCE_IN: u64 = 3;
const LOOK: Duration = Duration::from_millis(10);
/// Of each worker.
const CONNECTIONS: u64 = 4;
const WINDOW: Duration = Duration::from_secs(1);
const MARGIN: Duration = Duration::from_millis(500);
/// How long a worker stands still: all who opted out meanwhile were answered, and its lease is not over yet.
const FROZEN_FOR: Duration = Duration::from_secs(3);

/// How many opt-outs: as many as the environment asks for, or so few that every run of all tests has the time. Each takes
/// some 20 ms, and what can break shows in the first hundreds.
pub fn opt_outs(few: usize) -> usize {
    let wanted = std::env::var("POSTLEDGER_TEST_OPT_OUTS").ok();
    wanted.map_or(few, |wanted| wanted.parse().expect("POSTLEDGER_TEST_OPT_OUTS is a number"))
}

struct OptOut {
    reader: Uuid,
    sent: DateTime<Utc>,
    acknowledged: DateTime<Utc>,
}

/// Two workers beside a process for all else but the read models: those stand still for half of the race.
#[tokio::test]
async fn no_mail_starts_after_its_reader_s_opt_out_was_acknowledged() {
    let mut random = Random::from_environment("opt_out_race");
    let smtp = Smtp::start(slow_server()).await;
    let mut stack = Stack::prepare(settings(&smtp).set("send.page_size", 500)).await;
    stack.serve("front", "api,sequencer,scheduler,importer").await;
    stack.serve("projector", "projector").await;
    stack.serve("sender-1", "sender").await;
    stack.serve("sender-2", "sender").await;
    stack.ready().await;
    let race = Race {
        opt_outs: opt_outs(2_000),
        blows: &[
            (10, Blow::Freeze("sender-1")),
            (25, Blow::Kill("projector")),
            (30, Blow::Freeze("sender-2")),
            (50, Blow::Freeze("sender-1")),
            (70, Blow::Freeze("sender-2")),
            (75, Blow::Start("projector")),
        ],
    };
    race.is_won(&mut stack, &smtp, &mut random).await;
}

pub fn slow_server() -> SmtpOptions {
    SmtpOptions { delay: Duration::from_millis(100), ..SmtpOptions::default() }
}

/// Few connections to a slow server: the campaign lasts most of a minute, and a chunk that is not bounded by the window
/// would last longer than an opt-out waits.
pub fn settings(smtp: &Smtp) -> Settings {
    Settings::new()
        .smtp(smtp)
        .set("smtp.connections", CONNECTIONS)
        .set("send.window_ms", WINDOW.as_millis())
        .set("send.margin_ms", MARGIN.as_millis())
        .set("send.chunk_max", 250)
        .set("send.dispatches_at_once", 1)
}

pub struct Race<'a> {
    pub opt_outs: usize,
    /// What befalls the stack once so many percent of the opt-outs are under way.
    pub blows: &'a [(usize, Blow<'a>)],
}

impl Race<'_> {
    /// Whom opt-outs are aimed at must not run out before the opt-outs do.
    fn readers(&self) -> u64 {
        self.opt_outs as u64 * 2
    }

    /// Opt-outs that must arrive between their reader's authorization and its settlement.
    fn overtaken_min(&self) -> usize {
        self.opt_outs / 10
    }

    fn within(&self) -> Duration {
        Duration::from_secs(60) + Duration::from_millis(60) * self.opt_outs as u32
    }

    pub async fn is_won(&self, stack: &mut Stack, smtp: &Smtp, random: &mut Random) {
        let api = stack.client();
        let draft = scene::readers(&api, &Export::clean("reader", self.readers())).await;
        let links = self.links(stack, &api, &draft).await;

        let campaign = api.launch(&draft).await;
        let opt_outs = self.run(stack, &api, campaign, links, random).await;
        api.completes(campaign, self.within()).await;
        let account = Account::of(stack, campaign).await;
        self.check(&account, &account.hand_overs(smtp.handovers()), &opt_outs);
    }

    /// Each reader's own link, from an earlier campaign's mail to them.
    async fn links(&self, stack: &Stack, api: &Client, draft: &Draft) -> HashMap<Uuid, String> {
        let campaign = api.launch(&Draft { mailer: Some("outbox"), ..draft.clone() }).await;
        api.completes(campaign, self.within()).await;
        let mails = stack.outbox().handovers();
        mails.iter().map(|mail| (mail.subscriber, Mail::read(&mail.file).one_click_link())).collect()
    }

    fn check(&self, account: &Account, ledger: &[Handover], opt_outs: &[OptOut]) {
        assert_eq!(opt_outs.len(), self.opt_outs);
        let (overtaken, late, report) = (overtaken(account, opt_outs), account.late(), &account.report);
        println!(
            "opt-out race: {report:?}; {overtaken} opt-outs within an authorization; {} late hand-overs",
            late.len()
        );
        let acknowledged: HashMap<Uuid, DateTime<Utc>> =
            opt_outs.iter().map(|o| (o.reader, o.acknowledged)).collect();
        let after = |reader: &Uuid, at: DateTime<Utc>| {
            acknowledged.get(reader).is_some_and(|acknowledged| at > *acknowledged)
        };
        let broken: Vec<String> = ledger
            .iter()
            .filter(|handover| {
                after(&handover.subscriber, handover.at) && !late.contains(&handover.subscriber)
            })
            .map(|h| format!("{} at {}, acknowledged {}", h.subscriber, h.at, acknowledged[&h.subscriber]))
            .collect();
        assert!(
            broken.is_empty(),
            "{} mails started after their reader's opt-out was acknowledged: {:#?}",
            broken.len(),
            &broken[..broken.len().min(10)]
        );
        assert!(
            overtaken >= self.overtaken_min(),
            "only {overtaken} opt-outs came while a send was authorized: nothing was proved"
        );
        account.check_intents(ledger);
        account.check_once(ledger);
        let sum = report.accepted + report.suppressed + report.unknown;
        assert_eq!((report.planned, sum), (self.readers(), self.readers()), "{report:?}");
        // Whether an answer or its time-out was seen first, when a worker went on, is chance.
        let in_calls = self.blows.iter().filter(|(_, blow)| matches!(blow, Blow::Freeze(_))).count() as u64;
        assert!(report.unknown <= in_calls * CONNECTIONS, "{report:?}");
    }

    /// Fires opt-outs while the campaign is sent: at readers whose send was just authorized, and as many at others.
    async fn run(
        &self,
        stack: &mut Stack,
        api: &Client,
        campaign: Uuid,
        links: HashMap<Uuid, String>,
        random: &mut Random,
    ) -> Vec<OptOut> {
        let mut range = Range::new(api, links, self.opt_outs, random);
        let trail = stack.trail();
        let plan = eventually("the audience is frozen", self.within(), async || {
            let (_, status) = trail.frozen_pages(campaign).await;
            if status == "sending" { Some(trail.dispatches(campaign).await) } else { None }
        })
        .await;
        let (mut event, mut blows, mut frozen) = (0, self.blows.iter().peekable(), Vec::new());
        while !range.is_done() && trail.settled(campaign).await.1 == "sending" {
            let (authorized, last) = trail.authorized_since(&plan, event).await;
            event = last;
            for reader in authorized.into_iter().filter(|_| random.once_in(AIMED_ONCE_IN)) {
                range.fire(reader);
                range.fire_at_another();
            }
            while let Some((_, blow)) = blows.next_if(|(at, _)| range.fired.len() * 100 >= self.opt_outs * at)
            {
                println!("{blow:?} with {} opt-outs under way", range.fired.len());
                blow.strike(stack).await;
                blow.mend(stack).await;
                if let Blow::Freeze(name) = blow {
                    frozen.push((*name, Instant::now()));
                }
            }
            thaw(stack, &mut frozen, FROZEN_FOR);
            tokio::time::sleep(LOOK).await;
        }
        thaw(stack, &mut frozen, Duration::ZERO);
        assert!(
            blows.peek().is_none(),
            "the campaign was over before {:?}: nothing was proved",
            blows.peek()
        );
        while !range.is_done() {
            range.fire_at_another();
        }
        range.opt_outs.join_all().await
    }
}

/// Lets go on who stood still for so long.
fn thaw(stack: &mut Stack, frozen: &mut Vec<(&str, Instant)>, so_long: Duration) {
    for (name, since) in frozen.extract_if(.., |(_, since)| since.elapsed() >= so_long) {
        println!("{name} goes on after {:?}", since.elapsed());
        stack.process(name).signal("CONT");
    }
}

struct Range {
    api: Client,
    calls: Arc<Semaphore>,
    links: HashMap<Uuid, String>,
    /// In a random order.
    others: Vec<Uuid>,
    fired: HashSet<Uuid>,
    fired_max: usize,
    opt_outs: JoinSet<OptOut>,
}

impl Range {
    fn new(api: &Client, links: HashMap<Uuid, String>, fired_max: usize, random: &mut Random) -> Self {
        let mut others: Vec<Uuid> = links.keys().copied().collect();
        others.sort_unstable();
        random.shuffle(&mut others);
        Self {
            api: api.clone(),
            calls: Arc::new(Semaphore::new(CALLS)),
            links,
            others,
            fired: HashSet::new(),
            fired_max,
            opt_outs: JoinSet::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.fired.len() == self.fired_max
    }

    fn fire_at_another(&mut self) {
        let other = self.others.pop().expect("more readers than opt-outs");
        self.fire(other);
    }

    fn fire(&mut self, reader: Uuid) {
        if self.is_done() || !self.fired.insert(reader) {
            return;
        }
        let (api, calls, link) = (self.api.clone(), self.calls.clone(), self.links[&reader].clone());
        self.opt_outs.spawn(async move {
            let _call = calls.acquire().await.unwrap();
            let sent = e2e::now();
            api.one_click(&link).await.expect(200);
            OptOut { reader, sent, acknowledged: e2e::now() }
        });
    }
}

/// How many opt-outs were sent after a send to their reader was authorized and before it was settled.
fn overtaken(account: &Account, opt_outs: &[OptOut]) -> usize {
    let sent: HashMap<Uuid, DateTime<Utc>> =
        opt_outs.iter().map(|opt_out| (opt_out.reader, opt_out.sent)).collect();
    let permits = account.dispatches.iter().flat_map(|dispatch| &dispatch.permits);
    let within = permits.flat_map(|permit| {
        let settled = permit.settled_at.expect("a completed campaign's permits are settled");
        let sent = &sent;
        permit.recipients.iter().filter(move |reader| {
            sent.get(reader).is_some_and(|sent| permit.authorized_at <= *sent && *sent <= settled)
        })
    });
    within.collect::<HashSet<_>>().len()
}
