//! What a mail server may answer, by readers for whom the server is scripted.

use crate::account::Account;
use crate::scene;
use e2e::{Draft, Export, Handover, Recipient, Settings, Smtp, SmtpOptions, Stack};
use std::time::Duration;
use uuid::Uuid;

const WITHIN: Duration = Duration::from_secs(90);
/// Authorizations of one recipient, at the most.
const ATTEMPTS_MAX: u32 = 8;

const RULES: &[&str] = &[
    "tempfail=rcpt:451:1",
    "busy=data:451:2",
    "reject=rcpt:550",
    "toolate=data:554",
    "dropped=drop",
    "silent=drop:ledger",
    // Longer than the time-out for an answer.
    "slow=slow:10",
];
const RULES_OF_UNKNOWN: &[&str] = &["dropped=drop", "silent=drop:ledger"];

/// A reader for each rule, among others.
fn readers(rules: &[&str]) -> Export {
    let mut export = Export::clean("reader", 20);
    for rule in rules {
        let (name, _) = rule.split_once('=').unwrap();
        export.csv.extend(format!("{name}@example.com,Reader\r\n").into_bytes());
        export.rows += 1;
    }
    export
}

struct Sent {
    account: Account,
    ledger: Vec<Handover>,
}

impl Sent {
    async fn with(rules: &'static [&str], on_unknown: &'static str) -> Self {
        let smtp = Smtp::start(SmtpOptions { rules, ..SmtpOptions::default() }).await;
        let settings = Settings::new().smtp(&smtp).set("send.deferred_pause_ms", 100);
        let stack = Stack::start(settings).await;
        let api = stack.client();
        let draft = scene::readers(&api, &readers(rules)).await;
        let campaign = api.launch(&Draft { on_unknown: Some(on_unknown), ..draft }).await;
        api.completes(campaign, WITHIN).await;
        let account = Account::of(&stack, campaign).await;
        let ledger = account.hand_overs(smtp.handovers());
        account.check_intents(&ledger);
        Self { account, ledger }
    }

    fn recipient(&self, name: &str) -> &Recipient {
        let address = format!("{name}@example.com");
        self.account.recipients.values().find(|recipient| recipient.address == address).unwrap()
    }

    #[track_caller]
    fn expect(&self, name: &str, state: &str) -> &Recipient {
        let recipient = self.recipient(name);
        assert_eq!(recipient.state, state, "{name}: {recipient:?}");
        recipient
    }

    /// The attempts that the server took.
    fn taken(&self, name: &str) -> Vec<u32> {
        let reader: Uuid = self.recipient(name).subscriber_id;
        self.ledger
            .iter()
            .filter(|handover| handover.subscriber == reader)
            .map(|handover| handover.attempt)
            .collect()
    }
}

#[tokio::test]
async fn each_answer_has_its_state_and_unknown_ones_are_held() {
    let sent = Sent::with(RULES, "hold").await;
    sent.account.check_once(&sent.ledger);
    for number in 0..20 {
        sent.expect(&format!("reader{number}"), "accepted");
    }
    // A refusal for now is tried again, and only what was accepted is a hand-over.
    sent.expect("tempfail", "accepted");
    assert_eq!(sent.taken("tempfail"), [2]);
    sent.expect("busy", "accepted");
    assert_eq!(sent.taken("busy"), [3]);
    assert_eq!(sent.expect("reject", "rejected").reason.as_deref(), Some("550"));
    assert_eq!(sent.expect("toolate", "rejected").reason.as_deref(), Some("554"));
    // The body was begun and no answer came, whether the server took it or not.
    for (name, taken) in [("dropped", &[][..]), ("silent", &[1]), ("slow", &[1])] {
        sent.expect(name, "unknown");
        assert_eq!(sent.taken(name), taken, "{name}");
    }
    assert_eq!((sent.account.report.unknown, sent.account.report.rejected), (3, 2));
}

#[tokio::test]
async fn with_resend_an_unknown_end_is_sent_again_and_only_that() {
    let sent = Sent::with(RULES_OF_UNKNOWN, "resend").await;
    sent.expect("silent", "unknown");
    assert_eq!(sent.taken("silent"), (1..=ATTEMPTS_MAX).collect::<Vec<_>>(), "every attempt was taken");
    sent.expect("dropped", "unknown");
    let (twice, silent) = (sent.ledger.clone(), sent.recipient("silent").subscriber_id);
    let others: Vec<Handover> = twice.into_iter().filter(|handover| handover.subscriber != silent).collect();
    sent.account.check_once(&others);
    assert_eq!((sent.account.report.accepted, sent.account.report.unknown), (20, 2));
}

/// Greylisting: a server that refuses a reader for minutes is neither down, nor is that reader given up for it.
#[tokio::test]
async fn a_reader_who_is_refused_for_a_while_neither_stops_the_campaign_nor_is_given_up() {
    let smtp = Smtp::start(SmtpOptions { rules: &["grey=rcpt:451:4"], ..SmtpOptions::default() }).await;
    let settings = Settings::new()
        .smtp(&smtp)
        .set("send.deferred_pause_ms", 500)
        .set("send.unavailable_after_seconds", 1);
    let stack = Stack::start(settings).await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("grey", 1)).await;
    let campaign = api.launch(&draft).await;
    let report = api.completes(campaign, WITHIN).await;
    assert_eq!(report.accepted, 1, "{report:?}");
    let events = stack.trail().campaign(campaign).await;
    assert!(!events.iter().any(|event| event == "CampaignPaused"), "{events:?}");
}
