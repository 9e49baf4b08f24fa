//! Every stored event format, byte for byte. A format that was ever written is kept here and read for ever.
//!
//! A new or changed event: write the file by running the tests with `UPDATE_GOLDEN=1`, and look at the difference. A
//! file that exists must not change: give the event a new version and an upcaster instead.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use domain::access::{Role, Scope as ApiScope};
use domain::api_key::ApiKeyEvent;
use domain::campaign::{CampaignEvent, Details, Manifest, OnUnknown};
use domain::consent::{Channel, Consent, Origin, Scope};
use domain::dispatch::{DispatchEvent, Refusal};
use domain::group::GroupEvent;
use domain::media::{ContentType, Dimensions, MediaEvent, Rejection, Sha256, Upload};
use domain::session::{EndReason, Refusal as SignInRefusal, SessionEvent};
use domain::subscriber::{SubscriberEvent, SubscriptionRequest};
use domain::template::{Body, Content, TemplateEvent};
use domain::transactional::{
    AccountMail, AccountMailKind, OptInMail, OptOutMail, Shown, SubscriptionMail, TestMail,
    TransactionalEvent,
};
use domain::user::UserEvent;
use domain::visit::Visit;
use domain::{AddressHash, Event, Personal};
use eventstore::{LogEvent, canonical, decode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use uuid::Uuid;

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn sealed(field: &str) -> Personal {
    Personal::Sealed(format!("1:1:{field}"))
}

fn time() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap()
}

fn consent() -> Consent {
    Consent {
        source: "import".into(),
        wording_version: Some("2026-01".into()),
        given_at: Some(time()),
        given_from: Some(sealed("ip")),
    }
}

fn origin() -> Origin {
    Origin {
        campaign_id: Some(id(1)),
        dispatch_id: Some(id(2)),
        source_address: Some(sealed("source")),
        user_agent: Some(sealed("agent")),
        reason: None,
    }
}

fn subscriber() -> Vec<SubscriberEvent> {
    vec![
        SubscriberEvent::Added {
            address: sealed("address"),
            address_hash: AddressHash([7; 32]),
            hash_key_id: "k".into(),
            name: Some(sealed("name")),
            attributes: Some(sealed("attributes")),
            groups: vec![id(3)],
            consent: consent(),
            import_id: Some(id(4)),
        },
        SubscriberEvent::DetailsChanged { name: Some(sealed("name")), attributes: None },
        SubscriberEvent::AddressChanged {
            address: sealed("address"),
            address_hash: AddressHash([8; 32]),
            hash_key_id: "k".into(),
        },
        SubscriberEvent::GroupJoined { group_id: id(3), consent: consent() },
        SubscriberEvent::GroupLeft { group_id: id(3) },
        SubscriberEvent::OptedOut {
            scope: Scope::Groups(vec![id(3)]),
            channel: Channel::OneClick,
            origin: origin(),
        },
        SubscriberEvent::OptedIn {
            ended_global: true,
            groups: vec![id(3)],
            restored: vec![id(5)],
            origin: origin(),
        },
        SubscriberEvent::Erased {},
        SubscriberEvent::SubscriptionRequested(SubscriptionRequest {
            request: id(6),
            address: sealed("address"),
            address_hash: AddressHash([7; 32]),
            hash_key_id: "k".into(),
            name: Some(sealed("name")),
            groups: vec![id(3)],
            source: "double opt-in".into(),
            wording_version: Some("2026-01".into()),
            requested_at: time(),
            visit: visit(),
        }),
        SubscriberEvent::SubscriptionConfirmed {
            request: id(6),
            groups: vec![id(3)],
            ended_global: true,
            name: Some(sealed("name")),
            wording_version: Some("en-1".into()),
            visit: visit(),
        },
    ]
}

fn group() -> Vec<GroupEvent> {
    vec![
        GroupEvent::Created { name: "News".into(), description: "Monthly".into() },
        GroupEvent::Changed { name: "Letters".into(), description: String::new() },
        GroupEvent::Deleted {},
    ]
}

fn template() -> Vec<TemplateEvent> {
    let content = |body| Content {
        name: "Letter".into(),
        subject: "Hello {{ first_name }}".into(),
        preheader: Some("News".into()),
        body,
        text: Some("Hello".into()),
        attributes: vec!["city".into()],
    };
    vec![
        TemplateEvent::Created(content(Body::Mjml("<mjml></mjml>".into()))),
        TemplateEvent::Changed(content(Body::Html("<p>Hello</p>".into()))),
        TemplateEvent::Deleted {},
    ]
}

