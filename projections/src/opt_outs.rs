//! Read model `opt_outs`: every opt-out, in the order of the log.
//!
//! The visitor's address and program stay sealed as the events hold them.

use crate::page::Walk;
use crate::{ApplyError, Page, Projection, Slice, streams};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::consent::{Channel, Origin, Scope};
use domain::subscriber::{Subscriber, SubscriberEvent};
use domain::{CampaignId, DispatchId, GroupId, Personal, SubscriberId};
use eventstore::{LogEvent, StoreError};
use sqlx::{PgConnection, PgExecutor, PgPool, Postgres, QueryBuilder};

pub struct OptOuts;

#[async_trait]
impl Projection for OptOuts {
    fn name(&self) -> &'static str {
        "opt_outs"
    }

    fn types(&self) -> &'static [&'static str] {
        &["subscriber"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["opt_outs", "opt_outs_of_groups"]
    }

    async fn apply(&self, tx: &mut PgConnection, events: &[LogEvent]) -> Result<(), ApplyError> {
        let (mut found, mut erased) = (Vec::new(), Vec::new());
        // Few of a subscriber's events are, and an import brings a million others.
        let is_ours = |name: &str| matches!(name, "SubscriberOptedOut" | "SubscriberErased");
        for event in events.iter().filter(|event| is_ours(&event.event_type)) {
            let subscriber = streams::id(event)?;
            match streams::decode::<Subscriber>(event)? {
                SubscriberEvent::OptedOut { scope, channel, origin } => {
                    found.push((event, subscriber, scope, channel, origin));
                }
                SubscriberEvent::Erased {} => erased.push(subscriber),
                SubscriberEvent::Added { .. }
                | SubscriberEvent::DetailsChanged { .. }
                | SubscriberEvent::AddressChanged { .. }
                | SubscriberEvent::GroupJoined { .. }
                | SubscriberEvent::GroupLeft { .. }
                | SubscriberEvent::OptedIn { .. }
                | SubscriberEvent::SubscriptionRequested(_)
                | SubscriberEvent::SubscriptionConfirmed { .. } => {}
            }
        }
        insert(tx, &found).await?;
        Ok(scrub(tx, &erased).await?)
    }
}

/// An erasure is the last event of its stream: no opt-out follows it.
async fn scrub(tx: &mut PgConnection, erased: &[SubscriberId]) -> Result<(), sqlx::Error> {
    if erased.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE opt_outs SET source_address = NULL, user_agent = NULL
         WHERE subscriber_id = ANY($1) AND (source_address IS NOT NULL OR user_agent IS NOT NULL)",
    )
    .bind(erased)
    .execute(tx)
    .await
    .map(drop)
}

type Found<'a> = (&'a LogEvent, SubscriberId, Scope, Channel, Origin);

