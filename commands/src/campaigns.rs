use crate::attempts::Work;
use crate::{CommandError, Commands, Context, permits};
use chrono::{DateTime, TimeDelta, Utc};
use domain::campaign::{Campaign, CampaignCommand, CampaignError, Details, Manifest, OnUnknown};
use domain::template::{Content, Template};
use domain::{CampaignId, DispatchId, GroupId, Sequence, TemplateId};
use eventstore::{Done, ExecuteError, clock, ids, load, load_at};
use serde_json::{Value, json};

/// A time this far in the past is taken for now.
pub const SCHEDULE_PAST_MAX_SECONDS: i64 = 60;
/// And one this far ahead for a mistake.
const SCHEDULE_AHEAD_MAX_DAYS: i64 = 366 * 5;
const TRIES_MAX: u32 = 5;

#[derive(Debug, Clone)]
pub struct NewCampaign {
    pub name: Option<String>,
    pub template: TemplateId,
    pub group: GroupId,
    pub schedule_at: Option<DateTime<Utc>>,
    pub mailer: Option<String>,
    pub from: Option<String>,
    pub reply_to: Option<String>,
    pub on_unknown: OnUnknown,
}

/// What is absent stays.
#[derive(Debug, Clone, Default)]
pub struct CampaignPatch {
    pub name: Option<String>,
    pub template: Option<TemplateId>,
    pub group: Option<GroupId>,
    pub mailer: Option<String>,
    pub from: Option<String>,
    pub reply_to: Option<String>,
    pub on_unknown: Option<OnUnknown>,
}

impl From<CampaignError> for CommandError {
    fn from(error: CampaignError) -> Self {
        match error {
            CampaignError::Unknown => Self::NotFound("campaign"),
            CampaignError::Exists => Self::Conflict,
            CampaignError::Forbidden { status } => Self::forbidden(status, error.to_string()),
            CampaignError::OlderTemplate(_) => Self::invalid("version", error.to_string()),
        }
    }
}

fn check_time(at: DateTime<Utc>, field: &str) -> Result<(), CommandError> {
    let now = clock::now();
    if at < now - TimeDelta::seconds(SCHEDULE_PAST_MAX_SECONDS) {
        return Err(CommandError::invalid(field, "is in the past"));
    }
    match at > now + TimeDelta::days(SCHEDULE_AHEAD_MAX_DAYS) {
        true => Err(CommandError::invalid(field, "is more than five years ahead")),
        false => Ok(()),
    }
}

impl Commands {
    /// A draft; with a time, scheduled as well: both or neither.
    pub async fn create_campaign(&self, context: &Context, new: NewCampaign) -> Result<Done, CommandError> {
        if let Some(at) = new.schedule_at {
            check_time(at, "time")?;
        }
        let template = self.template(new.template).await;
        let template = template.map_err(|error| unknown_field(error, "template"))?;
        let details = Details {
            name: new.name.unwrap_or(template.content.name),
            template_id: new.template,
            group_id: new.group,
            // Now, so that another default later sends nothing elsewhere.
            mailer: Some(new.mailer.unwrap_or_else(|| self.mailers.default.clone())),
            from: new.from,
            reply_to: new.reply_to,
            on_unknown: new.on_unknown,
        };
        self.check_details(&details).await?;
        let id = ids::new_id();
        let status = if new.schedule_at.is_some() { "scheduled" } else { "draft" };
        let mut answer = json!({ "campaign_id": id, "status": status });
        if let Some(at) = new.schedule_at {
            answer["scheduled_for"] = json!(at);
        }
        let create = CampaignCommand::Create { details, schedule_at: new.schedule_at };
        Ok(self.store.execute::<Campaign>(id, create, context.request_for_new(answer)).await?)
    }

    async fn check_details(&self, details: &Details) -> Result<(), CommandError> {
        let template = self.template(details.template_id).await;
        template.map_err(|error| unknown_field(error, "template"))?;
        self.require_group(details.group_id).await.map_err(|error| unknown_field(error, "group"))?;
        if let Some(mailer) = details.mailer.as_ref().filter(|name| !self.mailers.all.contains(name)) {
            let reason = format!("{mailer:?} is not configured; these are: {}", self.mailers.all.join(", "));
            return Err(CommandError::invalid("mailer", reason));
        }
        Ok(())
    }

    pub async fn change_campaign(
        &self,
        context: &Context,
        id: CampaignId,
        patch: CampaignPatch,
    ) -> Result<Done, CommandError> {
        let mut tries = 1;
        loop {
            let loaded = load::<Campaign>(&self.store.pool, id).await?;
            let Some(details) = loaded.aggregate.details.clone().filter(|_| loaded.aggregate.exists()) else {
                return Err(CommandError::NotFound("campaign"));
            };
            let details = patched(details, patch.clone());
            self.check_details(&details).await?;
            let mut request = context.request(Value::Null);
            request.expected = context.if_match.or(Some(loaded.version));
            match self.store.execute::<Campaign>(id, CampaignCommand::Change(details), request).await {
                Err(ExecuteError::Stale) if context.if_match.is_none() && tries < TRIES_MAX => tries += 1,
                done => return Ok(done?),
            }
        }
    }