fn media() -> Vec<MediaEvent> {
    vec![
        MediaEvent::Requested(Upload {
            filename: "Summer.png".into(),
            content_type: ContentType::Png,
            size_bytes: 1_000,
            sha256: Sha256([7; 32]),
            key: "media/00000000-0000-0000-0000-000000000001/Summer.png".into(),
            requested_at: time(),
            expires_at: time(),
        }),
        MediaEvent::Uploaded { dimensions: Some(Dimensions { width: 640, height: 480 }) },
        MediaEvent::Rejected { rejection: Rejection::Content { found: Some("application/zip".into()) } },
        MediaEvent::Expired {},
        MediaEvent::Deleted {},
    ]
}

fn campaign() -> Vec<CampaignEvent> {
    let details = || Details {
        name: "November".into(),
        template_id: id(1),
        group_id: id(2),
        mailer: Some("smtp".into()),
        from: Some("News <news@example.com>".into()),
        reply_to: Some("editor@example.com".into()),
        on_unknown: OnUnknown::Resend,
    };
    vec![
        CampaignEvent::Created(details()),
        CampaignEvent::Changed(details()),
        CampaignEvent::Scheduled { at: time() },
        CampaignEvent::Unscheduled {},
        CampaignEvent::Freezing { template_version: 3 },
        CampaignEvent::FreezingHalted { reason: "projection_parked".into() },
        CampaignEvent::Frozen(Manifest {
            position: 9,
            template_version: 3,
            recipients: 2,
            dispatches: 1,
            digest: "00".repeat(32),
        }),
        CampaignEvent::Paused { reason: Some("mailer_unavailable".into()), dispatch_id: None },
        CampaignEvent::Resumed {},
        CampaignEvent::TemplateTaken { template_version: 4 },
        CampaignEvent::Cancelled {},
        CampaignEvent::Completed { reason: Some("empty_audience".into()) },
        CampaignEvent::Deleted {},
    ]
}

fn dispatch() -> Vec<DispatchEvent> {
    let refusal = |index, reason: &str| vec![Refusal { index, reason: reason.into() }];
    vec![
        DispatchEvent::Planned { campaign_id: id(1), page: 2, recipients: vec![id(3), id(4)] },
        DispatchEvent::TemplateTaken { template_version: 4 },
        DispatchEvent::Authorized {
            permit_id: id(5),
            recipients: vec![0],
            consents: vec![1],
            suppressed: refusal(1, "opted_out"),
            rejected: refusal(2, "not_rendered"),
        },
        DispatchEvent::Settled {
            permit_id: id(5),
            accepted: vec![0],
            rejected: refusal(1, "550"),
            unknown: vec![2],
            returned: vec![3],
            deferred: vec![4],
        },
        DispatchEvent::LateHandover { permit_id: id(5), recipients: vec![0] },
        DispatchEvent::Reconciled {
            permit_id: id(5),
            accepted: vec![0],
            unknown: vec![1],
            returned: vec![2],
        },
        DispatchEvent::UnknownReturned { recipients: vec![1] },
        DispatchEvent::Cancelled {},
    ]
}

fn test(shown: Option<Shown>) -> TestMail {
    TestMail {
        template_id: id(1),
        template_version: 3,
        mailer: "smtp".into(),
        shown,
        addresses: sealed("addresses"),
        address_hashes: vec![AddressHash([7; 32]), AddressHash([8; 32])],
        hash_key_id: "k".into(),
        expires_at: time(),
    }
}

fn transactional() -> Vec<TransactionalEvent> {
    let refusal = |index, reason: &str| vec![Refusal { index, reason: reason.into() }];
    vec![
        TransactionalEvent::TestRequested(test(None)),
        TransactionalEvent::TestRequested(test(Some(Shown::Fields(sealed("fields"))))),
        TransactionalEvent::AccountRequested(AccountMail {
            kind: AccountMailKind::PasswordReset,
            user_id: Some(id(6)),
            mailer: "smtp".into(),
            address_hash: AddressHash([7; 32]),
            hash_key_id: "k".into(),
            expires_at: time(),
        }),
        TransactionalEvent::SubscriptionRequested(SubscriptionMail {
            address: sealed("address"),
            name: Some(sealed("name")),
            groups: vec![id(3)],
            source: "double opt-in".into(),
            wording_version: Some("2026-01".into()),
            requested_at: time(),
            visit: visit(),
            mailer: "smtp".into(),
            address_hash: AddressHash([7; 32]),
            hash_key_id: "k".into(),
            expires_at: time(),
        }),
        TransactionalEvent::OptOutRequested(OptOutMail {
            subscriber_id: id(1),
            opt_out: 4,
            scope: Scope::Groups(vec![id(3)]),
            mailer: "smtp".into(),
            address_hash: AddressHash([7; 32]),
            hash_key_id: "k".into(),
            expires_at: time(),
        }),
        TransactionalEvent::OptInRequested(OptInMail {
            subscriber_id: id(1),
            opt_in: 4,
            scope: Scope::Groups(vec![id(3)]),
            mailer: "smtp".into(),
            address_hash: AddressHash([7; 32]),
            hash_key_id: "k".into(),
            expires_at: time(),
        }),
        TransactionalEvent::Authorized {
            permit_id: id(5),
            recipients: vec![0],
            suppressed: refusal(1, "opted_out"),
            rejected: refusal(2, "not_rendered"),
        },
        TransactionalEvent::Settled {
            permit_id: id(5),
            accepted: vec![0],
            rejected: refusal(1, "550"),
            unknown: vec![2],
            returned: vec![3],
            late: vec![0],
        },
        TransactionalEvent::Expired { reason: None },
    ]
}

