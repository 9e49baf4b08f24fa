//! Campaigns that were sent, without a sender: their streams as a sender would leave them.

use crate::support::TestApp;
use chrono::TimeDelta;
use domain::campaign::{Campaign, CampaignCommand, Manifest};
use domain::dispatch::{Authorization, Dispatch, DispatchCommand, Settlement};
use domain::{CampaignId, SubscriberId};
use eventstore::{Done, Request, clock, ids};

impl TestApp {
    pub async fn command_campaign(&self, id: CampaignId, command: CampaignCommand) -> Done {
        self.commands.store.execute::<Campaign>(id, command, Request::default()).await.unwrap()
    }

    /// Freezes a scheduled or a draft campaign to these readers, in one dispatch.
    pub async fn freeze(&self, id: CampaignId, mut readers: Vec<SubscriberId>) {
        readers.sort();
        let now = clock::now();
        let at = now - TimeDelta::seconds(1);
        self.command_campaign(id, CampaignCommand::Schedule { at }).await;
        self.command_campaign(id, CampaignCommand::BeginFreezing { template_version: 1, now }).await;
        let recipients = readers.len() as u64;
        let dispatches = u32::from(!readers.is_empty());
        if !readers.is_empty() {
            let plan = DispatchCommand::Plan { campaign_id: id, page: 0, recipients: readers };
            self.command_dispatch(id, plan).await;
        }
        let digest = "00".repeat(32);
        let manifest = Manifest { position: 1, template_version: 1, recipients, dispatches, digest };
        self.command_campaign(id, CampaignCommand::Freeze(manifest)).await;
    }

    async fn command_dispatch(&self, campaign: CampaignId, command: DispatchCommand) -> Done {
        let dispatch = ids::dispatch_id(campaign, 0);
        self.commands.store.execute::<Dispatch>(dispatch, command, Request::default()).await.unwrap()
    }

    /// Hands over to the first `accepted` recipients, by the consent that they were added with; returns what the last
    /// command answered.
    pub async fn accept(&self, campaign: CampaignId, accepted: u16) -> Done {
        let permit_id = ids::new_id();
        let allowed = (0..accepted).map(|index| (index, 1)).collect();
        let authorization = Authorization { permit_id, allowed, ..Authorization::default() };
        self.command_dispatch(campaign, DispatchCommand::Authorize(authorization)).await;
        let settlement = Settlement { permit_id, accepted: (0..accepted).collect(), ..Settlement::default() };
        let on_unknown = Default::default();
        self.command_dispatch(campaign, DispatchCommand::Settle { settlement, on_unknown }).await
    }
}
