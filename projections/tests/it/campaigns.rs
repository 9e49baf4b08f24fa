//! Campaigns and their reports.

use crate::log::{Stored, append, follow, read_all, stored};
use crate::world::{World, fresh_seed};
use domain::campaign::{Campaign, CampaignEvent, Details, Manifest, OnUnknown};
use domain::consent::{Channel, Origin, Scope};
use domain::dispatch::{Dispatch, DispatchEvent, State};
use domain::subscriber::{Subscriber, SubscriberEvent};
use projections::campaign_report::{self, Report};
use projections::{CampaignReport, Consumer, Interleaving, Slice, all, campaigns};
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

const CAMPAIGN: Uuid = Uuid::from_u128(1);
const DISPATCH: Uuid = Uuid::from_u128(2);
const PERMIT: Uuid = Uuid::from_u128(3);

fn six(report: &Report) -> [i64; 6] {
    let Report { pending, accepted, suppressed, rejected, unknown, cancelled, .. } = *report;
    [pending, accepted, suppressed, rejected, unknown, cancelled]
}

async fn reports(pool: &PgPool) -> BTreeMap<Uuid, Report> {
    let ids: Vec<Uuid> =
        sqlx::query_scalar("SELECT campaign_id FROM campaign_report").fetch_all(pool).await.unwrap();
    let mut reports = BTreeMap::new();
    for id in ids {
        reports.extend(campaign_report::get(pool, id).await.unwrap().map(|report| (id, report)));
    }
    reports
}

/// I1: the six add up in every row after each event, in an order that is kept within slots alone.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_report_adds_up_after_each_event(pool: PgPool) {
    let seed = fresh_seed();
    let mut world = World::new(seed);
    append(&pool, &world.history(700).await).await;
    let mut interleaving = Interleaving::new(seed);
    let mut deliveries = interleaving.arrange(read_all(&pool, &["campaign", "dispatch", "subscriber"]).await);
    while interleaving.held() > 0 {
        deliveries.extend(interleaving.arrange(Vec::new()));
    }
    let mut consumer = Consumer::load(pool.clone(), Arc::new(CampaignReport)).await.unwrap();
    for event in deliveries.into_iter().flatten() {
        consumer.deliver(vec![event]).await.unwrap();
        let wrong: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM campaign_report
             WHERE planned <> pending + accepted + suppressed + rejected + unknown + cancelled
                OR least(pending, accepted, suppressed, rejected, unknown, cancelled) < 0",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        assert_eq!(wrong, 0);
    }
    let mut expected = BTreeMap::<Uuid, [i64; 6]>::new();
    for dispatch in world.dispatches.values() {
        let six = expected.entry(dispatch.campaign_id).or_default();
        for recipient in &dispatch.recipients {
            six[match recipient.state {
                State::Pending | State::Authorized(_) => 0,
                State::Accepted => 1,
                State::Suppressed => 2,
                State::Rejected => 3,
                State::Unknown(_) => 4,
                State::Cancelled => 5,
            }] += 1;
        }
    }
    let mut versions = BTreeMap::<(Uuid, i64), [i64; 2]>::new();
    for dispatch in world.dispatches.values() {
        for recipient in &dispatch.recipients {
            let Some(version) = recipient.template_version else { continue };
            let counts = versions.entry((dispatch.campaign_id, version.cast_signed())).or_default();
            counts[0] += i64::from(recipient.state == State::Accepted);
            counts[1] += i64::from(matches!(recipient.state, State::Unknown(_)));
        }
    }
    assert!(versions.len() > 5, "there are versions to count");
    let found = reports(&pool).await;
    assert!(found.values().any(|report| report.planned > 20), "there is something to add up");
    for (id, report) in &found {
        assert_eq!(six(report), expected.get(id).copied().unwrap_or_default());
        assert_eq!(report.planned, six(report).iter().sum::<i64>());
        let ended = report.status == "completed";
        assert!(!ended || report.pending == 0 && Some(report.planned) == report.manifest_recipients);
        let taken = report.versions.iter().filter(|count| count.accepted + count.unknown > 0);
        for count in taken {
            let expected = versions.get(&(*id, count.template_version));
            assert_eq!(Some(&[count.accepted, count.unknown]), expected);
        }
        let counted: i64 = report.versions.iter().map(|count| count.accepted + count.unknown).sum();
        let of_it = versions.range((*id, 0)..=(*id, i64::MAX)).map(|(_, [a, u])| a + u).sum::<i64>();
        assert_eq!(counted, of_it);
    }
}

