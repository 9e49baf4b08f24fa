//! A paused campaign takes a newer version of its template: who gets which, and that it is what is recorded.

use crate::support::*;
use commands::{Context, OptOut};
use domain::campaign::OnUnknown;
use domain::consent::{Channel, Origin, Scope};
use domain::dispatch::Dispatch;
use domain::template::{Body, Content};
use domain::{CampaignId, SubscriberId};
use eventstore::{ids, load};
use projections::campaign_report::{self, VersionCount};
use projections::recipients::{self, Recipient};
use projections::{Slice, campaigns};
use sqlx::{Connection, PgPool};
use std::collections::BTreeMap;
use std::sync::Arc;
use workers::mailers::{Outcome, Reconciled, UnknownClass};

const NEWER: &str = "<html><body><p>Dear {{ name }}</p></body></html>";

impl World {
    async fn change_template(&self) {
        let content = Content {
            name: "Letter".into(),
            subject: "Dear {{ first_name }}".into(),
            body: Body::Html(NEWER.into()),
            ..Content::default()
        };
        self.commands.change_template(&Context::system("test"), self.template, content).await.unwrap();
    }

    /// Paused, with the template's newest version, and on its way again.
    async fn takes_the_newer_version(&self, id: CampaignId) {
        let by = Context::system("test");
        self.change_template().await;
        self.commands.pause_campaign(&by, id, None).await.unwrap();
        let (version, content) = self.commands.newer_template(id, None).await.unwrap();
        assert_eq!((version, content.body), (2, Body::Html(NEWER.into())));
        self.commands.take_template(&by, id, version).await.unwrap();
        self.commands.resume_campaign(&by, id).await.unwrap();
    }

    async fn recorded(&self, id: CampaignId) -> Vec<Recipient> {
        recipients::page(&self.pool, id, None, Slice::new(None, 100)).await.unwrap().items
    }

    /// Which version each reader got, as the read model has it once it knows of everybody's end.
    async fn recorded_versions(&self, id: CampaignId) -> BTreeMap<SubscriberId, i64> {
        self.until(async || self.recorded(id).await.iter().all(|recipient| recipient.state != "pending"))
            .await;
        let rows = self.recorded(id).await.into_iter();
        rows.filter_map(|row| Some((row.subscriber_id, row.template_version?))).collect()
    }

    async fn counts(&self, id: CampaignId) -> Vec<(i64, i64, i64)> {
        self.until(async || {
            campaign_report::get(&self.pool, id).await.unwrap().unwrap().status == "completed"
        })
        .await;
        let report = campaign_report::get(&self.pool, id).await.unwrap().unwrap();
        let counts = |count: VersionCount| (count.template_version, count.accepted, count.unknown);
        report.versions.0.into_iter().map(counts).collect()
    }
}

/// Which version each reader was handed last, by the words of the mail itself.
fn handed_over(mailer: &Scripted) -> BTreeMap<SubscriberId, i64> {
    let version = |mail| match text_of(mail) {
        text if text.contains("Dear Reader") => 2,
        text if text.contains("Hello Reader") => 1,
        text => panic!("a mail of no version: {text}"),
    };
    mailer.taken().iter().map(|mail| (mail.subscriber, version(mail))).collect()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_has_no_mail_yet_gets_the_newer_version(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(25).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    sender.step(&world.stop).await.unwrap();
    assert_eq!(mailer.taken().len(), 10, "one dispatch of three");
    world.takes_the_newer_version(campaign).await;
    world.send_until(&sender, campaign, "completed").await;
    let handed_over = handed_over(&mailer);
    assert_eq!(handed_over.values().filter(|version| **version == 2).count(), 15);
    assert_eq!(world.recorded_versions(campaign).await, handed_over);
    assert_eq!(world.counts(campaign).await, [(1, 10, 0), (2, 15, 0)]);
    let shown = campaigns::get(&pool, campaign).await.unwrap().unwrap();
    assert_eq!((shown.template_version, shown.manifest.unwrap().template_version), (Some(2), 1));
}

/// A sender has claimed a dispatch, made its mails from the old version and is about to ask for leave, while the campaign is paused,
/// takes the newer version and is resumed: it gets no leave for what it made.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn mails_made_before_the_pause_do_not_go_after_it(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(5).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    // All sending's lock, the first that an authorization takes: the mails are made by then.
    let mut held = pool.acquire().await.unwrap();
    let mut held = held.begin().await.unwrap();
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('sending', 0))";
    sqlx::query(lock).execute(&mut *held).await.unwrap();
    let step = tokio::spawn({
        let (sender, stop) = (sender.clone(), world.stop.clone());
        async move { sender.step(&stop).await }
    });
    world
        .until(async || {
            let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
            sqlx::query_scalar(waits).fetch_one(&pool).await.unwrap()
        })
        .await;
    world.takes_the_newer_version(campaign).await;
    held.rollback().await.unwrap();
    step.await.unwrap().unwrap();
    assert!(mailer.taken().is_empty(), "a mail of the old version went after the newer one was taken");
    world.send_until(&sender, campaign, "completed").await;
    assert_eq!(handed_over(&mailer), readers.iter().map(|reader| (*reader, 2)).collect());
    assert_eq!(world.recorded_versions(campaign).await, handed_over(&mailer));
    assert_eq!(world.counts(campaign).await, [(1, 0, 0), (2, 5, 0)]);
}

