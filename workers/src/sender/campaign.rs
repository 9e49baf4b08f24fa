//! What all mails of a campaign share, kept from chunk to chunk.

use commands::send::Claim;
use commands::{CommandError, Commands};
use domain::campaign::{Campaign, Details};
use domain::group::Group;
use domain::template::{Body, Content, Template};
use domain::{CampaignId, Sequence};
use eventstore::{load, load_at};
use mail::{Compiled, MediaUrls, TemplateSource};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Campaigns under way that are kept compiled.
const KEPT_MAX: usize = 16;

pub struct CampaignContext {
    pub details: Details,
    pub group_name: String,
    pub template: Compiled,
    /// Of the template.
    pub template_version: Sequence,
    /// The same, where it is not the one that the campaign was frozen with.
    pub taken_version: Option<Sequence>,
}

/// Of a campaign that is past its freezing only the template's version changes, so a context is made once for each.
#[derive(Default)]
pub struct Campaigns(Mutex<HashMap<CampaignId, Arc<CampaignContext>>>);

impl Campaigns {
    pub async fn get(
        &self,
        commands: &Commands,
        media_url: &str,
        claim: &Claim,
    ) -> Result<Arc<CampaignContext>, CommandError> {
        let id = claim.campaign_id;
        let is_sent = |kept: &Arc<CampaignContext>| {
            claim.template_version.is_none_or(|v| v == kept.template_version.cast_signed())
        };
        if let Some(context) = self.lock().get(&id).cloned().filter(is_sent) {
            return Ok(context);
        }
        let context = Arc::new(make(commands, media_url, id).await?);
        let mut kept = self.lock();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(id, context.clone());
        Ok(context)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<CampaignId, Arc<CampaignContext>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn make(commands: &Commands, media_url: &str, id: CampaignId) -> Result<CampaignContext, CommandError> {
    let pool = &commands.store.pool;
    let campaign = load::<Campaign>(pool, id).await?.aggregate;
    let (template_version, taken_version) = (campaign.template_version, campaign.taken_version());
    let Some(details) = campaign.details else { return Err(CommandError::NotFound("campaign")) };
    let template = load_at::<Template>(pool, details.template_id, template_version).await?.aggregate;
    let group_name = load::<Group>(pool, details.group_id).await?.aggregate.name;
    let template = compile(&prepare(commands, media_url, template.content).await?);
    if let Some(error) = template.refused() {
        tracing::error!(campaign.id = %id, %error, "the campaign's template can't be rendered: all its recipients are rejected");
    }
    Ok(CampaignContext { details, group_name, template, template_version, taken_version })
}

/// A template that was checked when it was saved, with what it takes to compile it.
pub struct Saved {
    source: TemplateSource,
    media: MediaUrls,
}

/// A medium that is gone leaves its URL: a mail without an image is better than none.
pub async fn prepare(commands: &Commands, media_url: &str, content: Content) -> Result<Saved, CommandError> {
    let source = TemplateSource {
        subject: content.subject,
        preheader: content.preheader,
        body: match content.body {
            Body::Html(html) => mail::Body::Html(html),
            Body::Mjml(mjml) => mail::Body::Mjml(mjml),
        },
        text: content.text,
        attributes: content.attributes,
    };
    let media = commands.media(&source.media()).await?.into_iter();
    let media = media.filter_map(|(id, medium)| Some((id, format!("{media_url}/{}", medium.upload?.key))));
    Ok(Saved { media: media.collect(), source })
}

/// Takes milliseconds of computing.
pub fn compile(saved: &Saved) -> Compiled {
    Compiled::compile_saved(&saved.source, &saved.media)
}
