use super::*;
use crate::campaign::OnUnknown;
use cqrs_es::Aggregate;
use cqrs_es::test::TestFramework;
use proptest::prelude::*;
use uuid::Uuid;

type Scenario = TestFramework<Dispatch>;
const PERMIT: Uuid = Uuid::from_u128(77);

fn planned(count: u128) -> DispatchEvent {
    let recipients = (0..count).map(Uuid::from_u128).collect();
    DispatchEvent::Planned { campaign_id: Uuid::from_u128(5), page: 0, recipients }
}

fn authorized(recipients: Vec<Index>) -> DispatchEvent {
    let consents = vec![1; recipients.len()];
    DispatchEvent::Authorized {
        permit_id: PERMIT,
        recipients,
        consents,
        suppressed: vec![],
        rejected: vec![],
    }
}

fn authorize(allowed: Vec<Index>) -> DispatchCommand {
    let allowed = allowed.into_iter().map(|index| (index, 1)).collect();
    DispatchCommand::Authorize(Authorization { permit_id: PERMIT, allowed, ..Authorization::default() })
}

fn settlement() -> Settlement {
    Settlement { permit_id: PERMIT, ..Settlement::default() }
}

fn settle(settlement: Settlement) -> DispatchCommand {
    DispatchCommand::Settle { settlement, on_unknown: OnUnknown::Hold }
}

fn settled(accepted: Vec<Index>, unknown: Vec<Index>) -> DispatchEvent {
    DispatchEvent::Settled {
        permit_id: PERMIT,
        accepted,
        unknown,
        rejected: vec![],
        returned: vec![],
        deferred: vec![],
    }
}

#[test]
fn a_dispatch_is_planned_once_and_within_its_size() {
    let plan = |count| match planned(count) {
        DispatchEvent::Planned { campaign_id, page, recipients } => {
            DispatchCommand::Plan { campaign_id, page, recipients }
        }
        other => panic!("{other:?}"),
    };
    Scenario::with(()).given_no_previous_events().when(plan(3)).then_expect_events(vec![planned(3)]);
    Scenario::with(()).given(vec![planned(3)]).when(plan(3)).then_expect_error(DispatchError::Exists);
    Scenario::with(())
        .given_no_previous_events()
        .when(plan(0))
        .then_expect_error(DispatchError::Size(RECIPIENTS_MAX));
    Scenario::with(())
        .given_no_previous_events()
        .when(plan(501))
        .then_expect_error(DispatchError::Size(RECIPIENTS_MAX));
}

#[test]
fn nobody_is_authorized_twice_at_once() {
    let events = vec![planned(3), authorized(vec![0, 1])];
    Scenario::with(()).given(events).when(authorize(vec![1])).then_expect_error(DispatchError::NotPending(1));
}

#[test]
fn a_foreign_or_repeated_settlement_says_nothing() {
    let foreign = Settlement { permit_id: Uuid::from_u128(1), accepted: vec![0], ..settlement() };
    Scenario::with(())
        .given(vec![planned(1), authorized(vec![0])])
        .when(settle(foreign))
        .then_expect_events(vec![]);
    let again = Settlement { accepted: vec![0], ..settlement() };
    let events = vec![planned(1), authorized(vec![0]), settled(vec![0], vec![])];
    Scenario::with(()).given(events).when(settle(again)).then_expect_events(vec![]);
}

#[test]
fn a_late_settlement_turns_unknown_into_accepted() {
    let late = Settlement { accepted: vec![0], ..settlement() };
    let reconciled =
        DispatchEvent::Reconciled { permit_id: PERMIT, accepted: vec![], unknown: vec![0], returned: vec![] };
    let events = vec![planned(1), authorized(vec![0]), reconciled];
    Scenario::with(()).given(events).when(settle(late)).then_expect_events(vec![settled(vec![0], vec![])]);
}

/// A worker that was taken for dead cannot reopen a campaign that may be completed.
#[test]
fn a_late_settlement_puts_nobody_back() {
    let late = Settlement { returned: vec![0], deferred: vec![1], ..settlement() };
    let reconciled = DispatchEvent::Reconciled {
        permit_id: PERMIT,
        accepted: vec![],
        unknown: vec![0, 1],
        returned: vec![],
    };
    let events = vec![planned(2), authorized(vec![0, 1]), reconciled];
    Scenario::with(()).given(events).when(settle(late)).then_expect_events(vec![]);
}

#[test]
fn what_did_not_start_is_no_try() {
    let back = |returned: Vec<Index>, deferred: Vec<Index>| DispatchEvent::Settled {
        permit_id: PERMIT,
        accepted: vec![],
        rejected: vec![],
        unknown: vec![],
        returned,
        deferred,
    };
    let mut events = vec![planned(1)];
    for _ in 0..50 {
        events.extend([authorized(vec![0]), back(vec![0], vec![])]);
    }
    events.push(authorized(vec![0]));
    let command = settle(Settlement { deferred: vec![0], ..settlement() });
    Scenario::with(()).given(events).when(command).then_expect_events(vec![back(vec![], vec![0])]);
}

#[test]
fn an_unknown_end_is_held_or_sent_again_by_the_policy() {
    let command = |on_unknown| DispatchCommand::Settle {
        settlement: Settlement { unknown: vec![0], ..settlement() },
        on_unknown,
    };
    let events = || vec![planned(1), authorized(vec![0])];
    let unknown = settled(vec![], vec![0]);
    let scenario = || Scenario::with(()).given(events());
    scenario().when(command(OnUnknown::Hold)).then_expect_events(vec![unknown.clone()]);
    let returned = DispatchEvent::UnknownReturned { recipients: vec![0] };
    scenario().when(command(OnUnknown::Resend)).then_expect_events(vec![unknown, returned]);
}

