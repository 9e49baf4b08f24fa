//! Read model `campaign_report`: what became of a campaign's audience, in numbers.
//!
//! Always planned = pending + accepted + suppressed + rejected + unknown + cancelled; the table checks it. The
//! numbers are sums of differences, so that campaigns, dispatches and subscribers may arrive in any order.

use crate::campaign_status::{Status, status_after};
use crate::{ApplyError, Projection, dispatches, streams};
use async_trait::async_trait;
use domain::campaign::{Campaign, CampaignEvent};
use domain::dispatch::{Dispatch, DispatchEvent, State};
use domain::subscriber::{Subscriber, SubscriberEvent};
use domain::{CampaignId, DispatchId, Sequence, SubscriberId};
use eventstore::{LogEvent, StoreError};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use std::collections::{BTreeMap, BTreeSet};

pub struct CampaignReport;

const DISPATCHES: &str = "campaign_report_dispatches";

#[async_trait]
impl Projection for CampaignReport {
    fn name(&self) -> &'static str {
        "campaign_report"
    }

    fn types(&self) -> &'static [&'static str] {
        &["campaign", "dispatch", "subscriber"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["campaign_report", DISPATCHES, "campaign_report_unsubscribed", "campaign_report_versions"]
    }

    async fn apply(&self, tx: &mut PgConnection, events: &[LogEvent]) -> Result<(), ApplyError> {
        apply_campaigns(tx, events).await?;
        let (mut sums, mut versions) = (Sums::new(), Versions::new());
        apply_dispatches(tx, events, &mut sums, &mut versions).await?;
        apply_opt_outs(tx, events, &mut sums).await?;
        add(tx, sums).await?;
        Ok(add_versions(tx, versions).await?)
    }
}

async fn apply_campaigns(tx: &mut PgConnection, events: &[LogEvent]) -> Result<(), ApplyError> {
    let (mut ids, mut words, mut reasons, mut manifests) = (vec![], vec![], vec![], vec![]);
    let mut stopped_by = vec![];
    for (id, entries) in streams::decoded::<Campaign>(events)? {
        let (mut status, mut recipients) = (None, None);
        for (_, event) in entries.events {
            status = status_after(&event).or(status);
            if let CampaignEvent::Frozen(manifest) = event {
                recipients = Some(manifest.recipients.cast_signed());
            }
        }
        // A change of a draft alone says nothing to the report.
        let Some(Status { word, reason, dispatch }) = status else { continue };
        ids.push(id);
        words.push(word);
        reasons.push(reason);
        stopped_by.push(dispatch);
        manifests.push(recipients);
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO campaign_report AS r (campaign_id, status, status_reason, manifest_recipients, status_dispatch)
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::uuid[])
         ON CONFLICT (campaign_id) DO UPDATE SET
             status = excluded.status, status_reason = excluded.status_reason,
             status_dispatch = excluded.status_dispatch,
             manifest_recipients = coalesce(excluded.manifest_recipients, r.manifest_recipients)",
    )
    .bind(ids)
    .bind(words)
    .bind(reasons)
    .bind(manifests)
    .bind(stopped_by)
    .execute(tx)
    .await?;
    Ok(())
}

async fn apply_dispatches(
    tx: &mut PgConnection,
    events: &[LogEvent],
    sums: &mut Sums,
    versions: &mut Versions,
) -> Result<(), ApplyError> {
    let streams = streams::decoded::<Dispatch>(events)?;
    let mut known = dispatches::load(tx, DISPATCHES, &streams::continued(&streams)).await?;
    let mut folded = BTreeMap::new();
    for (id, entries) in streams {
        let mut dispatch = known.remove(&id).unwrap_or_default();
        let before = Difference::count(&dispatch);
        count_versions(&dispatch, -1, versions);
        let mut late = 0;
        for (event, decoded) in entries.events {
            if let DispatchEvent::LateHandover { recipients, .. } = &decoded {
                late += recipients.len() as i64;
            }
            // Even if nobody gets it: whether a row exists must not depend on how events fell into batches.
            if let DispatchEvent::TemplateTaken { template_version } = &decoded {
                versions.entry((dispatch.campaign_id, *template_version)).or_default();
            }
            dispatches::apply(&mut dispatch, event, decoded)?;
        }
        let sum = sums.entry(dispatch.campaign_id).or_default();
        sum.add(Difference::count(&dispatch), 1);
        sum.add(before, -1);
        sum.late_handovers += late;
        count_versions(&dispatch, 1, versions);
        folded.insert(id, dispatch);
    }
    Ok(dispatches::store(tx, DISPATCHES, &folded).await?)
}

