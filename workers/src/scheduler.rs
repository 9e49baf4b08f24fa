//! Begins to freeze campaigns at their due second, on any number of replicas, once.

use crate::rests::{Rests, locked};
use crate::sender::describe;
use commands::{CommandError, Commands};
use domain::CampaignId;
use eventstore::clock;
use eventstore::news::{SAFETY_POLL, Topic};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// While other processes are not heard, schedules that they made are noticed after this time.
const POLL: Duration = Duration::from_millis(500);
/// Whatever is new, it looks no more often.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
const DUE_AT_ONCE: i64 = 100;

pub struct Scheduler {
    commands: Commands,
    /// Campaigns that could not be begun: however many there are, they keep no other from its second.
    rests: Mutex<Rests<CampaignId>>,
}

impl Scheduler {
    pub fn new(commands: Commands) -> Self {
        Self { commands, rests: Mutex::default() }
    }

    pub async fn run(self, stop: CancellationToken) {
        let mut moved = self.commands.store.news.wait_for(Topic::Moved);
        while !stop.is_cancelled() {
            let pause = match self.step().await {
                Ok(until_due) => until_due.min(moved.longest(POLL)),
                Err(error) => {
                    tracing::warn!(error = %describe(&error), "scheduler: will try again");
                    POLL
                }
            };
            tokio::select! {
                () = moved.wait(BETWEEN_LOOKS, pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Begins what is due; returns how long nothing will be. The freezing itself is the freezer's: a large audience
    /// keeps no other campaign from its second.
    pub async fn step(&self) -> Result<Duration, CommandError> {
        let resting = locked(&self.rests).resting(Instant::now());
        for campaign in self.commands.due_campaigns(DUE_AT_ONCE, &resting).await? {
            match self.commands.begin_freezing(campaign).await {
                Ok(done) => {
                    locked(&self.rests).end(&campaign);
                    if done.appended {
                        tracing::info!(campaign.id = %campaign, "campaign is due");
                    }
                }
                // One campaign's trouble must not hold up the others.
                Err(error) => {
                    tracing::warn!(campaign.id = %campaign, error = %describe(&error), "will be begun again");
                    locked(&self.rests).begin(campaign, Instant::now());
                }
            }
        }
        let resting = locked(&self.rests).resting(Instant::now());
        let next = self.commands.next_due(&resting).await?;
        Ok(next.map_or(SAFETY_POLL, |due| (due - clock::now()).to_std().unwrap_or_default()))
    }
}
