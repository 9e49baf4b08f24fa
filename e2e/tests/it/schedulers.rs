//! Two schedulers and two senders beside each other: everything happens once.

use crate::account::Account;
use crate::scene;
use chrono::{TimeDelta, Timelike};
use e2e::{Draft, Export, Settings, Stack};
use std::time::Duration;

const CAMPAIGNS: usize = 4;
const READERS: u64 = 600;
const PAGE_SIZE: u64 = 50;

#[tokio::test]
async fn two_schedulers_freeze_once_and_two_senders_send_once() {
    let mut stack = Stack::prepare(Settings::new().set("send.page_size", PAGE_SIZE)).await;
    stack.serve("front", "api,sequencer,projector,importer").await;
    stack.ready().await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", READERS)).await;
    for scheduler in ["scheduler-1", "scheduler-2"] {
        stack.serve(scheduler, "scheduler").await;
    }
    for sender in ["sender-1", "sender-2"] {
        stack.serve(sender, "sender").await;
    }
    // All at the same second, so that both schedulers are at each of them.
    let due = (e2e::now() + TimeDelta::seconds(3)).with_nanosecond(0).unwrap();
    let mut campaigns = Vec::new();
    for _ in 0..CAMPAIGNS {
        campaigns.push(api.draft(&Draft { time: Some(due), ..draft.clone() }).await);
    }
    for campaign in campaigns {
        api.completes(campaign, Duration::from_secs(120)).await;
        let events = stack.trail().campaign(campaign).await;
        let once = [
            "CampaignCreated",
            "CampaignScheduled",
            "CampaignFreezing",
            "CampaignFrozen",
            "CampaignCompleted",
        ];
        assert_eq!(events, once);
        let account = Account::of(&stack, campaign).await;
        let pages: Vec<u64> = account.dispatches.iter().map(|dispatch| dispatch.page).collect();
        assert_eq!(pages, (0..READERS / PAGE_SIZE).collect::<Vec<_>>(), "one dispatch for each page");
        let ledger = account.hand_overs(stack.outbox().handovers());
        account.check_intents(&ledger);
        account.check_once(&ledger);
        assert_eq!((ledger.len() as u64, account.report.accepted), (READERS, READERS));
    }
}
