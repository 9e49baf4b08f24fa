use super::*;
use crate::consent::{Channel, Consent, Origin, Scope};
use crate::guard::{ChoiceMail, Guard, Guarded};
use crate::visit::Visit;
use crate::{AddressHash, GroupId, Personal};
use cqrs_es::Aggregate;
use cqrs_es::test::TestFramework;
use proptest::prelude::*;
use uuid::Uuid;

type Scenario = TestFramework<Subscriber>;
const NEWS: GroupId = Uuid::from_u128(1);
const OFFERS: GroupId = Uuid::from_u128(2);

fn consent() -> Consent {
    Consent { source: "form".into(), wording_version: None, given_at: None, given_from: None }
}

fn added() -> SubscriberEvent {
    SubscriberEvent::Added {
        address: Personal::plain("ana@example.com"),
        address_hash: AddressHash([1; 32]),
        hash_key_id: "k1".into(),
        name: None,
        attributes: None,
        groups: vec![NEWS],
        consent: consent(),
        import_id: None,
    }
}

fn add() -> SubscriberCommand {
    SubscriberCommand::Add(Box::new(NewSubscriber {
        address: Personal::plain("ana@example.com"),
        address_hash: AddressHash([1; 32]),
        hash_key_id: "k1".into(),
        name: None,
        attributes: None,
        groups: vec![NEWS],
        consent: consent(),
        import_id: None,
    }))
}

fn opt_out(scope: Scope) -> SubscriberCommand {
    SubscriberCommand::OptOut { scope, channel: Channel::OneClick, origin: Origin::default() }
}

fn opted_out(scope: Scope) -> SubscriberEvent {
    SubscriberEvent::OptedOut { scope, channel: Channel::OneClick, origin: Origin::default() }
}

fn join(group_id: GroupId) -> SubscriberCommand {
    SubscriberCommand::JoinGroup { group_id, consent: consent() }
}

#[test]
fn a_subscriber_is_added_once() {
    Scenario::with(()).given_no_previous_events().when(add()).then_expect_events(vec![added()]);
    Scenario::with(()).given(vec![added()]).when(add()).then_expect_error(SubscriberError::Exists);
}

#[test]
fn an_unknown_subscriber_takes_no_command() {
    let scenario = Scenario::with(()).given_no_previous_events();
    scenario.when(join(NEWS)).then_expect_error(SubscriberError::Unknown);
}

#[test]
fn opting_out_twice_is_recorded_once() {
    let events = vec![added(), opted_out(Scope::Global)];
    Scenario::with(()).given(events).when(opt_out(Scope::Global)).then_expect_events(vec![]);
}

#[test]
fn an_import_or_the_staff_revives_no_opt_out() {
    for scope in [Scope::Global, Scope::Groups(vec![NEWS])] {
        let events = vec![added(), opted_out(scope)];
        Scenario::with(()).given(events).when(join(NEWS)).then_expect_error(SubscriberError::OptedOut);
    }
}

#[test]
fn leaving_a_group_keeps_its_opt_out() {
    let events = vec![added(), opted_out(Scope::Groups(vec![NEWS]))];
    let leave = SubscriberCommand::LeaveGroup { group_id: NEWS };
    Scenario::with(()).given(events).when(leave).then_expect_events(vec![]);
}

#[test]
fn an_opt_out_of_a_group_never_joined_holds() {
    let events = vec![added(), opted_out(Scope::Groups(vec![OFFERS]))];
    Scenario::with(()).given(events).when(join(OFFERS)).then_expect_error(SubscriberError::OptedOut);
}

#[test]
fn ending_a_global_opt_out_names_what_is_in_force_again() {
    let choose = SubscriberCommand::SetPreferences {
        global_opt_out: Some(false),
        groups: vec![(OFFERS, true)],
        origin: Origin::default(),
        may_opt_in: true,
    };
    let event = SubscriberEvent::OptedIn {
        ended_global: true,
        groups: vec![OFFERS],
        restored: vec![NEWS],
        origin: Origin::default(),
    };
    let events = vec![added(), opted_out(Scope::Global)];
    Scenario::with(()).given(events).when(choose).then_expect_events(vec![event]);
}

