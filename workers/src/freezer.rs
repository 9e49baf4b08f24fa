//! Freezes audiences: pages the members of a group, as they were at the position of the campaign's own
//! `CampaignFreezing` event, into dispatches.
//!
//! Campaigns that freeze take turns, a page each, so that a large audience keeps no small one waiting. Each page is a
//! short transaction of its own. Whoever does a page again meets its dispatch's primary key, and the next page begins
//! behind the last one recorded: so a crash or a second scheduler changes nothing. A campaign whose turns end five freezers in
//! a row is frozen no more until somebody resumes it.

use crate::metrics;
use crate::rests::Rests;
use crate::sender::{WORKER_DIED, describe};
use aws_lc_rs::digest;
use commands::send::DEATHS_MAX;
use commands::{CommandError, Commands, Context, Work};
use domain::campaign::{Campaign, Manifest, Phase};
use domain::dispatch::{Dispatch, DispatchCommand};
use domain::group::Group;
use domain::{CampaignId, GroupId, SubscriberId};
use eventstore::news::Topic;
use eventstore::{
    Decided, Loaded, StoreError, append, campaign_lock, ids, load, load_many, sealing::SubjectKeys,
};
use projections::group_members::{self, AsOf};
use sqlx::PgConnection;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// While the members' read model is behind the campaign's position.
const BEHIND_POLL: Duration = Duration::from_millis(20);
/// Between two looks that find nothing, while other processes are not heard; and never sooner.
const IDLE_POLL: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(1);
/// Dispatches whose recipients are digested in one turn.
const DIGEST_BATCH: i64 = 50;

pub struct Freezer {
    commands: Commands,
    /// Recipients of one dispatch.
    page_size: usize,
    /// How far each campaign got. What is lost of it is read again.
    under_way: HashMap<CampaignId, Freezing>,
    /// Campaigns whose last turn failed.
    rests: Rests<CampaignId>,
}

/// A campaign between its `CampaignFreezing` and its `CampaignFrozen`.
struct Freezing {
    group: GroupId,
    /// Everybody is in a dispatch.
    is_planned: bool,
    manifest: Manifest,
    digest: digest::Context,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Moved,
    /// The sequencer or a read model has to do something first, or another scheduler was faster.
    Waits,
}