async fn insert(tx: &mut PgConnection, found: &[Found<'_>]) -> Result<(), sqlx::Error> {
    if found.is_empty() {
        return Ok(());
    }
    let said = |name: &str| found.iter().map(|(event, ..)| event.metadata[name].as_str()).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO opt_outs (position, subscriber_id, recorded_at, channel, groups, campaign_id, dispatch_id,
             actor, request_id, source_address, user_agent)
         SELECT position, subscriber_id, recorded_at, channel, string_to_array(groups, ',')::uuid[], campaign_id,
             dispatch_id, actor, request_id, source_address, user_agent
         FROM unnest($1::bigint[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::uuid[], $7::uuid[],
                 $8::text[], $9::text[], $10::text[], $11::text[])
             o (position, subscriber_id, recorded_at, channel, groups, campaign_id, dispatch_id, actor, request_id,
                 source_address, user_agent)",
    )
    .bind(found.iter().map(|(event, ..)| event.position).collect::<Vec<_>>())
    .bind(found.iter().map(|(_, subscriber, ..)| *subscriber).collect::<Vec<_>>())
    .bind(found.iter().map(|(event, ..)| event.recorded_at).collect::<Vec<_>>())
    .bind(found.iter().map(|(_, _, _, channel, _)| channel.as_str()).collect::<Vec<_>>())
    .bind(found.iter().map(|(_, _, scope, ..)| listed(scope)).collect::<Vec<_>>())
    .bind(found.iter().map(|(.., origin)| origin.campaign_id).collect::<Vec<_>>())
    .bind(found.iter().map(|(.., origin)| origin.dispatch_id).collect::<Vec<_>>())
    .bind(said("actor"))
    .bind(said("request_id"))
    .bind(found.iter().map(|(.., origin)| sealed(&origin.source_address)).collect::<Vec<_>>())
    .bind(found.iter().map(|(.., origin)| sealed(&origin.user_agent)).collect::<Vec<_>>())
    .execute(tx)
    .await
    .map(drop)
}

/// Arrays of arrays cannot be unnested by row. The empty text is the empty array.
fn listed(scope: &Scope) -> String {
    match scope {
        Scope::Global => String::new(),
        Scope::Groups(groups) => groups.iter().map(GroupId::to_string).collect::<Vec<_>>().join(","),
    }
}

fn sealed(value: &Option<Personal>) -> Option<&str> {
    match value {
        Some(Personal::Sealed(sealed)) => Some(sealed),
        // What was read from the log cannot be plain.
        Some(Personal::Plain(_)) | None => None,
    }
}

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct OptOut {
    pub position: i64,
    pub subscriber_id: SubscriberId,
    pub recorded_at: DateTime<Utc>,
    pub channel: String,
    /// Empty: of everything.
    pub groups: Vec<GroupId>,
    pub campaign_id: Option<CampaignId>,
    pub dispatch_id: Option<DispatchId>,
    pub actor: Option<String>,
    pub request_id: Option<String>,
    /// Sealed.
    pub source_address: Option<String>,
    /// Sealed.
    pub user_agent: Option<String>,
    /// The present address of the person, sealed.
    pub address: Option<String>,
}

/// What `list` is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Recorded then or later ...
    pub from: Option<DateTime<Utc>>,
    /// ... and before this time.
    pub to: Option<DateTime<Utc>>,
    /// Those that name this group. One of everything names none.
    pub group: Option<GroupId>,
    pub channel: Option<Channel>,
    /// Those by the links of this campaign's mails.
    pub campaign: Option<CampaignId>,
}

/// Newest first.
pub async fn list(
    db: impl PgExecutor<'_>,
    filter: &Filter,
    slice: Slice,
) -> Result<Page<OptOut>, StoreError> {
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT o.*, (SELECT s.address FROM subscribers s WHERE s.id = o.subscriber_id) AS address FROM ",
    );
    // In the order of its own key: the group may be rare among all.
    query.push(match filter.group {
        Some(_) => "opt_outs_of_groups g JOIN opt_outs o USING (position) WHERE g.position < ",
        None => "opt_outs o WHERE o.position < ",
    });
    query.push_bind(slice.below());
    if let Some(from) = filter.from {
        query.push(" AND recorded_at >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" AND recorded_at < ").push_bind(to);
    }
    if let Some(group) = filter.group {
        query.push(" AND g.group_id = ").push_bind(group);
    }
    if let Some(channel) = filter.channel {
        query.push(" AND channel = ").push_bind(channel.as_str());
    }
    if let Some(campaign) = filter.campaign {
        query.push(" AND campaign_id = ").push_bind(campaign);
    }
    query.push(" ORDER BY ").push(if filter.group.is_some() { "g.position" } else { "o.position" });
    query.push(" DESC LIMIT ").push_bind(slice.fetch());
    let rows = query.build_query_as().fetch_all(db).await?;
    Ok(slice.page(rows, |row: &OptOut| row.position))
}

/// All of them, a page at a time. No connection is held between pages.
pub struct Pages {
    pool: PgPool,
    filter: Filter,
    walk: Walk,
}

impl Pages {
    pub fn new(pool: PgPool, filter: Filter) -> Self {
        Self { pool, filter, walk: Walk::start() }
    }

    /// Up to [`PAGE_MAX`](crate::PAGE_MAX) rows; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<OptOut>>, StoreError> {
        let Some(slice) = self.walk.slice() else { return Ok(None) };
        Ok(self.walk.step(list(&self.pool, &self.filter, slice).await?))
    }
}