#[test]
fn preferences_that_hold_already_append_nothing() {
    let choose = SubscriberCommand::SetPreferences {
        global_opt_out: Some(false),
        groups: vec![(NEWS, true)],
        origin: Origin::default(),
        may_opt_in: false,
    };
    Scenario::with(()).given(vec![added()]).when(choose).then_expect_events(vec![]);
}

#[test]
fn who_opted_in_too_often_can_only_opt_out() {
    let set = |global_opt_out, on| SubscriberCommand::SetPreferences {
        global_opt_out,
        groups: vec![(NEWS, on)],
        origin: Origin::default(),
        may_opt_in: false,
    };
    let left = [opted_out(Scope::Groups(vec![NEWS])), opted_out(Scope::Global)];
    for (event, choice) in left.into_iter().zip([set(None, true), set(Some(false), false)]) {
        let scenario = Scenario::with(()).given(vec![added(), event]).when(choice);
        scenario.then_expect_error(SubscriberError::TooOften);
    }
    let events = [Scope::Groups(vec![NEWS]), Scope::Global].map(|scope| SubscriberEvent::OptedOut {
        scope,
        channel: Channel::PreferencePage,
        origin: Origin::default(),
    });
    Scenario::with(()).given(vec![added()]).when(set(Some(true), false)).then_expect_events(events.into());
}

fn folded(events: Vec<SubscriberEvent>) -> Subscriber {
    events.into_iter().fold(Subscriber::default(), |mut state, event| {
        state.apply(event);
        state
    })
}

#[test]
fn a_changed_address_leaves_the_old_one_suppressed() {
    let id = Uuid::from_u128(9).to_string();
    let before = folded(vec![added(), opted_out(Scope::Global)]);
    let mut after = before.clone();
    after.apply(SubscriberEvent::AddressChanged {
        address: Personal::plain("b@example.com"),
        address_hash: AddressHash([2; 32]),
        hash_key_id: "k1".into(),
    });
    let guards = Subscriber::guards(&id, &before, &after);
    let [Guard::SetGate(old), Guard::ClaimGate(new)] = guards.as_slice() else { panic!("{guards:?}") };
    assert!(old.suppressed && new.suppressed, "the opt-out goes along");
}

fn erased_out_of_everything() -> [SubscriberEvent; 2] {
    let (channel, origin) = (Channel::Admin, Origin::default());
    [SubscriberEvent::OptedOut { scope: Scope::Global, channel, origin }, SubscriberEvent::Erased {}]
}

#[test]
fn who_is_erased_is_opted_out_of_everything_first() {
    let erase = SubscriberCommand::Erase;
    let scenario = Scenario::with(()).given(vec![added()]);
    scenario.when(erase.clone()).then_expect_events(erased_out_of_everything().into());
    let events = vec![added(), opted_out(Scope::Global)];
    Scenario::with(()).given(events).when(erase).then_expect_events(vec![SubscriberEvent::Erased {}]);
}

#[test]
fn nothing_happens_to_the_erased_any_more() {
    let set = |global_opt_out, on| SubscriberCommand::SetPreferences {
        global_opt_out,
        groups: vec![(NEWS, on)],
        origin: Origin::default(),
        may_opt_in: true,
    };
    let change = SubscriberCommand::Change {
        address: None,
        hash_key_id: "k1".into(),
        details: Some((Some(Personal::plain("Ana")), None)),
    };
    let erased = || {
        let [out, erased] = erased_out_of_everything();
        Scenario::with(()).given(vec![added(), out, erased])
    };
    let scope = Scope::Groups(vec![OFFERS]);
    let leave = SubscriberCommand::LeaveGroup { group_id: NEWS };
    for held in [SubscriberCommand::Erase, opt_out(scope), leave, set(Some(true), false), set(None, false)] {
        erased().when(held).then_expect_events(vec![]);
    }
    for refused in [join(OFFERS), change, set(Some(false), false), set(Some(true), true), set(None, true)] {
        erased().when(refused).then_expect_error(SubscriberError::Erased);
    }
    erased().when(add()).then_expect_error(SubscriberError::Exists);
}