enum Page {
    Written,
    /// Everybody is in a dispatch.
    Complete,
    Behind,
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
        let page_size = page_size.clamp(1, domain::dispatch::RECIPIENTS_MAX);
        Self { commands, page_size, under_way: HashMap::new(), rests: Rests::default() }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        let mut moved = self.commands.store.news.wait_for(Topic::Moved);
        while !stop.is_cancelled() {
            let pause = match self.step(&stop).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(error = %describe(&error), "freezer: will try again");
                    RETRY
                }
            };
            tokio::select! {
                () = moved.wait(pause, if pause == IDLE_POLL { moved.longest(pause) } else { pause }) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Gives each campaign that freezes one turn; returns how soon the next ones are.
    pub async fn step(&mut self, stop: &CancellationToken) -> Result<Duration, CommandError> {
        let freezing = self.freezing().await?;
        let ids: HashSet<CampaignId> = freezing.iter().map(|(id, _)| *id).collect();
        self.under_way.retain(|id, _| ids.contains(id));
        self.rests.retain(|id| ids.contains(id));
        let free = || freezing.iter().filter(|(_, is_free)| *is_free);
        let mut pause = if free().next().is_none() { IDLE_POLL } else { BEHIND_POLL };
        for &(id, _) in free() {
            if stop.is_cancelled() {
                break;
            }
            if self.rests.is_resting(&id, Instant::now()) {
                continue;
            }
            match self.attempt(id).await {
                Ok(turn) => {
                    self.rests.end(&id);
                    if turn == Turn::Moved {
                        pause = Duration::ZERO;
                    }
                }
                Err(error) => {
                    tracing::warn!(campaign.id = %id, error = %describe(&error), "freezing will go on");
                    // The digest may have missed what it was about to read.
                    self.under_way.remove(&id);
                    self.rests.begin(id, Instant::now());
                }
            }
        }
        Ok(pause)
    }

    /// And whether nobody is at them, nor were they given up. What somebody may have died with comes last.
    async fn freezing(&self) -> Result<Vec<(CampaignId, bool)>, CommandError> {
        Ok(sqlx::query_as(
            "SELECT c.campaign_id, a.leased_until IS NULL OR a.leased_until < clock_timestamp()
             FROM campaign_gates c LEFT JOIN attempts a ON a.work = $1 AND a.id = c.campaign_id
             WHERE c.status = 'freezing' ORDER BY a.id IS NOT NULL, c.campaign_id",
        )
        .bind(Work::Freeze.word())
        .fetch_all(&self.commands.store.pool)
        .await?)
    }

    /// A turn, unless too many died with one before.
    async fn attempt(&mut self, id: CampaignId) -> Result<Turn, CommandError> {
        match self.commands.begin_attempt(Work::Freeze, id).await? {
            None => Ok(Turn::Waits),
            Some(deaths) if deaths >= DEATHS_MAX => self.give_up(id).await,
            Some(_) => {
                let turn = self.turn(id).await;
                self.commands.end_attempt(Work::Freeze, id).await?;
                turn
            }
        }
    }

    async fn give_up(&self, id: CampaignId) -> Result<Turn, CommandError> {
        tracing::error!(campaign.id = %id, "{DEATHS_MAX} workers in a row died with a freeze: it is given up");
        match self.commands.halt_freezing(id, WORKER_DIED).await {
            Ok(_) => {
                metrics::given_up(Work::Freeze.word());
                self.commands.end_attempts(Work::Freeze, id).await?;
            }
            // Cancelled meanwhile.
            Err(CommandError::Forbidden { .. }) => self.commands.end_attempt(Work::Freeze, id).await?,
            Err(error) => return Err(error),
        }
        Ok(Turn::Moved)
    }

    async fn turn(&mut self, id: CampaignId) -> Result<Turn, CommandError> {
        let mut freezing = match self.under_way.remove(&id) {
            Some(freezing) => freezing,
            None => match self.begin(id).await? {
                Some(freezing) => freezing,
                None => return Ok(Turn::Waits),
            },
        };
        let turn = match freezing.is_planned {
            true => self.digest(id, &mut freezing).await?,
            false => self.plan_next(id, &mut freezing).await?,
        };
        self.under_way.insert(id, freezing);
        Ok(turn)
    }

    /// None where the sequencer has not come to it yet.
    async fn begin(&self, id: CampaignId) -> Result<Option<Freezing>, CommandError> {
        let pool = &self.commands.store.pool;
        let campaign = load::<Campaign>(pool, id).await?.aggregate;
        let (Phase::Freezing, Some(details)) = (&campaign.phase, &campaign.details) else { return Ok(None) };
        let Some(position) = self.position_of(id, &campaign).await? else { return Ok(None) };
        let group = load::<Group>(pool, details.group_id).await?.aggregate;
        let manifest = Manifest {
            position,
            template_version: campaign.template_version,
            recipients: 0,
            dispatches: 0,
            digest: String::new(),
        };
        let digest = digest::Context::new(&digest::SHA256);
        Ok(Some(Freezing { group: details.group_id, is_planned: !group.exists(), manifest, digest }))
    }

    async fn plan_next(&self, id: CampaignId, freezing: &mut Freezing) -> Result<Turn, CommandError> {
        Ok(match self.page(id, freezing.group, freezing.manifest.position).await? {
            Page::Written => Turn::Moved,
            Page::Behind | Page::Stopped => Turn::Waits,
            Page::Complete => {
                freezing.is_planned = true;
                Turn::Moved
            }
        })
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
            AsOf::Ready(members) if members.is_empty() => return Ok(Page::Complete),
            AsOf::Ready(members) => members,
        };
        let page = last.map_or(0, |last| last.page.cast_unsigned() + 1);
        self.plan(&mut tx, id, page, members).await?;
        tx.commit().await?;
        self.commands.store.news.appended();
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

    /// Reads back what was recorded, so that the manifest says what will be sent, and after the last dispatch freezes the
    /// campaign.
    async fn digest(&self, id: CampaignId, freezing: &mut Freezing) -> Result<Turn, CommandError> {
        let pool = &self.commands.store.pool;
        let Freezing { manifest, digest, .. } = freezing;
        let pages: Vec<Uuid> = sqlx::query_scalar(
            "SELECT dispatch_id FROM dispatch_work WHERE campaign_id = $1 AND page >= $2 ORDER BY page LIMIT $3",
        )
        .bind(id)
        .bind(manifest.dispatches.cast_signed())
        .bind(DIGEST_BATCH)
        .fetch_all(pool)
        .await?;
        let dispatches = load_many::<Dispatch>(pool, &pages).await?;
        for dispatch in pages.iter().filter_map(|page| dispatches.get(page)) {
            for recipient in &dispatch.aggregate.recipients {
                digest.update(recipient.subscriber.as_bytes());
                manifest.recipients += 1;
            }
            manifest.dispatches += 1;
        }
        if pages.len() as i64 == DIGEST_BATCH {
            return Ok(Turn::Moved);
        }
        let digest = digest.clone().finish();
        manifest.digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        match self.commands.freeze_campaign(id, manifest.clone()).await {
            Ok(_) => tracing::info!(campaign.id = %id, recipients = manifest.recipients, "audience frozen"),
            // Cancelled, or frozen by another scheduler.
            Err(CommandError::Forbidden { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(Turn::Moved)
    }
}
