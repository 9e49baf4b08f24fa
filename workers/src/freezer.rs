//! Freezes audiences: pages the members of a group, as they were at the position of the campaign's own
//! `CampaignFreezing` event, into dispatches.
//!
//! Each page is a short transaction of its own. Whoever does a page again meets its dispatch's primary key, and the
//! next page begins behind the last one recorded: so a crash or a second scheduler changes nothing.

use crate::sender::describe;
use aws_lc_rs::digest;
use commands::{CommandError, Commands, Context};
use domain::campaign::{Campaign, Manifest, Phase};
use domain::dispatch::{Dispatch, DispatchCommand};
use domain::group::Group;
use domain::{CampaignId, SubscriberId};
use eventstore::{
    Decided, Loaded, StoreError, append, campaign_lock, ids, load, load_many, sealing::SubjectKeys,
};
use projections::group_members::{self, AsOf};
use sqlx::PgConnection;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// While the members' read model is behind the campaign's position.
const BEHIND_POLL: Duration = Duration::from_millis(20);
const IDLE_POLL: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(1);
/// Dispatches whose recipients are digested at once.
const DIGEST_BATCH: i64 = 50;

#[derive(Clone)]
pub struct Freezer {
    commands: Commands,
    /// Recipients of one dispatch.
    page_size: usize,
}

enum Page {
    Written,
    /// Everybody is in a dispatch.
    Complete,
    Behind,
    Parked,
    /// The campaign does not freeze any more.
    Stopped,
}

#[derive(sqlx::FromRow)]
struct LastPage {
    page: i32,
    last_subscriber: SubscriberId,
}

impl Freezer {
    /// `page_size`: at most [`domain::dispatch::RECIPIENTS_MAX`].
    pub fn new(commands: Commands, page_size: usize) -> Self {
        Self { commands, page_size: page_size.clamp(1, domain::dispatch::RECIPIENTS_MAX) }
    }

    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = match self.step(&stop).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(error = %describe(&error), "freezer: will try again");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Goes on with every campaign that freezes; returns how soon to look again.
    pub async fn step(&self, stop: &CancellationToken) -> Result<Duration, CommandError> {
        let freezing: Vec<CampaignId> = sqlx::query_scalar(
            "SELECT campaign_id FROM campaign_gates WHERE status = 'freezing' ORDER BY campaign_id",
        )
        .fetch_all(&self.commands.store.pool)
        .await?;
        for campaign in &freezing {
            if let Err(error) = self.freeze(*campaign, stop).await {
                tracing::warn!(campaign.id = %campaign, error = %describe(&error), "freezing will go on");
            }
        }
        Ok(if freezing.is_empty() { IDLE_POLL } else { BEHIND_POLL })
    }

