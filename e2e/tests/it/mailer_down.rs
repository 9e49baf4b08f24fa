//! A mail server that goes away pauses the campaign; once it is back and the campaign is resumed, nobody is lost and
//! nobody gets two.

use crate::account::Account;
use crate::scene;
use e2e::{Export, Settings, Smtp, SmtpOptions, Stack, eventually};
use std::time::Duration;

const READERS: u64 = 1_000;
const CONNECTIONS: u64 = 4;
const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_dead_mail_server_pauses_the_campaign_and_a_resume_completes_it() {
    let mut smtp =
        Smtp::start(SmtpOptions { delay: Duration::from_millis(10), ..SmtpOptions::default() }).await;
    let settings = Settings::new()
        .smtp(&smtp)
        .set("smtp.connections", CONNECTIONS)
        .set("send.page_size", 100)
        .set("send.unavailable_after_seconds", 2)
        .set("send.deferred_pause_ms", 200);
    let stack = Stack::start(settings).await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", READERS)).await;
    let campaign = api.launch(&draft).await;
    eventually("200 are handed over", WITHIN, async || (smtp.count() >= 200).then_some(())).await;
    smtp.kill();

    let paused = api.reaches(campaign, "paused", WITHIN).await;
    assert_eq!(paused.status_reason.as_deref(), Some("mailer_unavailable"));
    assert!(
        api.report(campaign).await.pending > 0,
        "the campaign was over before the server went: nothing was proved"
    );

    smtp.start_again().await;
    api.tell(campaign, "resume").await.expect(202);
    let report = api.completes(campaign, WITHIN).await;
    let account = Account::of(&stack, campaign).await;
    let ledger = account.hand_overs(smtp.handovers());
    account.check_intents(&ledger);
    account.check_once(&ledger);
    println!("mailer down: {report:?}");
    assert_eq!((report.planned, report.rejected), (READERS, 0), "{report:?}");
    // Whoever's body was on its way when the connection broke: one on each.
    assert!(report.unknown <= CONNECTIONS, "{report:?}");
    assert_eq!(report.accepted + report.unknown, READERS, "{report:?}");
}