    pub async fn duplicate_campaign(&self, context: &Context, id: CampaignId) -> Result<Done, CommandError> {
        let original = load::<Campaign>(&self.store.pool, id).await?.aggregate;
        let Some(details) = original.details.clone().filter(|_| original.exists()) else {
            return Err(CommandError::NotFound("campaign"));
        };
        let copy = NewCampaign {
            name: Some(format!("{} (copy)", details.name)),
            template: details.template_id,
            group: details.group_id,
            schedule_at: None,
            mailer: details.mailer,
            from: details.from,
            reply_to: details.reply_to,
            on_unknown: details.on_unknown,
        };
        self.create_campaign(context, copy).await
    }

    /// None: now. Whether the audience is empty is decided when it is frozen.
    pub async fn schedule_campaign(
        &self,
        context: &Context,
        id: CampaignId,
        at: Option<DateTime<Utc>>,
    ) -> Result<Done, CommandError> {
        let at = at.unwrap_or_else(clock::now);
        check_time(at, "datetime")?;
        if let Some(details) = load::<Campaign>(&self.store.pool, id).await?.aggregate.details {
            self.check_details(&details).await?;
        }
        let request = context.request(json!({ "campaign_id": id, "scheduled_for": at }));
        self.command_campaign(id, CampaignCommand::Schedule { at }, request).await
    }

    pub async fn unschedule_campaign(&self, context: &Context, id: CampaignId) -> Result<Done, CommandError> {
        let request = context.request(json!({ "campaign_id": id, "status": "draft" }));
        self.command_campaign(id, CampaignCommand::Unschedule, request).await
    }

    /// When this returns, no send of the campaign starts any more.
    pub async fn pause_campaign(
        &self,
        context: &Context,
        id: CampaignId,
        reason: Option<String>,
    ) -> Result<Done, CommandError> {
        self.pause(context, id, CampaignCommand::Pause { reason, dispatch_id: None }).await
    }

    /// The same because of one of its dispatches, which is named.
    pub async fn pause_for_dispatch(
        &self,
        id: CampaignId,
        dispatch: DispatchId,
        reason: &str,
    ) -> Result<Done, CommandError> {
        let pause = CampaignCommand::Pause { reason: Some(reason.into()), dispatch_id: Some(dispatch) };
        self.pause(&Context::system("sender"), id, pause).await
    }

    async fn pause(
        &self,
        context: &Context,
        id: CampaignId,
        pause: CampaignCommand,
    ) -> Result<Done, CommandError> {
        let request = context.request(json!({ "campaign_id": id, "status": "paused" }));
        let done = self.command_campaign(id, pause, request).await?;
        self.wait_for_campaign(id).await?;
        Ok(done)
    }

    pub async fn resume_campaign(&self, context: &Context, id: CampaignId) -> Result<Done, CommandError> {
        // Before the command: what stops between the two has forgotten something, and resumed nothing.
        self.forget_deaths(id).await?;
        self.allow_attempts(Work::Freeze, id).await?;
        let status = match load::<Campaign>(&self.store.pool, id).await?.aggregate.manifest {
            None => "freezing",
            Some(_) => "sending",
        };
        let request = context.request(json!({ "campaign_id": id, "status": status }));
        self.command_campaign(id, CampaignCommand::Resume, request).await
    }

    /// The version of its template that a paused campaign may take, with what it says. `None`: the newest.
    pub async fn newer_template(
        &self,
        id: CampaignId,
        version: Option<Sequence>,
    ) -> Result<(Sequence, Content), CommandError> {
        let campaign = load::<Campaign>(&self.store.pool, id).await?.aggregate;
        let Some(details) = campaign.details.clone().filter(|_| campaign.exists()) else {
            return Err(CommandError::NotFound("campaign"));
        };
        campaign.may_take_template()?;
        let newest = self.template(details.template_id).await?.version;
        let version = version.unwrap_or(newest);
        if !(1..=newest).contains(&version) {
            let reason = format!("is not there: the template's newest version is {newest}");
            return Err(CommandError::invalid("version", reason));
        }
        let template = load_at::<Template>(&self.store.pool, details.template_id, version).await?;
        Ok((version, template.aggregate.content))
    }