    async fn freeze(&self, id: CampaignId, stop: &CancellationToken) -> Result<(), CommandError> {
        let pool = &self.commands.store.pool;
        let campaign = load::<Campaign>(pool, id).await?.aggregate;
        let (Phase::Freezing { .. }, Some(details)) = (&campaign.phase, &campaign.details) else {
            return Ok(());
        };
        // The sequencer has not come to it yet.
        let Some(position) = self.position_of(id, &campaign).await? else { return Ok(()) };
        let group = load::<Group>(pool, details.group_id).await?.aggregate;
        while group.exists() && !stop.is_cancelled() {
            match self.page(id, details.group_id, position).await? {
                Page::Written => {}
                Page::Complete => break,
                Page::Behind | Page::Stopped => return Ok(()),
                Page::Parked => {
                    self.commands.halt_freezing(id, "projection_parked").await?;
                    return Ok(());
                }
            }
        }
        if stop.is_cancelled() {
            return Ok(());
        }
        let manifest = self.manifest(id, &campaign, position).await?;
        tracing::info!(campaign.id = %id, recipients = manifest.recipients, "audience frozen");
        match self.commands.freeze_campaign(id, manifest).await {
            // Cancelled, or frozen by another scheduler.
            Ok(_) | Err(CommandError::Forbidden { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn position_of(&self, id: CampaignId, campaign: &Campaign) -> Result<Option<i64>, CommandError> {
        Ok(sqlx::query_scalar(
            "SELECT l.position FROM events e JOIN log l USING (append_id)
             WHERE e.aggregate_type = 'campaign' AND e.aggregate_id = $1 AND e.sequence = $2",
        )
        .bind(id.to_string())
        .bind(campaign.freezing_sequence.cast_signed())
        .fetch_optional(&self.commands.store.pool)
        .await?)
    }

    async fn page(&self, id: CampaignId, group: Uuid, position: i64) -> Result<Page, CommandError> {
        let mut tx = self.commands.store.pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(campaign_lock(id)).execute(&mut *tx).await?;
        let status: Option<String> =
            sqlx::query_scalar("SELECT status FROM campaign_gates WHERE campaign_id = $1")
                .bind(id)
                .fetch_optional(&mut *tx)
                .await?;
        if status.as_deref() != Some("freezing") {
            return Ok(Page::Stopped);
        }
        let last: Option<LastPage> = sqlx::query_as(
            "SELECT page, last_subscriber FROM dispatch_work WHERE campaign_id = $1 ORDER BY page DESC LIMIT 1",
        )
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
        let after = last.as_ref().map(|last| last.last_subscriber);
        let limit = self.page_size as i64;
        let members = match group_members::page_as_of(&mut tx, group, position, after, limit).await? {
            AsOf::Behind => return Ok(Page::Behind),
            AsOf::Parked => return Ok(Page::Parked),
            AsOf::Ready(members) if members.is_empty() => return Ok(Page::Complete),
            AsOf::Ready(members) => members,
        };
        let page = last.map_or(0, |last| last.page.cast_unsigned() + 1);
        self.plan(&mut tx, id, page, members).await?;
        tx.commit().await?;
        self.commands.store.appended.notify_one();
        Ok(Page::Written)
    }

    async fn plan(
        &self,
        tx: &mut PgConnection,
        campaign_id: CampaignId,
        page: u32,
        recipients: Vec<SubscriberId>,
    ) -> Result<(), CommandError> {
        let id = ids::dispatch_id(campaign_id, page);
        let plan = DispatchCommand::Plan { campaign_id, page, recipients };
        let decided = Decided::<Dispatch>::decide(id, Loaded::default(), plan).await;
        let decided = decided.map_err(|error| StoreError::Format(error.to_string()))?;
        let planned = decided.into_append(&SubjectKeys::new())?;
        append(tx, vec![planned], &Context::system("scheduler").metadata()).await?;
        Ok(())
    }

    /// Read back from what was recorded, so that it says what will be sent.
    async fn manifest(
        &self,
        id: CampaignId,
        campaign: &Campaign,
        position: i64,
    ) -> Result<Manifest, CommandError> {
        let pool = &self.commands.store.pool;
        let mut manifest = Manifest {
            position,
            template_version: campaign.template_version,
            recipients: 0,
            dispatches: 0,
            digest: String::new(),
        };
        let mut digest = digest::Context::new(&digest::SHA256);
        loop {
            let pages: Vec<Uuid> = sqlx::query_scalar(
                "SELECT dispatch_id FROM dispatch_work WHERE campaign_id = $1 AND page >= $2 ORDER BY page LIMIT $3",
            )
            .bind(id)
            .bind(manifest.dispatches.cast_signed())
            .bind(DIGEST_BATCH)
            .fetch_all(pool)
            .await?;
            if pages.is_empty() {
                break;
            }
            let dispatches = load_many::<Dispatch>(pool, &pages).await?;
            for dispatch in pages.iter().filter_map(|page| dispatches.get(page)) {
                for recipient in &dispatch.aggregate.recipients {
                    digest.update(recipient.subscriber.as_bytes());
                    manifest.recipients += 1;
                }
                manifest.dispatches += 1;
            }
        }
        manifest.digest = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(manifest)
    }
}