/// Counts readers, not clicks: whoever opts out by a campaign's mail again does not count again.
async fn apply_opt_outs(
    tx: &mut PgConnection,
    events: &[LogEvent],
    sums: &mut Sums,
) -> Result<(), ApplyError> {
    // Most events of subscribers are none of ours, and need not be decoded.
    let opt_outs: Vec<LogEvent> =
        events.iter().filter(|event| event.event_type == "SubscriberOptedOut").cloned().collect();
    let mut readers = BTreeSet::<(CampaignId, SubscriberId)>::new();
    for (id, entries) in streams::decoded::<Subscriber>(&opt_outs)? {
        for (_, event) in entries.events {
            if let SubscriberEvent::OptedOut { origin, .. } = event {
                readers.extend(origin.campaign_id.map(|campaign| (campaign, id)));
            }
        }
    }
    if readers.is_empty() {
        return Ok(());
    }
    let (campaigns, subscribers): (Vec<CampaignId>, Vec<SubscriberId>) = readers.into_iter().unzip();
    let new: Vec<CampaignId> = sqlx::query_scalar(
        "INSERT INTO campaign_report_unsubscribed (campaign_id, subscriber_id)
         SELECT * FROM unnest($1::uuid[], $2::uuid[]) ON CONFLICT DO NOTHING RETURNING campaign_id",
    )
    .bind(campaigns)
    .bind(subscribers)
    .fetch_all(tx)
    .await?;
    for campaign in new {
        sums.entry(campaign).or_default().unsubscribed += 1;
    }
    Ok(())
}

type Sums = BTreeMap<CampaignId, Difference>;

/// By how much the numbers of the versions change that a campaign took after it was frozen.
type Versions = BTreeMap<(CampaignId, Sequence), VersionDifference>;

#[derive(Debug, Clone, Copy, Default)]
struct VersionDifference {
    accepted: i64,
    unknown: i64,
}

fn count_versions(dispatch: &Dispatch, times: i64, versions: &mut Versions) {
    for recipient in &dispatch.recipients {
        let Some(version) = recipient.template_version else { continue };
        let difference = versions.entry((dispatch.campaign_id, version)).or_default();
        match recipient.state {
            State::Accepted => difference.accepted += times,
            State::Unknown(_) => difference.unknown += times,
            State::Pending
            | State::Authorized(_)
            | State::Suppressed
            | State::Rejected
            | State::Cancelled => {}
        }
    }
}

async fn add_versions(tx: &mut PgConnection, versions: Versions) -> Result<(), sqlx::Error> {
    if versions.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO campaign_report_versions AS v (campaign_id, template_version, accepted, unknown)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[])
         ON CONFLICT (campaign_id, template_version) DO UPDATE SET
             accepted = v.accepted + excluded.accepted, unknown = v.unknown + excluded.unknown",
    )
    .bind(versions.keys().map(|(campaign, _)| *campaign).collect::<Vec<_>>())
    .bind(versions.keys().map(|(_, version)| version.cast_signed()).collect::<Vec<_>>())
    .bind(versions.values().map(|d| d.accepted).collect::<Vec<_>>())
    .bind(versions.values().map(|d| d.unknown).collect::<Vec<_>>())
    .execute(tx)
    .await
    .map(drop)
}

/// By how much a campaign's numbers change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Difference {
    pending: i64,
    accepted: i64,
    suppressed: i64,
    rejected: i64,
    unknown: i64,
    cancelled: i64,
    unsubscribed: i64,
    late_handovers: i64,
}

impl Difference {
    fn count(dispatch: &Dispatch) -> Self {
        let mut counts = Self::default();
        for recipient in &dispatch.recipients {
            *match recipient.state {
                State::Pending | State::Authorized(_) => &mut counts.pending,
                State::Accepted => &mut counts.accepted,
                State::Suppressed => &mut counts.suppressed,
                State::Rejected => &mut counts.rejected,
                State::Unknown(_) => &mut counts.unknown,
                State::Cancelled => &mut counts.cancelled,
            } += 1;
        }
        counts
    }

    fn add(&mut self, counts: Self, times: i64) {
        self.pending += times * counts.pending;
        self.accepted += times * counts.accepted;
        self.suppressed += times * counts.suppressed;
        self.rejected += times * counts.rejected;
        self.unknown += times * counts.unknown;
        self.cancelled += times * counts.cancelled;
    }

