//! A campaign goes out at its second: not before, and not much after.

use crate::account::Account;
use crate::scene;
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use e2e::{Export, Settings, Stack, eventually, stays};
use std::time::Duration;

const READERS: u64 = 20;
const AHEAD: TimeDelta = TimeDelta::seconds(4);
/// The seed's scheduler looks every 60 s; ours promises the second. A busy machine gets some more.
const LATE_MAX: TimeDelta = TimeDelta::seconds(10);

#[tokio::test]
async fn a_campaign_goes_out_at_its_second_and_not_before() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", READERS)).await;
    let due = (e2e::now() + AHEAD).with_nanosecond(0).unwrap();
    let campaign = api.draft(&draft).await;
    // First another time, which the second call replaces; the same time again appends nothing.
    api.schedule(campaign, due + TimeDelta::hours(1)).await.expect(202);
    api.schedule(campaign, due).await.expect(202);
    api.schedule(campaign, due).await.expect(202);
    assert_eq!(api.campaign(campaign).await.scheduled_for, Some(due));

    let quiet = (due - e2e::now() - TimeDelta::milliseconds(300)).to_std().unwrap_or_default();
    stays("nothing is sent before its time", quiet, async || stack.outbox().count() == 0).await;
    api.completes(campaign, Duration::from_secs(60)).await;

    let events = stack.trail().campaign(campaign).await;
    let scheduled = ["CampaignCreated", "CampaignScheduled", "CampaignScheduled"];
    assert_eq!(
        events,
        [&scheduled[..], &["CampaignFreezing", "CampaignFrozen", "CampaignCompleted"]].concat()
    );
    let stream = stack.trail().stream("campaign", campaign).await;
    let begun: DateTime<Utc> =
        stream.iter().find(|e| e.event_type == "CampaignFreezing").unwrap().recorded_at;
    let account = Account::of(&stack, campaign).await;
    let first =
        account.hand_overs(stack.outbox().handovers()).into_iter().map(|handover| handover.at).min().unwrap();
    println!(
        "schedule: begun {} ms and first mail {} ms after its second",
        millis(begun - due),
        millis(first - due)
    );
    assert!(begun >= due && first >= due, "before its time: due {due}, begun {begun}, first mail {first}");
    assert!(begun <= due + LATE_MAX, "begun {} ms late", millis(begun - due));
}

#[tokio::test]
async fn a_campaign_that_was_unscheduled_stays_a_draft() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", 1)).await;
    let campaign = api.draft(&draft).await;
    let due = e2e::now() + TimeDelta::seconds(2);
    api.schedule(campaign, due).await.expect(202);
    api.tell(campaign, "unschedule").await.expect(202);
    api.tell(campaign, "unschedule").await.expect(202);
    eventually("its time passes", Duration::from_secs(10), async || (e2e::now() > due).then_some(())).await;
    stays("it is not sent", Duration::from_secs(1), async || api.campaign(campaign).await.status == "draft")
        .await;
    assert_eq!(stack.outbox().count(), 0);
}

fn millis(delta: TimeDelta) -> i64 {
    delta.num_milliseconds()
}
