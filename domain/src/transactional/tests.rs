use super::*;
use crate::dispatch::{DispatchError, Refusal, Settlement, State};
use crate::{AddressHash, Personal};
use cqrs_es::Aggregate;
use cqrs_es::test::TestFramework;
use uuid::Uuid;

type Scenario = TestFramework<Transactional>;
const PERMIT: Uuid = Uuid::from_u128(77);

fn mail(recipients: u8) -> TestMail {
    TestMail {
        template_id: Uuid::from_u128(1),
        template_version: 2,
        mailer: "outbox".into(),
        shown: None,
        addresses: Personal::Sealed("1:1:AAAA".into()),
        address_hashes: (0..recipients).map(|n| AddressHash([n; 32])).collect(),
        hash_key_id: "k".into(),
        expires_at: chrono::DateTime::UNIX_EPOCH,
    }
}

fn requested(recipients: u8) -> TransactionalEvent {
    TransactionalEvent::TestRequested(mail(recipients))
}

fn authorized(recipients: Vec<u16>) -> TransactionalEvent {
    TransactionalEvent::Authorized { permit_id: PERMIT, recipients, suppressed: vec![], rejected: vec![] }
}

fn settled(accepted: Vec<u16>, unknown: Vec<u16>, returned: Vec<u16>) -> TransactionalEvent {
    TransactionalEvent::Settled {
        permit_id: PERMIT,
        accepted,
        unknown,
        returned,
        rejected: vec![],
        late: vec![],
    }
}

fn settlement() -> Settlement {
    Settlement { permit_id: PERMIT, ..Settlement::default() }
}

#[test]
fn an_accounts_mail_has_one_recipient_and_is_requested_once() {
    let mail = AccountMail {
        kind: AccountMailKind::PasswordReset,
        user_id: Some(Uuid::from_u128(3)),
        mailer: "outbox".into(),
        address_hash: AddressHash([1; 32]),
        hash_key_id: "k".into(),
        expires_at: chrono::DateTime::UNIX_EPOCH,
    };
    let request = TransactionalCommand::RequestAccount(mail.clone());
    let requested = vec![TransactionalEvent::AccountRequested(mail)];
    Scenario::with(()).given_no_previous_events().when(request.clone()).then_expect_events(requested.clone());
    Scenario::with(()).given(requested.clone()).when(request).then_expect_error(DispatchError::Exists);
    let mut dispatch = Transactional::default();
    requested.into_iter().for_each(|event| dispatch.apply(event));
    assert_eq!(dispatch.waiting(), [0]);
}

#[test]
fn a_test_has_one_to_ten_recipients_and_is_requested_once() {
    let request = |count| TransactionalCommand::RequestTest(mail(count));
    let new = || Scenario::with(()).given_no_previous_events();
    new().when(request(10)).then_expect_events(vec![requested(10)]);
    new().when(request(0)).then_expect_error(DispatchError::Size(RECIPIENTS_MAX));
    new().when(request(11)).then_expect_error(DispatchError::Size(RECIPIENTS_MAX));
    let again = Scenario::with(()).given(vec![requested(1)]).when(request(1));
    again.then_expect_error(DispatchError::Exists);
}

#[test]
fn nobody_is_authorized_twice_at_once() {
    let command = TransactionalCommand::Authorize {
        permit_id: PERMIT,
        allowed: vec![0],
        suppressed: vec![Refusal { index: 1, reason: "opted_out".into() }],
        rejected: vec![],
    };
    let events = vec![requested(2), authorized(vec![1])];
    Scenario::with(()).given(events).when(command).then_expect_error(DispatchError::NotPending(1));
}

#[test]
fn a_deferral_waits_for_another_try() {
    let command = TransactionalCommand::Settle(Settlement {
        accepted: vec![0],
        deferred: vec![1],
        returned: vec![2],
        ..settlement()
    });
    let events = vec![requested(3), authorized(vec![0, 1, 2])];
    let expected = settled(vec![0], vec![], vec![2, 1]);
    Scenario::with(()).given(events).when(command).then_expect_events(vec![expected]);
}

#[test]
fn a_late_settlement_ends_what_is_unknown_and_puts_nobody_back() {
    let events = || vec![requested(2), authorized(vec![0, 1]), settled(vec![], vec![0, 1], vec![])];
    let late = Settlement { accepted: vec![0], returned: vec![1], ..settlement() };
    let scenario = Scenario::with(()).given(events()).when(TransactionalCommand::Settle(late));
    scenario.then_expect_events(vec![settled(vec![0], vec![], vec![])]);
    let foreign = Settlement { permit_id: Uuid::nil(), accepted: vec![0], ..settlement() };
    let scenario = Scenario::with(()).given(events()).when(TransactionalCommand::Settle(foreign));
    scenario.then_expect_events(vec![]);
}

#[test]
fn what_is_not_sent_in_time_is_given_up_even_if_it_returns_later() {
    let mut mail = Transactional::default();
    let expired = TransactionalEvent::Expired { reason: None };
    for event in [requested(2), authorized(vec![1]), expired, settled(vec![], vec![], vec![1])] {
        mail.apply(event);
    }
    let given_up = |r: &Recipient| r.state == State::Rejected && r.reason.as_deref() == Some("expired");
    assert!(mail.recipients.iter().all(given_up), "{:?}", mail.recipients);
    let done = vec![requested(1), authorized(vec![0]), settled(vec![0], vec![], vec![])];
    Scenario::with(())
        .given(done)
        .when(TransactionalCommand::Expire { reason: None })
        .then_expect_events(vec![]);
}