    /// Lets a paused campaign send this version of its template to those who have no mail yet. It is checked by the caller, who can
    /// render it.
    pub async fn take_template(
        &self,
        context: &Context,
        id: CampaignId,
        template_version: Sequence,
    ) -> Result<Done, CommandError> {
        let answer = json!({ "campaign_id": id, "status": "paused", "template_version": template_version });
        self.command_campaign(id, CampaignCommand::TakeTemplate { template_version }, context.request(answer))
            .await
    }

    /// When this returns, no send of the campaign starts any more; the remaining recipients are closed soon after.
    pub async fn cancel_campaign(&self, context: &Context, id: CampaignId) -> Result<Done, CommandError> {
        let request = context.request(json!({ "campaign_id": id, "status": "cancelled" }));
        let done = self.command_campaign(id, CampaignCommand::Cancel, request).await?;
        self.wait_for_campaign(id).await?;
        Ok(done)
    }

    pub async fn delete_campaign(&self, context: &Context, id: CampaignId) -> Result<Done, CommandError> {
        self.command_campaign(id, CampaignCommand::Delete, context.request(Value::Null)).await
    }

    /// Scheduled campaigns that are due, the longest due first, without those that are `resting`.
    pub async fn due_campaigns(
        &self,
        limit: i64,
        resting: &[CampaignId],
    ) -> Result<Vec<CampaignId>, CommandError> {
        Ok(sqlx::query_scalar(
            "SELECT campaign_id FROM campaign_gates
             WHERE status = 'scheduled' AND due_at <= $1 AND campaign_id <> ALL($3)
             ORDER BY due_at LIMIT $2",
        )
        .bind(clock::now())
        .bind(limit)
        .bind(resting)
        .fetch_all(&self.store.pool)
        .await?)
    }

    /// When the next campaign is due that is not `resting`.
    pub async fn next_due(&self, resting: &[CampaignId]) -> Result<Option<DateTime<Utc>>, CommandError> {
        let next =
            "SELECT min(due_at) FROM campaign_gates WHERE status = 'scheduled' AND campaign_id <> ALL($1)";
        Ok(sqlx::query_scalar(next).bind(resting).fetch_one(&self.store.pool).await?)
    }

    /// Begins to freeze a campaign that is due and pins its template's version. Of any number of schedulers one
    /// does it; for the others it is done already.
    pub async fn begin_freezing(&self, id: CampaignId) -> Result<Done, CommandError> {
        let loaded = load::<Campaign>(&self.store.pool, id).await?;
        let Some(details) = loaded.aggregate.details else { return Err(CommandError::NotFound("campaign")) };
        let template_version = load::<Template>(&self.store.pool, details.template_id).await?.version;
        let begin = CampaignCommand::BeginFreezing { template_version, now: clock::now() };
        // The version is of the template that the campaign names now: a change in between is met by a new look.
        let mut request = Context::system("scheduler").request(Value::Null);
        request.expected = Some(loaded.version);
        self.command_campaign(id, begin, request).await
    }

    pub async fn freeze_campaign(&self, id: CampaignId, manifest: Manifest) -> Result<Done, CommandError> {
        let request = Context::system("scheduler").request(Value::Null);
        self.command_campaign(id, CampaignCommand::Freeze(manifest), request).await
    }

    /// Its freeze is given up until somebody resumes it.
    pub async fn halt_freezing(&self, id: CampaignId, reason: &str) -> Result<Done, CommandError> {
        let request = Context::system("scheduler").request(Value::Null);
        self.command_campaign(id, CampaignCommand::HaltFreezing { reason: reason.into() }, request).await
    }

    pub async fn complete_campaign(&self, id: CampaignId) -> Result<Done, CommandError> {
        let request = Context::system("sender").request(Value::Null);
        self.command_campaign(id, CampaignCommand::Complete, request).await
    }

    async fn command_campaign(
        &self,
        id: CampaignId,
        command: CampaignCommand,
        request: eventstore::Request,
    ) -> Result<Done, CommandError> {
        Ok(self.store.execute::<Campaign>(id, command, request).await?)
    }

    async fn wait_for_campaign(&self, id: CampaignId) -> Result<(), CommandError> {
        let open = permits::open_for_campaign(&self.store.pool, id).await?;
        permits::wait(&self.store.pool, &open).await;
        Ok(())
    }
}

fn patched(details: Details, patch: CampaignPatch) -> Details {
    Details {
        name: patch.name.unwrap_or(details.name),
        template_id: patch.template.unwrap_or(details.template_id),
        group_id: patch.group.unwrap_or(details.group_id),
        mailer: patch.mailer.or(details.mailer),
        from: patch.from.or(details.from),
        reply_to: patch.reply_to.or(details.reply_to),
        on_unknown: patch.on_unknown.unwrap_or(details.on_unknown),
    }
}

fn unknown_field(error: CommandError, field: &str) -> CommandError {
    match error {
        CommandError::NotFound(thing) => CommandError::invalid(field, format!("the {thing} is not known")),
        other => other,
    }
}
