//! A provider that takes ten seconds for each mail: an opt-out waits for the window of a call and its margin, not for the
//! call.

use crate::account::Account;
use crate::scene;
use e2e::{Client, Draft, Settings, Smtp, SmtpOptions, Stack, eventually, now};
use std::time::Duration;

const TAKES: Duration = Duration::from_secs(10);
const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn who_leaves_during_a_call_is_acknowledged_before_it_ends() {
    let smtp = Smtp::start(SmtpOptions { delay: TAKES, ..SmtpOptions::default() }).await;
    let settings = Settings::new().smtp(&smtp).set("smtp.message_timeout_seconds", 30);
    let stack = Stack::start(settings).await;
    let (api, trail) = (stack.client(), stack.trail());
    let group = api.group("Letters").await;
    let reader = scene::linked(&stack, &[("reader@example.com", &[group])]).await.remove(0);
    let draft = Draft { template: scene::template(&api).await, group, ..Draft::default() };

    let campaign = api.launch(&draft).await;
    eventually("the call is authorized", WITHIN, async || {
        trail.open_permits().await.values().sum::<u64>().eq(&1).then_some(())
    })
    .await;
    Client::public(&stack.url()).one_click(&reader.link).await.expect(200);
    let acknowledged = now();
    let call = &trail.dispatches(campaign).await[0].permits[0];
    assert!(call.settled_at.is_none(), "it waited for the provider's answer");

    api.completes(campaign, WITHIN).await;
    let account = Account::of(&stack, campaign).await;
    let ledger = account.hand_overs(smtp.handovers());
    account.check_intents(&ledger);
    assert!(account.late().is_empty());
    // The mail was on its way before the reader left, or it never left.
    assert!(ledger.iter().all(|handover| handover.at < acknowledged), "{ledger:?}");
    let report = account.report;
    assert_eq!((report.planned, report.accepted), (1, ledger.len() as u64), "{report:?}");

    // The next letter finds nobody.
    let next = api.launch(&draft).await;
    let report = api.completes(next, WITHIN).await;
    assert_eq!((report.accepted, report.unknown), (0, 0), "{report:?}");
}