#[test]
fn an_erasure_closes_the_gate_for_ever_and_destroys_the_key_once() {
    let id = Uuid::from_u128(9);
    let before = folded(vec![added()]);
    let mut after = before.clone();
    erased_out_of_everything().into_iter().for_each(|event| after.apply(event));
    let guards = Subscriber::guards(&id.to_string(), &before, &after);
    let [Guard::SetGate(gate), Guard::Erase(erased)] = guards.as_slice() else { panic!("{guards:?}") };
    assert!(gate.suppressed && gate.groups.is_empty() && gate.address == AddressHash([1; 32]));
    assert_eq!(*erased, id);
    assert!((&after.address, &after.name, &after.attributes) == (&None, &None, &None));
    assert_eq!(Subscriber::guards(&id.to_string(), &after, &after), []);
}

const REQUEST: Uuid = Uuid::from_u128(7);

fn request(request: Uuid, groups: &[GroupId]) -> SubscriptionRequest {
    SubscriptionRequest {
        request,
        address: Personal::plain("ana@example.com"),
        address_hash: AddressHash([1; 32]),
        hash_key_id: "k1".into(),
        name: Some(Personal::plain("Ana")),
        groups: groups.to_vec(),
        source: "form".into(),
        wording_version: None,
        requested_at: chrono::DateTime::UNIX_EPOCH,
        visit: Visit::default(),
    }
}

fn requested(groups: &[GroupId]) -> SubscriberEvent {
    SubscriberEvent::SubscriptionRequested(request(REQUEST, groups))
}

fn confirm() -> SubscriberCommand {
    SubscriberCommand::ConfirmSubscription {
        request: REQUEST,
        wording_version: Some("en-1".into()),
        visit: Visit::default(),
    }
}

fn confirmed(groups: &[GroupId], ended_global: bool) -> SubscriberEvent {
    SubscriberEvent::SubscriptionConfirmed {
        request: REQUEST,
        groups: groups.to_vec(),
        ended_global,
        name: Some(Personal::plain("Ana")),
        wording_version: Some("en-1".into()),
        visit: Visit::default(),
    }
}

#[test]
fn a_request_adds_somebody_whom_nobody_may_write_to() {
    let command = SubscriberCommand::RequestSubscription(Box::new(request(REQUEST, &[NEWS])));
    let new = Scenario::with(()).given_no_previous_events();
    new.when(command.clone()).then_expect_events(vec![requested(&[NEWS])]);
    let again = Scenario::with(()).given(vec![requested(&[NEWS])]);
    again.when(command).then_expect_events(vec![]);
    let state = folded(vec![requested(&[NEWS])]);
    assert!(state.unconfirmed && state.groups.is_empty() && state.name.is_none());
}

#[test]
fn confirming_is_the_consent_and_is_recorded_once() {
    let scenario = Scenario::with(()).given(vec![requested(&[NEWS])]);
    scenario.when(confirm()).then_expect_events(vec![confirmed(&[NEWS], false)]);
    let events = vec![requested(&[NEWS]), confirmed(&[NEWS], false)];
    Scenario::with(()).given(events.clone()).when(confirm()).then_expect_events(vec![]);
    let state = folded(events);
    assert_eq!(state.groups[&NEWS], Some(2), "by the confirmation, and not by the request");
    assert!(!state.unconfirmed && state.name.is_some());
}

#[test]
fn a_request_changes_nothing_of_somebody_known() {
    let before = folded(vec![added(), opted_out(Scope::Groups(vec![OFFERS]))]);
    let mut after = before.clone();
    after.apply(SubscriberEvent::SubscriptionRequested(request(REQUEST, &[OFFERS])));
    let unchanged = Subscriber { version: 2, requests: before.requests.clone(), ..after.clone() };
    assert_eq!(unchanged, before);
    assert!(Subscriber::guards(&Uuid::from_u128(9).to_string(), &before, &after).is_empty());
}

#[test]
fn nothing_is_confirmed_that_was_not_requested() {
    let scenario = Scenario::with(()).given(vec![added()]);
    scenario.when(confirm()).then_expect_error(SubscriberError::NotRequested);
    let unknown = Scenario::with(()).given_no_previous_events();
    unknown.when(confirm()).then_expect_error(SubscriberError::Unknown);
}