fn user() -> Vec<UserEvent> {
    vec![
        UserEvent::Added {
            address: sealed("address"),
            address_hash: AddressHash([7; 32]),
            hash_key_id: "k".into(),
            roles: vec![Role::Admin, Role::Auditor],
        },
        UserEvent::RolesChanged { roles: vec![Role::Marketer, Role::Analyst] },
        UserEvent::PasswordSet {},
        UserEvent::Invited {},
        UserEvent::InvitationAccepted { visit: visit() },
        UserEvent::PasswordReset { visit: visit() },
        UserEvent::IdentityLinked {
            provider: "company".into(),
            issuer: "https://id.example.com".into(),
            subject: sealed("subject"),
        },
        UserEvent::IdentitiesUnlinked {},
        UserEvent::Disabled {},
        UserEvent::Enabled {},
    ]
}

fn visit() -> Visit {
    Visit { source_address: Some(sealed("source_address")), user_agent: Some(sealed("user_agent")) }
}

fn session() -> Vec<SessionEvent> {
    vec![
        SessionEvent::Started { user_id: id(6), visit: visit() },
        SessionEvent::SignInFailed {
            user_id: Some(id(6)),
            reason: SignInRefusal::WrongPassword,
            visit: visit(),
        },
        SessionEvent::SignInsFailed { count: 7, visit: visit() },
        SessionEvent::ResetRequested { user_id: Some(id(6)), visit: visit() },
        SessionEvent::Refreshed { visit: visit() },
        SessionEvent::ReuseDetected { visit: visit() },
        SessionEvent::Ended { reason: EndReason::TokenReused },
    ]
}

fn api_key() -> Vec<ApiKeyEvent> {
    let scopes = vec![ApiScope::GroupsRead, ApiScope::EmailsWrite];
    vec![ApiKeyEvent::Made { name: "shop".into(), scopes, expires_at: Some(time()) }, ApiKeyEvent::Revoked {}]
}

/// Compares each sample with its file and reads the file back; returns the files' names.
fn check<A>(samples: Vec<A::Event>) -> BTreeSet<String>
where
    A: domain::Guarded,
    A::Event: Event,
{
    let (mut names, mut state) = (BTreeSet::new(), A::default());
    for sample in samples {
        let (event_type, version) = (sample.event_type(), sample.event_version());
        let name = format!("{event_type}@{version}.json");
        let mut bytes = canonical(&serde_json::to_value(&sample).unwrap()).unwrap();
        bytes.push(b'\n');
        let path = dir().join(&name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
            std::fs::write(&path, &bytes).unwrap();
        }
        let golden = std::fs::read(&path).unwrap_or_else(|_| panic!("{name} is missing"));
        assert_eq!(
            String::from_utf8_lossy(&golden),
            String::from_utf8_lossy(&bytes),
            "{name}: a stored format may not change; give the event a new version and an upcaster"
        );
        assert_eq!(decode::<A>(&stored(A::TYPE, &event_type, &version, &golden)).unwrap(), sample);
        assert!(names.insert(name), "two samples for one file");
        state.apply(sample);
    }
    check_snapshot(&state, &names);
    names
}

