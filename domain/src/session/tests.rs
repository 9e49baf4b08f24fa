use super::*;
use crate::visit::Visit;
use cqrs_es::test::TestFramework;
use uuid::Uuid;

type Scenario = TestFramework<Session>;

fn started() -> Vec<SessionEvent> {
    vec![SessionEvent::Started { user_id: Uuid::from_u128(1), visit: Visit::default() }]
}

fn ended(reason: EndReason) -> SessionEvent {
    SessionEvent::Ended { reason }
}

fn refresh() -> SessionCommand {
    SessionCommand::Refresh { visit: Visit::default() }
}

fn reuse() -> SessionCommand {
    SessionCommand::Reuse { visit: Visit::default() }
}

#[test]
fn a_session_starts_once() {
    let start = SessionCommand::Start { user_id: Uuid::from_u128(1), visit: Visit::default() };
    Scenario::with(()).given_no_previous_events().when(start.clone()).then_expect_events(started());
    Scenario::with(()).given(started()).when(start).then_expect_error(SessionError::Exists);
}

#[test]
fn a_failed_sign_in_is_over_at_once() {
    let visit = Visit::default();
    let refuse = SessionCommand::Refuse { user_id: None, reason: Refusal::UnknownUser, visit };
    let failed =
        SessionEvent::SignInFailed { user_id: None, reason: Refusal::UnknownUser, visit: Visit::default() };
    Scenario::with(()).given_no_previous_events().when(refuse).then_expect_events(vec![failed.clone()]);
    Scenario::with(()).given(vec![failed]).when(refresh()).then_expect_error(SessionError::Over);
}

#[test]
fn many_that_failed_are_one_event() {
    let refuse = SessionCommand::RefuseMany { count: 7, visit: Visit::default() };
    let failed = SessionEvent::SignInsFailed { count: 7, visit: Visit::default() };
    Scenario::with(())
        .given_no_previous_events()
        .when(refuse.clone())
        .then_expect_events(vec![failed.clone()]);
    Scenario::with(()).given(vec![failed]).when(refuse).then_expect_error(SessionError::Exists);
}

#[test]
fn a_request_for_a_reset_is_over_at_once() {
    let request = SessionCommand::RequestReset { user_id: None, visit: Visit::default() };
    let requested = vec![SessionEvent::ResetRequested { user_id: None, visit: Visit::default() }];
    Scenario::with(()).given_no_previous_events().when(request.clone()).then_expect_events(requested.clone());
    Scenario::with(()).given(requested.clone()).when(request).then_expect_error(SessionError::Exists);
    Scenario::with(()).given(requested).when(refresh()).then_expect_error(SessionError::Over);
}

#[test]
fn reuse_ends_the_session_once() {
    let detected = SessionEvent::ReuseDetected { visit: Visit::default() };
    let events = vec![detected, ended(EndReason::TokenReused)];
    Scenario::with(()).given(started()).when(reuse()).then_expect_events(events.clone());
    let over = [started(), events].concat();
    Scenario::with(()).given(over.clone()).when(reuse()).then_expect_events(vec![]);
    Scenario::with(()).given(over).when(refresh()).then_expect_error(SessionError::Over);
}

#[test]
fn what_never_started_is_unknown() {
    for command in [refresh(), reuse(), SessionCommand::End { reason: EndReason::SignedOut }] {
        Scenario::with(()).given_no_previous_events().when(command).then_expect_error(SessionError::Unknown);
    }
}

#[test]
fn refreshes_are_bounded() {
    let refreshed = SessionEvent::Refreshed { visit: Visit::default() };
    let many = |count: u32| [started(), vec![refreshed.clone(); count as usize]].concat();
    Scenario::with(())
        .given(many(REFRESHES_MAX - 1))
        .when(refresh())
        .then_expect_events(vec![refreshed.clone()]);
    Scenario::with(()).given(many(REFRESHES_MAX)).when(refresh()).then_expect_error(SessionError::Refreshes);
}
