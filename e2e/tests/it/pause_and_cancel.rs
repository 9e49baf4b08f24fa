//! Once a pause or a cancel is answered, no hand-over starts; a resume goes on; whoever is left is closed as cancelled.

use crate::account::Account;
use crate::scene;
use chrono::{DateTime, Utc};
use e2e::{Client, Export, Settings, Smtp, SmtpOptions, Stack, eventually, stays};
use std::time::Duration;
use uuid::Uuid;

const READERS: u64 = 1_500;
const WINDOW: Duration = Duration::from_millis(1_000);
const MARGIN: Duration = Duration::from_millis(400);
const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn nothing_starts_after_a_pause_or_a_cancel_is_answered() {
    let smtp = Smtp::start(SmtpOptions { delay: Duration::from_millis(20), ..SmtpOptions::default() }).await;
    let settings = Settings::new().smtp(&smtp).set("send.page_size", 200);
    let settings =
        settings.set("send.window_ms", WINDOW.as_millis()).set("send.margin_ms", MARGIN.as_millis());
    let stack = Stack::start(settings).await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", READERS)).await;
    let campaign = api.launch(&draft).await;

    reaches(&smtp, 150).await;
    let paused = stop(&api, campaign, "pause").await;
    assert_eq!(api.campaign(campaign).await.status, "paused");
    is_quiet(&smtp, &api, campaign, paused).await;
    repeats_append_nothing(&stack, campaign, "pause").await;

    let resumed = e2e::now();
    api.tell(campaign, "resume").await.expect(202);
    let so_far = smtp.count();
    reaches(&smtp, so_far + 150).await;
    repeats_append_nothing(&stack, campaign, "resume").await;

    let cancelled = stop(&api, campaign, "cancel").await;
    eventually("whoever was left is closed", WITHIN, async || {
        (api.report(campaign).await.pending == 0).then_some(())
    })
    .await;
    is_quiet(&smtp, &api, campaign, cancelled).await;
    repeats_append_nothing(&stack, campaign, "cancel").await;
    for verb in ["pause", "resume", "unschedule"] {
        let problem = api.tell(campaign, verb).await.problem(409);
        assert_eq!(problem["status"], "cancelled", "{problem}");
    }

    let account = Account::of(&stack, campaign).await;
    let ledger = account.hand_overs(smtp.handovers());
    account.check_intents(&ledger);
    account.check_once(&ledger);
    let (report, late) = (&account.report, account.late());
    println!("pause and cancel: {report:?}, {} late hand-overs", late.len());
    assert_eq!(report.planned, READERS);
    assert_eq!((report.accepted + report.cancelled, report.unknown), (READERS, 0), "{report:?}");
    assert!(report.cancelled > 0, "the campaign was over before the cancel: nothing was proved");
    for handover in ledger.iter().filter(|handover| !late.contains(&handover.subscriber)) {
        let allowed = handover.at <= paused || (resumed <= handover.at && handover.at <= cancelled);
        assert!(allowed, "paused {paused}, resumed {resumed}, cancelled {cancelled}: {handover:?}");
    }
}

async fn reaches(smtp: &Smtp, count: usize) {
    eventually(&format!("{count} are handed over"), WITHIN, async || (smtp.count() >= count).then_some(()))
        .await;
}

/// The moment of the answer.
async fn stop(api: &Client, campaign: Uuid, verb: &str) -> DateTime<Utc> {
    api.tell(campaign, verb).await.expect(202);
    e2e::now()
}

/// Longer than a call could have been allowed to start by anything that was authorized before.
async fn is_quiet(smtp: &Smtp, api: &Client, campaign: Uuid, since: DateTime<Utc>) {
    let so_long = 2 * (WINDOW + MARGIN);
    stays("nothing is handed over", so_long, async || {
        api.report(campaign).await;
        !smtp.handovers().iter().any(|handover| handover.at > since)
    })
    .await;
}

async fn repeats_append_nothing(stack: &Stack, campaign: Uuid, verb: &str) {
    let before = stack.trail().campaign(campaign).await;
    stack.client().tell(campaign, verb).await.expect(202);
    assert_eq!(stack.trail().campaign(campaign).await, before, "a second {verb} appended something");
}