/// A snapshot of another release must be told from this one's: whoever changes the state, what events make of it, or which events there are,
/// raises the format, and has a new file written.
fn check_snapshot<A: domain::Guarded>(state: &A, events: &BTreeSet<String>) {
    let known = json!({ "events": events, "state": state });
    let mut text = serde_json::to_string_pretty(&known).unwrap();
    text.push('\n');
    let name = format!("{}@{}.json", A::TYPE, A::SNAPSHOT_FORMAT);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(&name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{name} is missing"));
    assert_eq!(kept, text, "{name}: raise the aggregate's SNAPSHOT_FORMAT");
}

fn stored(aggregate_type: &str, event_type: &str, version: &str, json: &[u8]) -> LogEvent {
    LogEvent {
        position: 1,
        aggregate_type: aggregate_type.into(),
        slot: 0,
        aggregate_id: id(1).to_string(),
        sequence: 1,
        event_type: event_type.into(),
        event_version: version.into(),
        payload: serde_json::from_slice(json).unwrap(),
        metadata: Value::Null,
        recorded_at: time(),
    }
}

#[test]
fn every_event_has_its_golden_file_and_every_file_its_reader() {
    let mut names = check::<domain::subscriber::Subscriber>(subscriber());
    names.append(&mut check::<domain::group::Group>(group()));
    names.append(&mut check::<domain::template::Template>(template()));
    names.append(&mut check::<domain::media::Media>(media()));
    names.append(&mut check::<domain::campaign::Campaign>(campaign()));
    names.append(&mut check::<domain::dispatch::Dispatch>(dispatch()));
    names.append(&mut check::<domain::transactional::Transactional>(transactional()));
    names.append(&mut check::<domain::user::User>(user()));
    names.append(&mut check::<domain::session::Session>(session()));
    names.append(&mut check::<domain::api_key::ApiKey>(api_key()));
    names.append(&mut check::<Probe>(vec![ProbeEvent::Measured { celsius: 20 }]));
    names.insert("ProbeMeasured@0.9.json".into());
    let files: BTreeSet<String> =
        std::fs::read_dir(dir()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, names);
}

/// The enums' own list of variants, so that an event without a sample is noticed: an unknown one is answered with it.
#[test]
fn every_variant_has_a_sample() {
    fn variants<E: Event>() -> Vec<String> {
        let error = serde_json::from_str::<E>(r#"{"?": {}}"#).unwrap_err().to_string();
        let quoted = error.split('`').skip(3).step_by(2);
        quoted.map(str::to_owned).collect()
    }
    fn named<E: Event>(samples: Vec<E>) {
        let mut sampled: Vec<String> = samples.iter().map(DomainEvent::event_type).collect();
        let mut known = variants::<E>();
        sampled.sort();
        // One of each version.
        sampled.dedup();
        known.sort();
        assert_eq!(sampled, known);
    }
    named(subscriber());
    named(group());
    named(template());
    named(media());
    named(campaign());
    named(dispatch());
    named(transactional());
    named(user());
    named(session());
    named(api_key());
}

/// An aggregate of the tests alone, whose event was stored in Fahrenheit once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Probe;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum ProbeEvent {
    #[serde(rename = "ProbeMeasured")]
    Measured { celsius: i64 },
}

impl DomainEvent for ProbeEvent {
    fn event_type(&self) -> String {
        "ProbeMeasured".into()
    }
    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Event for ProbeEvent {
    fn upcast(_: &str, version: &str, payload: &Value) -> Option<Value> {
        let fahrenheit = payload["ProbeMeasured"]["fahrenheit"].as_i64().filter(|_| version == "0.9")?;
        Some(serde_json::json!({ "ProbeMeasured": { "celsius": (fahrenheit - 32) * 5 / 9 } }))
    }
}

impl cqrs_es::Aggregate for Probe {
    const TYPE: &'static str = "probe";
    type Command = ();
    type Event = ProbeEvent;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        (): (),
        (): &(),
        _: &cqrs_es::event_sink::EventSink<Self>,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    fn apply(&mut self, _: ProbeEvent) {}
}

impl domain::Guarded for Probe {
    fn guards(_: &str, _: &Self, _: &Self) -> Vec<domain::Guard> {
        Vec::new()
    }
}

#[test]
fn a_version_of_another_release_is_not_taken_for_the_present_one() {
    let newer = br#"{"ProbeMeasured":{"celsius":20,"place":"attic"}}"#;
    let error = decode::<Probe>(&stored("probe", "ProbeMeasured", "2.0", newer)).unwrap_err();
    assert!(error.to_string().contains("ProbeMeasured 2.0"), "{error}");
}

#[test]
fn an_old_version_is_read_through_its_upcaster() {
    let old = std::fs::read(dir().join("ProbeMeasured@0.9.json")).unwrap();
    let event = decode::<Probe>(&stored("probe", "ProbeMeasured", "0.9", &old)).unwrap();
    assert_eq!(event, ProbeEvent::Measured { celsius: 20 });
}
