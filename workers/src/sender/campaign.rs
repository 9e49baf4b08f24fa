//! What all mails of a campaign share, kept from chunk to chunk.

use commands::{CommandError, Commands};
use domain::CampaignId;
use domain::campaign::{Campaign, Details};
use domain::group::Group;
use domain::template::{Body, Content, Template};
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
}

/// A campaign that is past its freezing does not change, so a context is made once.
#[derive(Default)]
pub struct Campaigns(Mutex<HashMap<CampaignId, Arc<CampaignContext>>>);

impl Campaigns {
    pub async fn get(
        &self,
        commands: &Commands,
        media_url: &str,
        id: CampaignId,
    ) -> Result<Arc<CampaignContext>, CommandError> {
        if let Some(context) = self.lock().get(&id) {
            return Ok(context.clone());
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
    let Some(details) = campaign.details else { return Err(CommandError::NotFound("campaign")) };
    let template = load_at::<Template>(pool, details.template_id, campaign.template_version).await?.aggregate;
    let group_name = load::<Group>(pool, details.group_id).await?.aggregate.name;
    let template = compile(&prepare(commands, media_url, template.content).await?);
    if let Some(error) = template.refused() {
        tracing::error!(campaign.id = %id, %error, "the campaign's template can't be rendered: all its recipients are rejected");
    }
    Ok(CampaignContext { details, group_name, template })
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