fn details() -> Details {
    Details {
        name: "November".into(),
        template_id: Uuid::nil(),
        group_id: Uuid::nil(),
        mailer: None,
        from: None,
        reply_to: None,
        on_unknown: OnUnknown::Hold,
    }
}

fn campaign(events: Vec<CampaignEvent>) -> Vec<Stored> {
    (1..).zip(&events).map(|(sequence, event)| stored::<Campaign>(CAMPAIGN, sequence, event)).collect()
}

fn frozen(recipients: u64) -> Vec<CampaignEvent> {
    let manifest =
        Manifest { position: 1, template_version: 1, recipients, dispatches: 1, digest: "d".into() };
    vec![
        CampaignEvent::Created(details()),
        CampaignEvent::Freezing { template_version: 1 },
        CampaignEvent::Frozen(manifest),
    ]
}

fn dispatch(events: Vec<DispatchEvent>) -> Vec<Stored> {
    (1..).zip(&events).map(|(sequence, event)| stored::<Dispatch>(DISPATCH, sequence, event)).collect()
}

fn sent_to(recipients: u16) -> Vec<DispatchEvent> {
    let all: Vec<u16> = (0..recipients).collect();
    let ids = all.iter().map(|n| Uuid::from_u128(u128::from(*n))).collect();
    vec![
        DispatchEvent::Planned { campaign_id: CAMPAIGN, page: 0, recipients: ids },
        DispatchEvent::Authorized {
            permit_id: PERMIT,
            recipients: all.clone(),
            consents: vec![1; all.len()],
            suppressed: vec![],
            rejected: vec![],
        },
        DispatchEvent::Settled {
            permit_id: PERMIT,
            accepted: all.clone(),
            rejected: vec![],
            unknown: vec![],
            returned: vec![],
            deferred: vec![],
        },
        DispatchEvent::LateHandover { permit_id: PERMIT, recipients: vec![0] },
    ]
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn completed_is_said_once_everybodys_end_is_counted(pool: PgPool) {
    let mut events = frozen(2);
    events.push(CampaignEvent::Completed { reason: None });
    append(&pool, &campaign(events)).await;
    follow(&pool, &all(), None).await;
    // The campaign's stream came first: the dispatch is still on its way.
    let report = campaign_report::get(&pool, CAMPAIGN).await.unwrap().unwrap();
    assert_eq!((report.status.as_str(), report.planned), ("sending", 0));
    assert_eq!(campaigns::get(&pool, CAMPAIGN).await.unwrap().unwrap().status, "sending");
    let sending = campaigns::list(&pool, Some("sending"), Slice::new(None, 50)).await.unwrap();
    assert_eq!(sending.items.len(), 1);

    append(&pool, &dispatch(sent_to(2))).await;
    follow(&pool, &all(), None).await;
    let report = campaign_report::get(&pool, CAMPAIGN).await.unwrap().unwrap();
    assert_eq!(
        (report.status.as_str(), six(&report), report.late_handovers),
        ("completed", [0, 2, 0, 0, 0, 0], 1)
    );
    assert_eq!(campaigns::get(&pool, CAMPAIGN).await.unwrap().unwrap().status, "completed");
    assert!(campaigns::list(&pool, Some("sending"), Slice::new(None, 50)).await.unwrap().items.is_empty());
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_empty_audience_is_completed_with_its_reason(pool: PgPool) {
    let mut events = frozen(0);
    events.push(CampaignEvent::Completed { reason: Some("empty_audience".into()) });
    append(&pool, &campaign(events)).await;
    follow(&pool, &all(), None).await;
    let report = campaign_report::get(&pool, CAMPAIGN).await.unwrap().unwrap();
    let campaign = campaigns::get(&pool, CAMPAIGN).await.unwrap().unwrap();
    assert_eq!(
        (report.status.as_str(), report.status_reason.as_deref()),
        ("completed", Some("empty_audience"))
    );
    assert_eq!(
        (campaign.status.as_str(), campaign.status_reason.as_deref()),
        ("completed", Some("empty_audience"))
    );
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_reason_goes_with_the_state_that_it_explains(pool: PgPool) {
    let mut events = frozen(1);
    events.insert(2, CampaignEvent::FreezingHalted { reason: "projection_parked".into() });
    events.push(CampaignEvent::Paused { reason: Some("mailer_unavailable".into()), dispatch_id: None });
    events.push(CampaignEvent::Resumed {});
    let mut seen = Vec::new();
    for event in campaign(events) {
        append(&pool, &[event]).await;
        follow(&pool, &all(), None).await;
        let campaign = campaigns::get(&pool, CAMPAIGN).await.unwrap().unwrap();
        let report = campaign_report::get(&pool, CAMPAIGN).await.unwrap().unwrap();
        assert_eq!((&campaign.status, &campaign.status_reason), (&report.status, &report.status_reason));
        seen.push((campaign.status, campaign.status_reason.unwrap_or_default()));
    }
    let words: Vec<(&str, &str)> =
        seen.iter().map(|(status, reason)| (status.as_str(), reason.as_str())).collect();
    assert_eq!(
        words,
        [
            ("draft", ""),
            ("freezing", ""),
            ("freezing", "projection_parked"),
            ("sending", ""),
            ("paused", "mailer_unavailable"),
            ("sending", ""),
        ]
    );
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_reader_who_opts_out_by_a_campaign_counts_once(pool: PgPool) {
    append(&pool, &campaign(frozen(2))).await;
    let opt_out = |reader: u128, sequence, campaign_id| {
        let origin = Origin { campaign_id, ..Origin::default() };
        let event = SubscriberEvent::OptedOut { scope: Scope::Global, channel: Channel::OneClick, origin };
        stored::<Subscriber>(Uuid::from_u128(reader), sequence, &event)
    };
    append(&pool, &[opt_out(10, 2, Some(CAMPAIGN)), opt_out(11, 2, None)]).await;
    follow(&pool, &[Arc::new(CampaignReport)], None).await;
    append(&pool, &[opt_out(10, 3, Some(CAMPAIGN)), opt_out(12, 2, Some(CAMPAIGN))]).await;
    follow(&pool, &[Arc::new(CampaignReport)], None).await;
    assert_eq!(campaign_report::get(&pool, CAMPAIGN).await.unwrap().unwrap().unsubscribed, 2);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_deleted_draft_is_gone(pool: PgPool) {
    append(&pool, &campaign(vec![CampaignEvent::Created(details()), CampaignEvent::Deleted {}])).await;
    follow(&pool, &all(), None).await;
    assert_eq!(campaigns::get(&pool, CAMPAIGN).await.unwrap(), None);
    assert_eq!(campaign_report::get(&pool, CAMPAIGN).await.unwrap(), None);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn campaigns_are_as_the_aggregates_say(pool: PgPool) {
    let mut world = World::new(fresh_seed());
    append(&pool, &world.history(900).await).await;
    follow(&pool, &all(), None).await;
    for (id, aggregate) in &world.campaigns {
        let found = campaigns::get(&pool, *id).await.unwrap();
        assert_eq!(found.is_some(), aggregate.exists());
        let Some(found) = found else { continue };
        assert_eq!(found.version, aggregate.version as i64);
        assert_eq!(Some(&found.details.0), aggregate.details.as_ref());
        assert_eq!(found.manifest.as_ref().map(|m| &m.0), aggregate.manifest.as_ref());
        let status = aggregate.phase.status();
        assert!(found.status == status || (status == "completed" && found.status == "sending"));
    }
}
