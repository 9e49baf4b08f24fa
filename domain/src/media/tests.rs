use super::*;
use crate::guard::{Guard, Guarded};
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use cqrs_es::test::TestFramework;
use uuid::Uuid;

type Scenario = TestFramework<Media>;

const SHA256: Sha256 = Sha256([7; 32]);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn upload() -> Upload {
    Upload {
        filename: "photo.png".into(),
        content_type: ContentType::Png,
        size_bytes: 1_000,
        sha256: SHA256,
        key: "media/1/photo.png".into(),
        requested_at: at(100),
        expires_at: at(1_000),
    }
}

fn found() -> Found {
    Found {
        size_bytes: 1_000,
        sha256: Some(SHA256),
        content_type: Some("image/png".into()),
        recognised: Some("image/png".into()),
        dimensions: Some(Dimensions { width: 4, height: 3 }),
    }
}

fn requested() -> Vec<MediaEvent> {
    vec![MediaEvent::Requested(upload())]
}

fn uploaded() -> MediaEvent {
    MediaEvent::Uploaded { dimensions: found().dimensions }
}

fn then(event: MediaEvent) -> Vec<MediaEvent> {
    requested().into_iter().chain([event]).collect()
}

fn given(events: Vec<MediaEvent>, command: MediaCommand, expected: Vec<MediaEvent>) {
    Scenario::with(()).given(events).when(command).then_expect_events(expected);
}

fn refused(events: Vec<MediaEvent>, command: MediaCommand, error: MediaError) {
    Scenario::with(()).given(events).when(command).then_expect_error(error);
}

#[test]
fn a_medium_is_requested_once() {
    let request = MediaCommand::Request(upload());
    Scenario::with(()).given_no_previous_events().when(request.clone()).then_expect_events(requested());
    refused(requested(), request, MediaError::Exists);
}

#[test]
fn what_arrived_as_announced_is_uploaded() {
    given(requested(), MediaCommand::Complete(Some(found())), vec![uploaded()]);
}

#[test]
fn whatever_does_not_hold_is_a_reason() {
    let html = Some("text/html".to_owned());
    let cases = [
        (Found { size_bytes: 999, ..found() }, Rejection::Size { found_bytes: 999 }, "size_bytes"),
        (Found { sha256: Some(Sha256([8; 32])), ..found() }, Rejection::Checksum, "sha256"),
        (Found { sha256: None, ..found() }, Rejection::Checksum, "sha256"),
        (Found { content_type: html.clone(), ..found() }, Rejection::ContentType, "content_type"),
        (Found { content_type: None, ..found() }, Rejection::ContentType, "content_type"),
        (Found { recognised: html.clone(), ..found() }, Rejection::Content { found: html }, "content_type"),
        (Found { recognised: None, ..found() }, Rejection::Content { found: None }, "content_type"),
        (
            Found { recognised: Some("image/gif".into()), ..found() },
            Rejection::Content { found: Some("image/gif".into()) },
            "content_type",
        ),
    ];
    for (found, rejection, field) in cases {
        assert_eq!(rejection.field(), field);
        given(requested(), MediaCommand::Complete(Some(found)), vec![MediaEvent::Rejected { rejection }]);
    }
}

#[test]
fn what_has_not_arrived_may_still_arrive() {
    refused(requested(), MediaCommand::Complete(None), MediaError::NothingThere);
}

#[test]
fn completing_again_changes_nothing() {
    let rejected = MediaEvent::Rejected { rejection: Rejection::Checksum };
    let wrong = Found { sha256: None, ..found() };
    given(then(uploaded()), MediaCommand::Complete(Some(wrong)), vec![]);
    given(then(rejected), MediaCommand::Complete(Some(found())), vec![]);
    given(then(uploaded()), MediaCommand::Complete(None), vec![]);
    refused(then(MediaEvent::Expired {}), MediaCommand::Complete(Some(found())), MediaError::Expired);
    refused(then(MediaEvent::Deleted {}), MediaCommand::Complete(Some(found())), MediaError::Unknown);
}

#[test]
fn an_upload_that_nobody_completes_expires_once_it_cannot_arrive_any_more() {
    let expire = |after: TimeDelta| MediaCommand::Expire { now: upload().expires_at + after };
    given(requested(), expire(TimeDelta::hours(24)), vec![]);
    given(requested(), expire(TimeDelta::hours(25)), vec![MediaEvent::Expired {}]);
    for done in [uploaded(), MediaEvent::Expired {}] {
        given(then(done), expire(TimeDelta::hours(25)), vec![]);
    }
}

#[test]
fn what_is_deleted_is_unknown() {
    for event in [uploaded(), MediaEvent::Expired {}] {
        given(then(event), MediaCommand::Delete, vec![MediaEvent::Deleted {}]);
    }
    given(requested(), MediaCommand::Delete, vec![MediaEvent::Deleted {}]);
    refused(then(MediaEvent::Deleted {}), MediaCommand::Delete, MediaError::Unknown);
    Scenario::with(())
        .given_no_previous_events()
        .when(MediaCommand::Delete)
        .then_expect_error(MediaError::Unknown);
}

#[test]
fn its_file_is_looked_after_until_it_cannot_arrive_any_more() {
    let mut media = Media::default();
    for (event, status) in [
        (MediaEvent::Requested(upload()), "requested"),
        (uploaded(), "uploaded"),
        (MediaEvent::Deleted {}, "deleted"),
    ] {
        media.apply(event);
        let guards = Media::guards(&Uuid::from_u128(1).to_string(), &Media::default(), &media);
        let Some(Guard::Media(file)) = guards.last() else { panic!("{guards:?}") };
        assert_eq!(guards.len() == 2, status == "deleted", "what goes is asked for: {guards:?}");
        assert_eq!((file.status, file.key.as_str()), (status, "media/1/photo.png"));
        assert_eq!(file.arrives_until, upload().expires_at + TimeDelta::hours(24));
    }
}