/// Whoever left everything and asks for one group gets one group: what they had before does not come back with it.
#[test]
fn who_comes_back_gets_what_they_asked_for_and_nothing_else() {
    let events = vec![added(), opted_out(Scope::Global), requested(&[OFFERS])];
    Scenario::with(())
        .given(events.clone())
        .when(confirm())
        .then_expect_events(vec![confirmed(&[OFFERS], true)]);
    let state = folded([events, vec![confirmed(&[OFFERS], true)]].concat());
    assert!(state.is_subscribed(OFFERS) && !state.is_subscribed(NEWS));
    assert_eq!(state.groups[&NEWS], None, "as an opt-out, which no import revives");
}

#[test]
fn an_opt_out_takes_back_what_was_requested_before_it() {
    for scope in [Scope::Global, Scope::Groups(vec![NEWS])] {
        let events = vec![requested(&[NEWS]), opted_out(scope)];
        Scenario::with(()).given(events).when(confirm()).then_expect_error(SubscriberError::NotRequested);
    }
    let events = vec![requested(&[NEWS, OFFERS]), opted_out(Scope::Groups(vec![NEWS]))];
    let scenario = Scenario::with(()).given(events).when(confirm());
    scenario.then_expect_events(vec![confirmed(&[OFFERS], false)]);
    // The button was pressed, then the person left: pressing it again does nothing.
    let events = vec![requested(&[NEWS]), confirmed(&[NEWS], false), opted_out(Scope::Global)];
    Scenario::with(()).given(events).when(confirm()).then_expect_events(vec![]);
}

#[test]
fn a_link_that_went_to_another_address_confirms_nothing() {
    let changed = SubscriberEvent::AddressChanged {
        address: Personal::plain("b@example.com"),
        address_hash: AddressHash([2; 32]),
        hash_key_id: "k1".into(),
    };
    let scenario = Scenario::with(()).given(vec![added(), requested(&[OFFERS]), changed]);
    scenario.when(confirm()).then_expect_error(SubscriberError::NotRequested);
}

#[test]
fn requests_are_remembered_in_bounds() {
    let ids = (0..1_000).map(Uuid::from_u128);
    let state = folded(ids.map(|id| SubscriberEvent::SubscriptionRequested(request(id, &[NEWS]))).collect());
    assert!(state.requests.len() < 100 && state.requests.contains_key(&Uuid::from_u128(999)));
}

/// Notes of mails that an event makes.
fn mails(before: &Subscriber, event: SubscriberEvent) -> Vec<ChoiceMail> {
    let mut after = before.clone();
    after.apply(event);
    let guards = Subscriber::guards(&Uuid::from_u128(9).to_string(), before, &after);
    guards
        .into_iter()
        .filter_map(|g| if let Guard::ChoiceMail(mail) = g { Some(mail) } else { None })
        .collect()
}

#[test]
fn who_opts_in_by_a_link_is_told_once() {
    let left = SubscriberEvent::OptedOut {
        scope: Scope::Global,
        channel: Channel::OneClick,
        origin: Origin::default(),
    };
    let before = folded(vec![added(), left]);
    let back = |groups, restored| SubscriberEvent::OptedIn {
        ended_global: true,
        groups,
        restored,
        origin: Origin::default(),
    };
    let told = |scope| {
        let subscriber = Uuid::from_u128(9);
        [ChoiceMail { subscriber, sequence: 3, opted_in: true, scope }]
    };
    assert_eq!(mails(&before, back(vec![OFFERS], vec![NEWS])), told(Scope::Groups(vec![OFFERS, NEWS])));
    assert_eq!(mails(&before, back(vec![], vec![])), told(Scope::Global));
    let mut after = before.clone();
    after.apply(back(vec![], vec![NEWS]));
    assert_eq!(mails(&after, SubscriberEvent::GroupLeft { group_id: NEWS }), [], "the note was made before");
    let joined = SubscriberEvent::GroupJoined { group_id: OFFERS, consent: consent() };
    assert_eq!(mails(&before, joined), [], "by the staff");
}

