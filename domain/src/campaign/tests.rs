use super::*;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::test::TestFramework;
use uuid::Uuid;

type Scenario = TestFramework<Campaign>;

fn details() -> Details {
    Details {
        name: "November".into(),
        template_id: Uuid::from_u128(1),
        group_id: Uuid::from_u128(2),
        mailer: None,
        from: None,
        reply_to: None,
        on_unknown: OnUnknown::Hold,
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn manifest(recipients: u64) -> Manifest {
    Manifest { position: 7, template_version: 1, recipients, dispatches: 1, digest: "d".into() }
}

fn scheduled() -> Vec<CampaignEvent> {
    vec![CampaignEvent::Created(details()), CampaignEvent::Scheduled { at: at(100) }]
}

fn sending() -> Vec<CampaignEvent> {
    let more = [CampaignEvent::Freezing { template_version: 1 }, CampaignEvent::Frozen(manifest(3))];
    scheduled().into_iter().chain(more).collect()
}

fn ended(last: CampaignEvent) -> Vec<CampaignEvent> {
    sending().into_iter().chain([last]).collect()
}

fn given(events: Vec<CampaignEvent>, command: CampaignCommand, expected: Vec<CampaignEvent>) {
    Scenario::with(()).given(events).when(command).then_expect_events(expected);
}

fn refused(events: Vec<CampaignEvent>, command: CampaignCommand, error: CampaignError) {
    Scenario::with(()).given(events).when(command).then_expect_error(error);
}

#[test]
fn with_a_time_it_is_created_and_scheduled_at_once() {
    let create = CampaignCommand::Create { details: details(), schedule_at: Some(at(100)) };
    Scenario::with(()).given_no_previous_events().when(create.clone()).then_expect_events(scheduled());
    refused(scheduled(), create, CampaignError::Exists);
}

#[test]
fn a_freeze_halts_and_whoever_resumes_it_changes_nothing_else() {
    let halt = || CampaignCommand::HaltFreezing { reason: "worker_died".into() };
    let halted = CampaignEvent::FreezingHalted { reason: "worker_died".into() };
    let mut freezing = scheduled();
    freezing.push(CampaignEvent::Freezing { template_version: 1 });
    given(freezing.clone(), halt(), vec![halted.clone()]);
    refused(sending(), halt(), CampaignError::Forbidden { status: "sending" });
    freezing.push(halted);
    given(freezing.clone(), CampaignCommand::Resume, vec![]);
    given(freezing, CampaignCommand::Cancel, vec![CampaignEvent::Cancelled {}]);
}

#[test]
fn the_same_time_again_appends_nothing_and_another_replaces_it() {
    given(scheduled(), CampaignCommand::Schedule { at: at(100) }, vec![]);
    given(
        scheduled(),
        CampaignCommand::Schedule { at: at(200) },
        vec![CampaignEvent::Scheduled { at: at(200) }],
    );
}

#[test]
fn it_freezes_when_due_and_only_once() {
    let begin = |now| CampaignCommand::BeginFreezing { template_version: 1, now: at(now) };
    given(scheduled(), begin(99), vec![]);
    given(scheduled(), begin(100), vec![CampaignEvent::Freezing { template_version: 1 }]);
    given(sending(), begin(100), vec![]);
}

#[test]
fn an_empty_audience_completes_at_once() {
    let freezing: Vec<_> = sending().into_iter().take(3).collect();
    let completed = CampaignEvent::Completed { reason: Some("empty_audience".into()) };
    given(
        freezing,
        CampaignCommand::Freeze(manifest(0)),
        vec![CampaignEvent::Frozen(manifest(0)), completed],
    );
}

#[test]
fn what_already_holds_appends_nothing() {
    given(
        ended(CampaignEvent::Paused { reason: None, dispatch_id: None }),
        CampaignCommand::Pause { reason: None, dispatch_id: None },
        vec![],
    );
    given(ended(CampaignEvent::Cancelled {}), CampaignCommand::Cancel, vec![]);
    given(sending(), CampaignCommand::Resume, vec![]);
    given(vec![CampaignEvent::Created(details())], CampaignCommand::Unschedule, vec![]);
}

#[test]
fn a_state_that_forbids_it_is_named() {
    let cancelled = || ended(CampaignEvent::Cancelled {});
    let forbidden = |status| CampaignError::Forbidden { status };
    refused(cancelled(), CampaignCommand::Schedule { at: at(200) }, forbidden("cancelled"));
    refused(cancelled(), CampaignCommand::Resume, forbidden("cancelled"));
    refused(scheduled(), CampaignCommand::Pause { reason: None, dispatch_id: None }, forbidden("scheduled"));
    refused(scheduled(), CampaignCommand::Delete, forbidden("scheduled"));
    refused(sending(), CampaignCommand::Change(details()), forbidden("sending"));
    refused(
        ended(CampaignEvent::Completed { reason: None }),
        CampaignCommand::Cancel,
        forbidden("completed"),
    );
}

#[test]
fn a_deleted_campaign_is_unknown() {
    let deleted = vec![CampaignEvent::Created(details()), CampaignEvent::Deleted {}];
    refused(deleted, CampaignCommand::Schedule { at: at(1) }, CampaignError::Unknown);
}

fn paused() -> Vec<CampaignEvent> {
    ended(CampaignEvent::Paused { reason: None, dispatch_id: None })
}

#[test]
fn a_paused_campaign_takes_a_newer_version_of_its_template_and_no_other_does() {
    let take = |template_version| CampaignCommand::TakeTemplate { template_version };
    let taken = CampaignEvent::TemplateTaken { template_version: 3 };
    given(paused(), take(3), vec![taken.clone()]);
    given(paused(), take(1), vec![]);
    let both: Vec<_> = paused().into_iter().chain([taken.clone()]).collect();
    given(both.clone(), take(3), vec![]);
    given(both.clone(), take(4), vec![CampaignEvent::TemplateTaken { template_version: 4 }]);
    refused(both, take(2), CampaignError::OlderTemplate(3));
    let forbidden = |status| CampaignError::Forbidden { status };
    refused(sending(), take(3), forbidden("sending"));
    refused(scheduled(), take(3), forbidden("scheduled"));
    refused(ended(CampaignEvent::Cancelled {}), take(3), forbidden("cancelled"));
    refused(ended(CampaignEvent::Completed { reason: None }), take(3), forbidden("completed"));
}

#[test]
fn what_it_took_is_told_from_what_was_frozen() {
    let fold = |events: Vec<CampaignEvent>| {
        let mut campaign = Campaign::default();
        events.into_iter().for_each(|event| campaign.apply(event));
        campaign
    };
    let campaign = fold(paused());
    assert_eq!((campaign.template_version, campaign.taken_version()), (1, None));
    let campaign = fold(ended(CampaignEvent::TemplateTaken { template_version: 3 }));
    assert_eq!((campaign.template_version, campaign.taken_version()), (3, Some(3)));
    let campaign = fold(scheduled());
    assert_eq!((campaign.template_version, campaign.taken_version()), (0, None));
}