/// Its worker was stopped with calls under way: what those were made from stays recorded, whatever the campaign took since.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_a_dead_worker_handed_over_keeps_its_version(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(10).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mut dying = Arc::into_inner(Scripted::accepting()).unwrap();
    dying.known = Reconciled::Accepted;
    let dying = Arc::new(dying);
    let silent = dying.answers.write().await;
    let step = tokio::spawn({
        let (sender, stop) = (world.sender(dying.clone()).await, world.stop.clone());
        async move { sender.step(&stop).await }
    });
    // As many at once as the mailer takes; the chunk's fifth has its leave too.
    world.until(async || dying.taken().len() == 4).await;
    step.abort();
    assert!(step.await.unwrap_err().is_cancelled());
    drop(silent);
    world.takes_the_newer_version(campaign).await;
    world.send_until(&world.sender(dying.clone()).await, campaign, "completed").await;
    let recorded = world.recorded_versions(campaign).await;
    for (reader, version) in handed_over(&dying) {
        assert_eq!(recorded[&reader], version);
    }
    assert_eq!(world.counts(campaign).await, [(1, 5, 0), (2, 5, 0)]);
}

/// Whoever is written to again, since nobody knows how the first mail ended, gets the newer version, and it is the one that counts.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_second_mail_to_the_same_reader_is_of_the_newer_version(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(2).await;
    let campaign = world.frozen_campaign(OnUnknown::Resend).await;
    let mailer = Scripted::answering(|mail| match mail.attempt {
        1 => Outcome::Unknown { class: UnknownClass::TimedOut, late: false },
        _ => Outcome::Accepted { provider_id: None, late: false },
    });
    let closed = mailer.answers.write().await;
    let step = tokio::spawn({
        let (sender, stop) = (world.sender(mailer.clone()).await, world.stop.clone());
        async move { sender.step(&stop).await }
    });
    world.until(async || mailer.taken().len() == 2).await;
    let by = Context::system("test");
    world.change_template().await;
    world.commands.pause_campaign(&by, campaign, None).await.unwrap();
    drop(closed);
    step.await.unwrap().unwrap();
    let opt_out = OptOut {
        subscriber: readers[0],
        scope: Scope::Global,
        channel: Channel::OneClick,
        origin: Origin::default(),
    };
    world.commands.opt_out(&by, opt_out).await.unwrap();
    world.commands.take_template(&by, campaign, 2).await.unwrap();
    world.commands.resume_campaign(&by, campaign).await.unwrap();
    world.send_until(&world.sender(mailer.clone()).await, campaign, "completed").await;
    assert_eq!(world.recorded_versions(campaign).await, [(readers[1], 2)].into(), "the other one left");
    assert_eq!(world.counts(campaign).await, [(1, 0, 0), (2, 1, 0)]);
    let dispatch = load::<Dispatch>(&pool, ids::dispatch_id(campaign, 0)).await.unwrap().aggregate;
    assert_eq!(dispatch.template_version, Some(2));
}