    fn planned(&self) -> i64 {
        self.pending + self.accepted + self.suppressed + self.rejected + self.unknown + self.cancelled
    }
}

/// Differences of nothing are written, too: whether a row exists must not depend on how events fell into batches.
async fn add(tx: &mut PgConnection, sums: Sums) -> Result<(), sqlx::Error> {
    if sums.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&Difference) -> i64| sums.values().map(of).collect::<Vec<i64>>();
    sqlx::query(
        "INSERT INTO campaign_report AS r (campaign_id, planned, pending, accepted, suppressed, rejected, unknown,
             cancelled, unsubscribed, late_handovers)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
             $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
         ON CONFLICT (campaign_id) DO UPDATE SET
             planned = r.planned + excluded.planned, pending = r.pending + excluded.pending,
             accepted = r.accepted + excluded.accepted, suppressed = r.suppressed + excluded.suppressed,
             rejected = r.rejected + excluded.rejected, unknown = r.unknown + excluded.unknown,
             cancelled = r.cancelled + excluded.cancelled, unsubscribed = r.unsubscribed + excluded.unsubscribed,
             late_handovers = r.late_handovers + excluded.late_handovers",
    )
    .bind(sums.keys().copied().collect::<Vec<_>>())
    .bind(column(Difference::planned))
    .bind(column(|d| d.pending))
    .bind(column(|d| d.accepted))
    .bind(column(|d| d.suppressed))
    .bind(column(|d| d.rejected))
    .bind(column(|d| d.unknown))
    .bind(column(|d| d.cancelled))
    .bind(column(|d| d.unsubscribed))
    .bind(column(|d| d.late_handovers))
    .execute(tx)
    .await
    .map(drop)
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Report {
    pub campaign_id: CampaignId,
    /// `completed` only once everybody of the manifest is counted and nobody is pending.
    pub status: String,
    pub status_reason: Option<String>,
    /// The dispatch that is the reason, where one is.
    pub status_dispatch: Option<DispatchId>,
    /// Recipients that the audience was frozen to; `None` before.
    pub manifest_recipients: Option<i64>,
    pub planned: i64,
    pub pending: i64,
    pub accepted: i64,
    pub suppressed: i64,
    pub rejected: i64,
    pub unknown: i64,
    pub cancelled: i64,
    pub delivered: i64,
    pub bounced: i64,
    pub complained: i64,
    pub opened: i64,
    pub clicked: i64,
    /// Readers who opted out, of a group or of everything, by this campaign's mail.
    pub unsubscribed: i64,
    /// Recipients whose hand-over was found to have begun late: `LateHandover`.
    pub late_handovers: i64,
    /// By the version of the template, oldest first: the one that was frozen, and those that the campaign took since.
    pub versions: Json<Vec<VersionCount>>,
}

/// Whose mail was made from one version of the template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionCount {
    pub template_version: i64,
    pub accepted: i64,
    pub unknown: i64,
}

/// Reads `campaigns` as well.
pub async fn get(db: impl PgExecutor<'_>, campaign: CampaignId) -> Result<Option<Report>, StoreError> {
    let report = sqlx::query_as(
        "WITH taken AS (
             SELECT template_version, accepted, unknown FROM campaign_report_versions WHERE campaign_id = $1),
         versions AS (
             SELECT (c.manifest ->> 'template_version')::bigint AS template_version,
                 r.accepted - (SELECT coalesce(sum(accepted), 0) FROM taken) AS accepted,
                 r.unknown - (SELECT coalesce(sum(unknown), 0) FROM taken) AS unknown
             FROM campaign_report r JOIN campaigns c ON c.id = r.campaign_id
             WHERE r.campaign_id = $1 AND c.manifest IS NOT NULL
             UNION ALL SELECT * FROM taken)
         SELECT campaign_id, manifest_recipients, planned, pending, accepted, suppressed, rejected, unknown,
             cancelled, delivered, bounced, complained, opened, clicked, unsubscribed, late_handovers,
             status_dispatch,
             (SELECT coalesce(jsonb_agg(to_jsonb(v) ORDER BY v.template_version), '[]') FROM versions v) AS versions,
             CASE WHEN status = 'completed' AND NOT complete THEN 'sending' ELSE status END AS status,
             CASE WHEN status = 'completed' AND NOT complete THEN NULL ELSE status_reason END AS status_reason
         FROM campaign_report WHERE campaign_id = $1 AND status <> 'deleted'",
    )
    .bind(campaign)
    .fetch_optional(db)
    .await?;
    Ok(report)
}
