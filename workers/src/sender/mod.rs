//! Sends: claims a dispatch in Postgres, makes its mails, authorizes a chunk, calls the mailer within the window, and
//! settles what came of it. The feed only wakes it, so pauses, rates and slow providers never stall a projection.

mod account_mails;
mod campaign;
mod chunk;
mod compose;
mod consent_mails;
mod erasures;
mod idle;
mod left_behind;
mod pass;
mod poison;
mod settling;
mod single;
mod test_mails;
mod transactional;

pub use account_mails::AccountPages;

use crate::dkim::Dkim;
use crate::mailers::Mailer;
use crate::rests::{Rests, locked};
use campaign::{CampaignContext, Campaigns};
use commands::send::{Claim, OfMailers};
use commands::{CommandError, Commands, Context};
use domain::CampaignId;
use domain::campaign::Campaign;
use domain::dispatch::{Dispatch, Index};
use eventstore::{Loaded, load};
use futures::FutureExt;
use idle::{Idle, Resting};
use mail::{Address, LinkKeys, Links};
use pass::{Chunk, Pass};
use poison::Company;
pub(crate) use poison::WORKER_DIED;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const ERROR_PAUSE: Duration = Duration::from_secs(1);
const DEFERRED_PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

pub type Mailers = BTreeMap<String, Arc<dyn Mailer>>;

pub struct SenderSettings {
    /// Recipients of one authorization, at the most.
    pub chunk_max: usize,
    /// Dispatches that this process works on at once.
    pub dispatches_at_once: usize,
    /// A mailer that is down for this long pauses the campaign.
    pub unavailable_after: Duration,
    /// The first pause after a deferral; doubled for each further attempt.
    pub deferred_pause: Duration,
    pub default_mailer: String,
    pub default_from: Address,
    pub postal_address: Option<String>,
    pub account_pages: AccountPages,
    /// What URLs of media begin with, without a slash at its end.
    pub media_url: String,
    /// The host of Message-ID and List-Id.
    pub mail_host: String,
    pub dkim: Dkim,
}

#[derive(Clone)]
pub struct Sender {
    commands: Commands,
    mailers: Mailers,
    settings: Arc<SenderSettings>,
    campaigns: Arc<Campaigns>,
    keys: Arc<LinkKeys>,
    links: Arc<Links>,
    /// Whose dispatch was claimed last.
    last_claimed: Arc<Mutex<CampaignId>>,
    /// Campaigns whose mailer is down: the others go on without them.
    down: Arc<Mutex<Rests<CampaignId>>>,
    /// Mailers that are down, for mails outside campaigns.
    mailers_down: Arc<Mutex<Rests<String>>>,
    company: Arc<Company>,
    /// Campaigns' lanes call each other by it: where there is one dispatch, there are others.
    found: Arc<Notify>,
    resting: Arc<Resting>,
}

/// What a loop works on. Mails outside campaigns have one of their own for each mailer: none waits behind a campaign, nor
/// behind a mailer that is down.
#[derive(Clone)]
enum Lane {
    Campaigns,
    Transactional(String),
    /// Requests for links to choose a password, of which users' become mails.
    Resets,
    /// Notes of opt-outs, which become mails.
    OptOuts,
    Erasures,
}

/// When a dispatch may be claimed again.
type Rest = Duration;

impl Sender {
    pub fn new(
        commands: Commands,
        mailers: Mailers,
        keys: Arc<LinkKeys>,
        links: Links,
        settings: SenderSettings,
    ) -> Self {
        Self {
            commands,
            mailers,
            settings: Arc::new(settings),
            campaigns: Arc::default(),
            keys,
            links: Arc::new(links),
            last_claimed: Arc::default(),
            down: Arc::default(),
            mailers_down: Arc::default(),
            company: Arc::default(),
            found: Arc::default(),
            resting: Arc::default(),
        }
    }