#[test]
fn the_last_deferral_is_a_rejection() {
    let deferred = DispatchEvent::Settled {
        permit_id: PERMIT,
        accepted: vec![],
        rejected: vec![],
        unknown: vec![],
        returned: vec![],
        deferred: vec![0],
    };
    let mut events = vec![planned(1)];
    for _ in 0..7 {
        events.extend([authorized(vec![0]), deferred.clone()]);
    }
    events.push(authorized(vec![0]));
    let rejected = DispatchEvent::Settled {
        permit_id: PERMIT,
        accepted: vec![],
        rejected: vec![Refusal { index: 0, reason: "attempts_exhausted".into() }],
        unknown: vec![],
        returned: vec![],
        deferred: vec![],
    };
    let command = settle(Settlement { deferred: vec![0], ..settlement() });
    Scenario::with(()).given(events).when(command).then_expect_events(vec![rejected]);
}

#[test]
fn what_returns_after_a_cancel_is_cancelled() {
    let mut dispatch = Dispatch::default();
    let returned = DispatchEvent::Settled {
        permit_id: PERMIT,
        accepted: vec![],
        rejected: vec![],
        unknown: vec![],
        returned: vec![0],
        deferred: vec![],
    };
    for event in [planned(2), authorized(vec![0]), DispatchEvent::Cancelled {}, returned] {
        dispatch.apply(event);
    }
    assert!(dispatch.recipients.iter().all(|r| r.state == State::Cancelled));
}

proptest! {
    /// Whatever order authorizations and settlements come in, each recipient has one state and a final one stays.
    #[test]
    fn an_accepted_recipient_stays_accepted(steps in prop::collection::vec((0u8..5, 0u16..6, 0u128..3), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut dispatch = Dispatch::default();
        dispatch.apply(planned(6));
        let mut accepted = std::collections::BTreeSet::new();
        for (kind, index, permit) in steps {
            let permit_id = Uuid::from_u128(permit);
            let s = Settlement { permit_id, ..Settlement::default() };
            let on_unknown = if permit == 0 { OnUnknown::Hold } else { OnUnknown::Resend };
            let command = match kind {
                0 => DispatchCommand::Authorize(Authorization { permit_id, allowed: vec![(index, 1)], ..Authorization::default() }),
                1 => DispatchCommand::Settle { settlement: Settlement { accepted: vec![index], ..s }, on_unknown },
                2 => DispatchCommand::Settle { settlement: Settlement { unknown: vec![index], ..s }, on_unknown },
                3 => DispatchCommand::Reconcile { settlement: Settlement { unknown: vec![index], ..s }, on_unknown },
                _ => DispatchCommand::Settle { settlement: Settlement { deferred: vec![index], ..s }, on_unknown },
            };
            let sink = cqrs_es::event_sink::EventSink::default();
            let _ = runtime.block_on(dispatch.handle(command, &(), &sink));
            for (i, r) in (0u16..).zip(&dispatch.recipients) {
                prop_assert!(!accepted.contains(&i) || r.state == State::Accepted);
                if r.state == State::Accepted { accepted.insert(i); }
            }
            prop_assert_eq!(dispatch.recipients.len(), 6);
        }
    }
}

fn authorize_with(template_version: Option<u64>, allowed: Vec<Index>) -> DispatchCommand {
    let DispatchCommand::Authorize(authorization) = authorize(allowed) else {
        panic!("not an authorization")
    };
    DispatchCommand::Authorize(Authorization { template_version, ..authorization })
}

/// Whoever was authorized before keeps the version of their mail, until another one is made for them.
#[test]
fn each_mail_bears_the_version_that_it_was_made_from() {
    let taken = |template_version| DispatchEvent::TemplateTaken { template_version };
    let some = vec![planned(3), authorized(vec![0])];
    let more: Vec<_> = some.iter().cloned().chain([taken(2), authorized(vec![1])]).collect();
    Scenario::with(())
        .given(some)
        .when(authorize_with(Some(2), vec![1]))
        .then_expect_events(vec![taken(2), authorized(vec![1])]);
    Scenario::with(())
        .given(more.clone())
        .when(authorize_with(Some(2), vec![2]))
        .then_expect_events(vec![authorized(vec![2])]);
    let mut dispatch = Dispatch::default();
    more.into_iter().for_each(|event| dispatch.apply(event));
    let versions =
        |dispatch: &Dispatch| dispatch.recipients.iter().map(|r| r.template_version).collect::<Vec<_>>();
    assert_eq!(versions(&dispatch), [None, Some(2), None]);
    dispatch.apply(settled(vec![1], vec![0]));
    dispatch.apply(DispatchEvent::UnknownReturned { recipients: vec![0] });
    dispatch.apply(taken(3));
    dispatch.apply(authorized(vec![0]));
    assert_eq!(versions(&dispatch), [Some(3), Some(2), None]);
}

#[test]
fn a_version_that_nobody_gets_is_not_noted() {
    let suppressed = vec![Refusal { index: 0, reason: "opted_out".into() }];
    let nobody =
        Authorization { permit_id: PERMIT, template_version: Some(2), suppressed, ..Default::default() };
    let decided = Scenario::with(()).given(vec![planned(1)]).when(DispatchCommand::Authorize(nobody));
    let events = decided.inspect_result().unwrap();
    assert!(matches!(events[..], [DispatchEvent::Authorized { .. }]), "{events:?}");
}
