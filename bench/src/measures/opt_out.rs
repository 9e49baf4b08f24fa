//! How long a reader waits for the answer to an opt-out.

use super::Measure;
use crate::latency::Latencies;
use crate::report::{Aim, Figure};
use crate::scene::{self, Minter};
use chrono::{DateTime, Utc};
use e2e::{Client, DispatchTrail, Draft, Settings, Stack, eventually};
use futures::FutureExt;
use serde_json::Value;
use std::collections::HashSet;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::interval;
use uuid::Uuid;

const OPT_OUTS: usize = 800;
const EVERY: Duration = Duration::from_millis(25);
const WITHIN: Duration = Duration::from_secs(120);
/// What the provider takes to answer, and as many readers as make a campaign that outlasts the opt-outs.
const PROVIDERS: [(&str, u64, usize); 2] = [("20 ms", 20, 120_000), ("2 s", 2_000, 4_000)];
const IDLE_MAX_MS: f64 = 50.0;
const SENDING_MAX_MS: f64 = 200.0;
/// W and its margin, and what it takes to be told that they are over.
const WAITING_MAX_MS: f64 = 2_500.0 + SENDING_MAX_MS;

pub const MEASURE: Measure = Measure {
    name: "opt-out",
    what: "One-click opt-outs over REST, one each 25 ms: idle, and while a campaign is sent as fast as it goes through a provider that answers in 20 ms, and in 2 s. \
           Half of those are aimed at readers for whom a send was just authorized. Whoever had a call under way between their request and its answer is counted apart.",
    limited_by: "Idle: a transaction and its flush. During a send everybody waits for the two cores, and whoever has a call under way until it is settled, \
                 at most W and its margin (2.5 s): that wait is the promise.",
    take: || take().boxed_local(),
};

struct OptOut {
    reader: Uuid,
    sent: DateTime<Utc>,
    answered: DateTime<Utc>,
}

async fn take() -> Vec<Figure> {
    let mut figures = Vec::new();
    for (provider, latency_ms, readers) in PROVIDERS {
        let settings = Settings::new().set("log.filter", "warn").set("send.mailer", "null");
        let stack = Stack::start(settings.set("null.latency_ms", latency_ms)).await;
        let api = stack.client();
        let minter = Minter::of(&stack).await;
        if figures.is_empty() {
            let (draft, _) = scene::readers(&api, "idle", OPT_OUTS).await;
            scene::all_done(&stack).await;
            let idle = idle(&api, &minter, draft.group).await;
            figures.extend(told("idle", &idle, Aim::AtMost(IDLE_MAX_MS)));
        }
        let (draft, _) = scene::readers(&api, "reader", readers).await;
        scene::all_done(&stack).await;
        let (waiting, others) = during_a_send(&stack, &api, &minter, &draft).await;
        let when = format!("at full send, the provider answers in {provider}");
        figures.extend(told(&when, &others, Aim::AtMost(SENDING_MAX_MS)));
        figures.extend(told(&format!("{when}, a call under way"), &waiting, Aim::AtMost(WAITING_MAX_MS)));
    }
    figures
}

fn told(when: &str, opt_outs: &[OptOut], aim: Aim) -> Vec<Figure> {
    assert!(!opt_outs.is_empty(), "{when}: there was none");
    let mut latencies: Latencies =
        opt_outs.iter().map(|opt_out| (opt_out.answered - opt_out.sent).to_std().unwrap()).collect();
    let (count, p50, p99) = (opt_outs.len(), latencies.percentile_ms(50.0), latencies.percentile_ms(99.0));
    vec![
        Figure::new(format!("{when} ({count} opt-outs): p50"), p50, "ms", Aim::None),
        Figure::new(format!("{when}: p99"), p99, "ms", aim),
    ]
}

async fn idle(api: &Client, minter: &Minter, group: Uuid) -> Vec<OptOut> {
    let readers: Vec<Value> = api.all(&format!("/subscribers?group={group}")).await;
    let (mut turns, mut running) = (interval(EVERY), JoinSet::new());
    for reader in readers {
        turns.tick().await;
        let reader = reader["subscriber_id"].as_str().unwrap().parse().unwrap();
        running.spawn(opt_out(api.anonymous(), reader, minter.link(reader, group)));
    }
    running.join_all().await
}

/// By the clock, not one after another: one that waits holds up nobody. Those with a call under way, and the others.
async fn during_a_send(
    stack: &Stack,
    api: &Client,
    minter: &Minter,
    draft: &Draft,
) -> (Vec<OptOut>, Vec<OptOut>) {
    let (campaign, trail) = (api.launch(draft).await, stack.trail());
    let plan = eventually("the audience is frozen", WITHIN, async || {
        let (_, status) = trail.frozen_pages(campaign).await;
        if status == "sending" { Some(trail.dispatches(campaign).await) } else { None }
    })
    .await;
    let (mut authorized, mut event) = eventually("the send is under way", WITHIN, async || {
        Some(trail.authorized_since(&plan, 0).await).filter(|(readers, _)| !readers.is_empty())
    })
    .await;
    // The last pages are not begun yet.
    let mut others: Vec<Uuid> =
        plan.iter().flat_map(|dispatch| dispatch.recipients.iter().copied()).collect();
    let (mut turns, mut running, mut asked) = (interval(EVERY), JoinSet::new(), HashSet::new());
    while asked.len() < OPT_OUTS {
        turns.tick().await;
        let (fresh, last) = trail.authorized_since(&plan, event).await;
        (authorized, event) = (if fresh.is_empty() { authorized } else { fresh }, last);
        let aimed = if asked.len() % 2 == 0 { authorized.pop() } else { None };
        let reader = aimed.or_else(|| others.pop()).expect("more readers than opt-outs");
        if asked.insert(reader) {
            running.spawn(opt_out(api.anonymous(), reader, minter.link(reader, draft.group)));
        }
    }
    let opt_outs = running.join_all().await;
    let left = api.report(campaign).await.pending;
    assert!(left > 0, "the campaign was over before the opt-outs were: make it larger");
    api.tell(campaign, "cancel").await.expect(202);
    eventually("every call is settled", WITHIN, async || trail.open_permits().await.is_empty().then_some(()))
        .await;
    let dispatches = trail.dispatches(campaign).await;
    opt_outs.into_iter().partition(|opt_out| had_a_call(&dispatches, opt_out))
}

/// Whether a call to the reader was authorized and not yet settled between the request and its answer.
fn had_a_call(dispatches: &[DispatchTrail], opt_out: &OptOut) -> bool {
    let permits = dispatches.iter().flat_map(|dispatch| &dispatch.permits);
    permits.filter(|permit| permit.recipients.contains(&opt_out.reader)).any(|permit| {
        let settled = permit.settled_at.expect("every call is settled");
        permit.authorized_at <= opt_out.answered && opt_out.sent <= settled
    })
}

async fn opt_out(api: Client, reader: Uuid, link: String) -> OptOut {
    let sent = e2e::now();
    api.one_click(&link).await.expect(200);
    OptOut { reader, sent, answered: e2e::now() }
}
