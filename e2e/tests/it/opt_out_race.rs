//! Opt-outs against a send by two workers: once one is acknowledged, nothing to that reader starts (I3).
//!
//! The ledger's clock is this machine's, and stamps the DATA line. Half of the opt-outs are aimed at readers for whom a
//! send was just authorized: those are the ones that could be overtaken.

use crate::account::Account;
use crate::scene;
use chrono::{DateTime, Utc};
use e2e::{Client, Draft, Export, Mail, Random, Settings, Smtp, SmtpOptions, Stack, eventually};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

const READERS: u64 = 4_000;
const OPT_OUTS: usize = 2_000;
/// Opt-outs that must arrive between their reader's authorization and its settlement.
const OVERTAKEN_MIN: usize = 200;
/// Requests at once.
const CALLS: usize = 200;
/// Of the readers of an authorization, one in so many opts out at that moment.
const AIMED_ONCE_IN: u64 = 3;
const LOOK: Duration = Duration::from_millis(10);
const WITHIN: Duration = Duration::from_secs(180);

struct OptOut {
    reader: Uuid,
    sent: DateTime<Utc>,
    acknowledged: DateTime<Utc>,
}

#[tokio::test]
async fn no_mail_starts_after_its_reader_s_opt_out_was_acknowledged() {
    let mut random = Random::from_environment("opt_out_race");
    let smtp = Smtp::start(SmtpOptions { delay: Duration::from_millis(100), ..SmtpOptions::default() }).await;
    let stack = stack(&smtp).await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", READERS)).await;
    let links = links(&stack, &api, &draft).await;

    let campaign = api.launch(&draft).await;
    let opt_outs = race(&stack, &api, campaign, links, &mut random).await;
    api.completes(campaign, WITHIN).await;
    let account = Account::of(&stack, campaign).await;
    let ledger = account.hand_overs(smtp.handovers());

    assert_eq!(opt_outs.len(), OPT_OUTS);
    let overtaken = overtaken(&account, &opt_outs);
    let (late, report) = (account.late(), &account.report);
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
        .filter(|handover| after(&handover.subscriber, handover.at) && !late.contains(&handover.subscriber))
        .map(|h| format!("{} at {}, acknowledged {}", h.subscriber, h.at, acknowledged[&h.subscriber]))
        .collect();
    assert!(
        broken.is_empty(),
        "{} mails started after their reader's opt-out was acknowledged: {:#?}",
        broken.len(),
        &broken[..broken.len().min(10)]
    );
    assert!(
        overtaken >= OVERTAKEN_MIN,
        "only {overtaken} opt-outs came while a send was authorized: nothing was proved"
    );
    account.check_intents(&ledger);
    account.check_once(&ledger);
    assert_eq!((report.planned, report.accepted + report.suppressed), (READERS, READERS), "{report:?}");
}

/// Two workers beside a process for all else. Few connections to a slow server: the campaign lasts most of a minute,
/// and a chunk that is not bounded by the window would last longer than an opt-out waits.
async fn stack(smtp: &Smtp) -> Stack {
    let settings = Settings::new()
        .smtp(smtp)
        .set("smtp.connections", 4)
        .set("send.window_ms", 1_000)
        .set("send.margin_ms", 500)
        .set("send.page_size", 500)
        .set("send.chunk_max", 250)
        .set("send.dispatches_at_once", 1);
    let mut stack = Stack::prepare(settings).await;
    stack.serve("front", "api,sequencer,projector,scheduler,importer").await;
    stack.serve("sender-1", "sender").await;
    stack.serve("sender-2", "sender").await;
    stack.ready().await;
    stack
}

/// Each reader's own link, from an earlier campaign's mail to them.
async fn links(stack: &Stack, api: &Client, draft: &Draft) -> HashMap<Uuid, String> {
    let campaign = api.launch(&Draft { mailer: Some("outbox"), ..draft.clone() }).await;
    api.completes(campaign, WITHIN).await;
    let mails = stack.outbox().handovers();
    mails.iter().map(|mail| (mail.subscriber, Mail::read(&mail.file).one_click_link())).collect()
}

/// Fires opt-outs while the campaign is sent: at readers whose send was just authorized, and as many at others.
async fn race(
    stack: &Stack,
    api: &Client,
    campaign: Uuid,
    links: HashMap<Uuid, String>,
    random: &mut Random,
) -> Vec<OptOut> {
    let mut others: Vec<Uuid> = links.keys().copied().collect();
    others.sort_unstable();
    random.shuffle(&mut others);
    let mut range = Range {
        calls: Arc::new(Semaphore::new(CALLS)),
        links,
        fired: HashSet::new(),
        opt_outs: JoinSet::new(),
    };
    let trail = stack.trail();
    let plan = eventually("the audience is frozen", WITHIN, async || {
        let (_, status) = trail.frozen_pages(campaign).await;
        if status == "sending" { Some(trail.dispatches(campaign).await) } else { None }
    })
    .await;
    let mut event = 0;
    while range.fired.len() < OPT_OUTS && trail.settled(campaign).await.1 == "sending" {
        let (authorized, last) = trail.authorized_since(&plan, event).await;
        event = last;
        for reader in authorized.into_iter().filter(|_| random.once_in(AIMED_ONCE_IN)) {
            range.fire(api, reader);
            let other = others.pop().expect("more readers than opt-outs");
            range.fire(api, other);
        }
        tokio::time::sleep(LOOK).await;
    }
    while range.fired.len() < OPT_OUTS {
        let other = others.pop().expect("more readers than opt-outs");
        range.fire(api, other);
    }
    range.opt_outs.join_all().await
}

struct Range {
    calls: Arc<Semaphore>,
    links: HashMap<Uuid, String>,
    fired: HashSet<Uuid>,
    opt_outs: JoinSet<OptOut>,
}

impl Range {
    fn fire(&mut self, api: &Client, reader: Uuid) {
        if self.fired.len() == OPT_OUTS || !self.fired.insert(reader) {
            return;
        }
        let (api, calls, link) = (api.clone(), self.calls.clone(), self.links[&reader].clone());
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
