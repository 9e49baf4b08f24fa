//! How long a reader waits for the answer to an opt-out.

use super::Measure;
use crate::latency::Latencies;
use crate::report::{Aim, Figure};
use crate::scene;
use e2e::{Client, Draft, Mail, Settings, Stack, eventually};
use futures::FutureExt;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::interval;

/// Readers who have a link from an earlier mail.
const LINKS: usize = 1_200;
const OPT_OUTS: usize = 400;
const EVERY: Duration = Duration::from_millis(25);

pub const MEASURE: Measure = Measure {
    name: "opt-out",
    what: "One-click opt-outs over REST by the links of earlier mails, one each 25 ms: idle, and while a campaign to those readers and more is sent \
           through a provider that answers in 20 ms, and in 2 s.",
    limited_by: "Idle: a transaction and its flush. During a send, whoever has a call under way waits until it is settled, at most W and its margin (2.5 s): \
                 that wait is the promise. Everybody else waits for the two cores.",
    take: || take().boxed_local(),
};

async fn take() -> Vec<Figure> {
    let mut figures = Vec::new();
    for (provider, latency_ms, readers) in [("20 ms", 20, 60_000), ("2 s", 2_000, 4_000)] {
        let settings = Settings::new().set("log.filter", "warn").set("null.latency_ms", latency_ms);
        let stack = Stack::start(settings).await;
        let api = stack.client();
        let (draft, _) = scene::readers(&api, "link", LINKS).await;
        let mut links = links(&stack, &api, &draft).await;
        if figures.is_empty() {
            let idle = opt_outs(&api, links.split_off(LINKS - OPT_OUTS)).await;
            figures.extend(told("idle", idle, Aim::AtMost(50.0)));
        }
        let csv = scene::export("more", readers);
        api.import_ended(api.import(draft.group, csv.as_bytes()).await, Duration::from_secs(300)).await;
        let campaign = api.launch(&Draft { mailer: Some("null"), ..draft }).await;
        eventually("the send is under way", Duration::from_secs(60), async || {
            (api.report(campaign).await.accepted > 0).then_some(())
        })
        .await;
        links.truncate(OPT_OUTS);
        let sending = opt_outs(&api, links).await;
        let left = api.report(campaign).await.pending;
        assert!(left > 0, "the campaign was over before the opt-outs were: make it larger");
        figures.extend(told(
            &format!("at full send, the provider answers in {provider}"),
            sending,
            Aim::None,
        ));
    }
    figures
}

fn told(when: &str, mut latencies: Latencies, aim: Aim) -> Vec<Figure> {
    let p50 = latencies.percentile_ms(50.0);
    let p99 = latencies.percentile_ms(99.0);
    vec![
        Figure::new(format!("{when}: p50"), p50, "ms", Aim::None),
        Figure::new(format!("{when}: p99"), p99, "ms", aim),
    ]
}

/// Of a first letter, by the outbox.
async fn links(stack: &Stack, api: &Client, draft: &Draft) -> Vec<String> {
    let by_outbox = Draft { mailer: Some("outbox"), ..draft.clone() };
    scene::send(stack, api, &by_outbox, LINKS).await;
    let sent = stack.outbox().handovers();
    sent.iter().map(|handover| Mail::read(&handover.file).one_click_link()).collect()
}

/// By the clock, not one after another: one that waits holds up nobody.
async fn opt_outs(api: &Client, links: Vec<String>) -> Latencies {
    let mut turns = interval(EVERY);
    let mut running = JoinSet::new();
    for link in links {
        turns.tick().await;
        let api = api.anonymous();
        running.spawn(async move {
            let start = Instant::now();
            api.one_click(&link).await.expect(200);
            start.elapsed()
        });
    }
    running.join_all().await.into_iter().collect()
}