    /// Works on dispatches until `stop`; a chunk that was authorized is settled first.
    pub async fn run(self, stop: CancellationToken) {
        let mut lanes = tokio::task::JoinSet::new();
        let mut start = |lane: Lane, idle: Idle| {
            let (sender, stop) = (self.clone(), stop.clone());
            lanes.spawn(async move { sender.run_lane(lane, idle, &stop).await });
        };
        let together = self.idle_together();
        for _ in 0..self.settings.dispatches_at_once {
            start(Lane::Campaigns, together.clone());
        }
        let transactional = self.mailers.keys().cloned().map(Lane::Transactional);
        for lane in transactional.chain([Lane::Resets, Lane::OptOuts, Lane::Erasures]) {
            start(lane, self.idle());
        }
        while let Some(ended) = lanes.join_next().await {
            // Without the error's text, which quotes a panic's message.
            if ended.is_err() {
                tracing::error!("a sender lane died; its dispatches are taken over when their leases end");
            }
        }
    }

    async fn run_lane(&self, lane: Lane, idle: Idle, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let step = async {
                match &lane {
                    Lane::Campaigns => self.step(stop).await,
                    Lane::Transactional(mailer) => self.step_transactional(mailer).await,
                    Lane::Resets => self.commands.take_reset_requests().await.map(|taken| taken > 0),
                    Lane::OptOuts => self.commands.queue_opt_out_mails().await,
                    Lane::Erasures => self.step_erasures().await,
                }
            };
            let pause = match AssertUnwindSafe(step).catch_unwind().await {
                Ok(Ok(true)) => continue,
                Ok(Ok(false)) => {
                    tokio::select! {
                        () = idle.wait() => {}
                        () = stop.cancelled() => {}
                    }
                    continue;
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = %describe(&error), "sender: will try again");
                    ERROR_PAUSE
                }
                Err(_) => {
                    tracing::error!(
                        "a sender's step panicked; its dispatch is taken over when its lease ends"
                    );
                    ERROR_PAUSE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Works on one dispatch, if any waits.
    pub async fn step(&self, stop: &CancellationToken) -> Result<bool, CommandError> {
        let company = self.company.join().await;
        let last_claimed = *locked(&self.last_claimed);
        let resting = locked(&self.down).resting(Instant::now());
        let Some(claim) = self.commands.claim_dispatch(self.hold_max(), last_claimed, &resting).await? else {
            self.complete_finished().await?;
            return Ok(false);
        };
        *locked(&self.last_claimed) = claim.campaign_id;
        self.found.notify_one();
        locked(&self.down).try_again(&claim.campaign_id, Instant::now());
        match claim.lease.is_poison() {
            true => self.give_up_dispatch(&claim).await?,
            false => self.attempt(company, claim.lease, Box::pin(self.work_on(&claim, stop))).await?,
        }
        self.complete_finished().await?;
        Ok(true)
    }

    async fn complete_finished(&self) -> Result<(), CommandError> {
        for campaign in self.commands.finished_campaigns().await? {
            match self.commands.complete_campaign(campaign).await {
                Ok(done) if done.appended => tracing::info!(campaign.id = %campaign, "campaign completed"),
                // Paused, cancelled or completed by another sender meanwhile.
                Ok(_) | Err(CommandError::Forbidden { .. }) => {}
                Err(error) => {
                    tracing::warn!(campaign.id = %campaign, error = %describe(&error), "will be completed again");
                }
            }
        }
        Ok(())
    }

    /// Nobody may act in the place of a worker before W, the margin and the longest call are over.
    fn hold(&self, mailer: &dyn Mailer) -> Duration {
        self.commands.timing.window + self.commands.timing.margin + mailer.call_timeout()
    }

    fn hold_max(&self) -> Duration {
        self.mailers.values().map(|mailer| self.hold(mailer.as_ref())).max().unwrap_or(ERROR_PAUSE)
    }

    async fn work_on(&self, claim: &Claim, stop: &CancellationToken) -> Result<Rest, CommandError> {
        let pool = &self.commands.store.pool;
        if claim.status != "sending" {
            return self.close(claim).await;
        }
        let context = self.campaigns.get(&self.commands, &self.settings.media_url, claim).await?;
        match self.clear_up(claim, context.details.on_unknown).await? {
            Some(pause) => Ok(pause),
            None => self.send(claim, &context, load(pool, claim.lease.dispatch_id).await?, stop).await,
        }
    }

    /// What a campaign that sends no more leaves to be done. Nothing is made for it: its template may be what stopped it.
    async fn close(&self, claim: &Claim) -> Result<Rest, CommandError> {
        let campaign = load::<Campaign>(&self.commands.store.pool, claim.campaign_id).await?.aggregate;
        let on_unknown = campaign.details.map(|details| details.on_unknown).unwrap_or_default();
        match self.clear_up(claim, on_unknown).await? {
            Some(pause) => Ok(pause),
            None if claim.status == "cancelled" => {
                self.commands.cancel_dispatch(claim).await.map(|()| Duration::ZERO)
            }
            None => Ok(Duration::ZERO),
        }
    }

    async fn send(
        &self,
        claim: &Claim,
        context: &Arc<CampaignContext>,
        dispatch: Loaded<Dispatch>,
        stop: &CancellationToken,
    ) -> Result<Rest, CommandError> {
        let name = context.details.mailer.as_ref().unwrap_or(&self.settings.default_mailer);
        let Some(mailer) = self.mailers.get(name) else {
            return self.unavailable(claim, "not configured here").await;
        };
        let mut pass = Pass::new(self, claim, context, mailer.as_ref(), dispatch);
        while !stop.is_cancelled() {
            match pass.chunk().await? {
                Chunk::Settled => {
                    self.is_up(claim.campaign_id);
                    if claim.lease.is_suspect() || self.company.is_to_leave() {
                        break;
                    }
                }
                Chunk::Down(reason) => return self.unavailable(claim, &reason).await,
                Chunk::Lost => return Ok(Duration::ZERO),
                Chunk::None => break,
            }
        }
        Ok(self.pause_after(&pass.dispatch.aggregate, &pass.deferred))
    }

    fn pause_after(&self, dispatch: &Dispatch, deferred: &BTreeSet<Index>) -> Rest {
        let tries = deferred.iter().filter_map(|index| dispatch.recipients.get(usize::from(*index)));
        tries.map(|recipient| self.pause_before_next_try(recipient.attempts)).max().unwrap_or_default()
    }

    /// Doubled for each further attempt.
    fn pause_before_next_try(&self, attempts: u16) -> Rest {
        let doubled = 2_u32.saturating_pow(u32::from(attempts.saturating_sub(1)));
        self.settings.deferred_pause.saturating_mul(doubled).min(DEFERRED_PAUSE_MAX)
    }

    /// A mailer that is down: the campaign rests, and after a while it is paused.
    async fn unavailable(&self, claim: &Claim, reason: &str) -> Result<Rest, CommandError> {
        let now = Instant::now();
        let since = locked(&self.down).begin(claim.campaign_id, now);
        if since == now {
            tracing::warn!(campaign.id = %claim.campaign_id, reason, "mailer unavailable: will try again");
        }
        if since.elapsed() >= self.settings.unavailable_after {
            self.is_up(claim.campaign_id);
            let cause = Some("mailer_unavailable".to_owned());
            match self.commands.pause_campaign(&Context::system("sender"), claim.campaign_id, cause).await {
                Ok(_) => {
                    tracing::warn!(campaign.id = %claim.campaign_id, reason, "campaign paused: mailer unavailable");
                }
                Err(CommandError::Forbidden { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ERROR_PAUSE.min(self.settings.unavailable_after))
    }

    fn is_up(&self, campaign: CampaignId) {
        locked(&self.down).end(&campaign);
    }

    /// Which mails outside campaigns the lane of this mailer takes. The default one's takes those of no lane as well.
    fn mails_of(&self, mailer: &str) -> OfMailers {
        match mailer == self.settings.default_mailer {
            false => OfMailers::One(mailer.to_owned()),
            true => OfMailers::AllBut(self.mailers.keys().filter(|name| *name != mailer).cloned().collect()),
        }
    }
}

/// An error with its cause, for the log.
pub(crate) fn describe(error: &CommandError) -> String {
    error.described()
}