#[test]
fn who_opts_out_by_their_own_hand_is_told_once() {
    let by = |channel| SubscriberEvent::OptedOut { scope: Scope::Global, channel, origin: Origin::default() };
    let before = folded(vec![added()]);
    for channel in [Channel::OneClick, Channel::PreferencePage] {
        let subscriber = Uuid::from_u128(9);
        let mail = ChoiceMail { subscriber, sequence: 2, opted_in: false, scope: Scope::Global };
        assert_eq!(mails(&before, by(channel)), [mail]);
    }
    for channel in [Channel::Complaint, Channel::HardBounce, Channel::Admin, Channel::Import] {
        assert_eq!(mails(&before, by(channel)), []);
    }
    let left = folded(vec![added(), by(Channel::OneClick)]);
    assert_eq!(mails(&left, SubscriberEvent::GroupLeft { group_id: NEWS }), [], "the note was made before");
}

#[test]
fn what_a_provider_says_of_an_address_holds_until_the_person_comes_back() {
    for channel in [Channel::Complaint, Channel::HardBounce] {
        let said = SubscriberEvent::OptedOut { scope: Scope::Global, channel, origin: Origin::default() };
        assert!(folded(vec![added(), said.clone()]).unwanted);
        let back = SubscriberEvent::OptedIn {
            ended_global: true,
            groups: vec![],
            restored: vec![NEWS],
            origin: Origin::default(),
        };
        assert!(!folded(vec![added(), said, back]).unwanted);
    }
}

fn any_command() -> impl Strategy<Value = SubscriberCommand> {
    let group = prop_oneof![Just(NEWS), Just(OFFERS)];
    let scope = prop_oneof![Just(Scope::Global), group.clone().prop_map(|g| Scope::Groups(vec![g]))];
    prop_oneof![
        group.clone().prop_map(join),
        group.clone().prop_map(|group_id| SubscriberCommand::LeaveGroup { group_id }),
        Just(SubscriberCommand::Erase),
        (0..3_u128, group.clone()).prop_map(|(id, group)| {
            SubscriberCommand::RequestSubscription(Box::new(request(Uuid::from_u128(id), &[group])))
        }),
        (0..3_u128).prop_map(|id| SubscriberCommand::ConfirmSubscription {
            request: Uuid::from_u128(id),
            wording_version: None,
            visit: Visit::default(),
        }),
        scope.prop_map(opt_out),
        (any::<Option<bool>>(), group, any::<bool>()).prop_map(|(global_opt_out, group, on)| {
            SubscriberCommand::SetPreferences {
                global_opt_out,
                groups: vec![(group, on)],
                origin: Origin::default(),
                may_opt_in: true,
            }
        }),
    ]
}

proptest! {
    /// Only the person's own choice ever makes an opted-out reader reachable again.
    #[test]
    fn nothing_but_the_person_revives_an_opt_out(commands in prop::collection::vec(any_command(), 1..20)) {
        let mut state = folded(vec![added()]);
        for command in commands {
            let before = state.clone();
            let by_person = matches!(
                command,
                SubscriberCommand::SetPreferences { .. } | SubscriberCommand::ConfirmSubscription { .. }
            );
            let is_stale = |id: &Uuid| !matches!(before.requests.get(id), Some(Some(_)));
            let changes_nothing =
                matches!(&command, SubscriberCommand::ConfirmSubscription { request, .. } if is_stale(request));
            let mut handled = before.clone();
            let Ok(events) = futures_now(&mut handled, command) else { continue };
            for event in events { state.apply(event) }
            prop_assert_eq!(&state, &handled);
            for group in [NEWS, OFFERS] {
                let was_out = before.global_opt_out || before.groups.get(&group) == Some(&None);
                prop_assert!(by_person || !was_out || !state.is_subscribed(group));
            }
            prop_assert!(by_person || !before.global_opt_out || state.global_opt_out);
            prop_assert!(!state.is_erased() || state.global_opt_out && state.groups.is_empty());
            prop_assert!(!before.is_erased() || state == before);
            prop_assert!(!changes_nothing || state == before);
        }
    }
}

fn futures_now(
    state: &mut Subscriber,
    command: SubscriberCommand,
) -> Result<Vec<SubscriberEvent>, SubscriberError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let sink = cqrs_es::event_sink::EventSink::default();
        state.handle(command, &(), &sink).await?;
        Ok(sink.collect().await)
    })
}
