//! Read model `subscribers`: who they are and what they consented to.
//!
//! Address, name and attributes stay sealed as the events hold them; each sealed text bears its sequence, which
//! together with the subscriber's id and the field's name opens it.

use crate::streams::{self, Entries, Span};
use crate::{ApplyError, Page, Projection, Slice};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::subscriber::{Subscriber as State, SubscriberEvent};
use domain::{AddressHash, GroupId, Personal, Sequence, SubscriberId};
use eventstore::{LogEvent, StoreError};
use serde::Deserialize;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, Postgres, QueryBuilder};
use std::collections::{BTreeMap, BTreeSet};

pub struct Subscribers;

#[async_trait]
impl Projection for Subscribers {
    fn name(&self) -> &'static str {
        "subscribers"
    }

    fn types(&self) -> &'static [&'static str] {
        &["subscriber"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["subscribers", "subscribers_groups"]
    }

    async fn apply(&self, tx: &mut PgConnection, events: &[LogEvent]) -> Result<(), ApplyError> {
        let streams = streams::decoded::<State>(events)?;
        let mut known = load(tx, &streams::continued(&streams)).await?;
        let (mut rows, mut changes) = (Vec::with_capacity(streams.len()), ConsentChanges::default());
        for (id, entries) in streams {
            let known = known.remove(&id);
            let before = known.as_ref().map(Row::consented).unwrap_or_default();
            let row = fold(id, known, entries)?;
            changes.compare(&before, &row);
            rows.push(row);
        }
        store(tx, rows).await?;
        Ok(changes.store(tx).await?)
    }
}

type Consents = BTreeMap<GroupId, Option<Sequence>>;

#[derive(sqlx::FromRow)]
struct Row {
    id: SubscriberId,
    version: i64,
    address_hash: Vec<u8>,
    hash_key_id: String,
    /// None: they were erased.
    address: Option<String>,
    name: Option<String>,
    attributes: Option<String>,
    global_opt_out: bool,
    unconfirmed: bool,
    groups: Json<Consents>,
    #[sqlx(flatten)]
    span: Span,
}

impl Row {
    /// The groups with a consent on record.
    fn consented(&self) -> BTreeSet<GroupId> {
        self.groups.iter().filter(|(_, consent)| consent.is_some()).map(|(group, _)| *group).collect()
    }
}

async fn load(
    tx: &mut PgConnection,
    ids: &[SubscriberId],
) -> Result<BTreeMap<SubscriberId, Row>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<Row> =
        sqlx::query_as("SELECT * FROM subscribers WHERE id = ANY($1)").bind(ids).fetch_all(tx).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// The row after these events, by the aggregate's own rules.
fn fold(
    id: SubscriberId,
    known: Option<Row>,
    entries: Entries<'_, SubscriberEvent>,
) -> Result<Row, ApplyError> {
    let (first, span) = (entries.first, Span::after(known.as_ref().map(|row| row.span), &entries));
    let mut state = known.map(state_of).unwrap_or_default();
    for (event, decoded) in entries.events {
        streams::check_follows(state.version, event)?;
        state.apply(decoded);
    }
    let Some(AddressHash(hash)) = state.address_hash else {
        return Err(ApplyError::event(first, "the subscriber was never added"));
    };
    Ok(Row {
        id,
        version: state.version.cast_signed(),
        address_hash: hash.into(),
        hash_key_id: state.hash_key_id,
        address: state.address.map(|address| sealed(first, address)).transpose()?,
        name: state.name.map(|name| sealed(first, name)).transpose()?,
        attributes: state.attributes.map(|attributes| sealed(first, attributes)).transpose()?,
        global_opt_out: state.global_opt_out,
        unconfirmed: state.unconfirmed,
        groups: Json(state.groups),
        span,
    })
}

fn state_of(row: Row) -> State {
    State {
        version: row.version.cast_unsigned(),
        address: row.address.map(Personal::Sealed),
        address_hash: row.address_hash.try_into().ok().map(AddressHash),
        hash_key_id: row.hash_key_id,
        name: row.name.map(Personal::Sealed),
        attributes: row.attributes.map(Personal::Sealed),
        global_opt_out: row.global_opt_out,
        unconfirmed: row.unconfirmed,
        groups: row.groups.0,
        // Nothing that a later event does to the row depends on these.
        requests: BTreeMap::new(),
        opted_out: None,
        opted_in: None,
        unwanted: false,
    }
}

fn sealed(event: &LogEvent, value: Personal) -> Result<String, ApplyError> {
    match value {
        Personal::Sealed(sealed) => Ok(sealed),
        // What was read from the log cannot be plain.
        Personal::Plain(_) => Err(ApplyError::event(event, "personal data is not sealed")),
    }
}

async fn store(tx: &mut PgConnection, rows: Vec<Row>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO subscribers (id, version, address_hash, hash_key_id, address, name, attributes,
             global_opt_out, unconfirmed, groups, created_position, created_at, changed_at)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::text[], $5::text[], $6::text[], $7::text[],
             $8::boolean[], $9::boolean[], $10::jsonb[], $11::bigint[], $12::timestamptz[], $13::timestamptz[])
         ON CONFLICT (id) DO UPDATE SET
             version = excluded.version, address_hash = excluded.address_hash, hash_key_id = excluded.hash_key_id,
             address = excluded.address, name = excluded.name, attributes = excluded.attributes,
             global_opt_out = excluded.global_opt_out, unconfirmed = excluded.unconfirmed,
             groups = excluded.groups, changed_at = excluded.changed_at",
    )
    .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.version).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &row.address_hash[..]).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &row.hash_key_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.address.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.name.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.attributes.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.global_opt_out).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.unconfirmed).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &row.groups).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.span.created_position).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.span.created_at).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.span.changed_at).collect::<Vec<_>>())
    .execute(tx)
    .await
    .map(drop)
}

/// Groups by the position at which their subscriber began.
#[derive(Default)]
struct ConsentChanges {
    given: Vec<(GroupId, i64)>,
    ended: Vec<(GroupId, i64)>,
}

impl ConsentChanges {
    fn compare(&mut self, before: &BTreeSet<GroupId>, row: &Row) {
        let after = row.consented();
        let key = |group: &GroupId| (*group, row.span.created_position);
        self.given.extend(after.difference(before).map(key));
        self.ended.extend(before.difference(&after).map(key));
    }

    async fn store(self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        let insert = "INSERT INTO subscribers_groups (group_id, created_position)
                      SELECT * FROM unnest($1::uuid[], $2::bigint[])";
        let delete = "DELETE FROM subscribers_groups WHERE (group_id, created_position)
                      IN (SELECT * FROM unnest($1::uuid[], $2::bigint[]))";
        for (statement, changes) in [(insert, self.given), (delete, self.ended)] {
            if !changes.is_empty() {
                let (groups, positions): (Vec<GroupId>, Vec<i64>) = changes.into_iter().unzip();
                sqlx::query(statement).bind(groups).bind(positions).execute(&mut *tx).await?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Subscriber {
    pub id: SubscriberId,
    /// Sequence of the last event.
    pub version: i64,
    pub address_hash: Vec<u8>,
    /// Sealed; none of somebody erased.
    pub address: Option<String>,
    /// Sealed.
    pub name: Option<String>,
    /// Sealed: a JSON object of strings.
    pub attributes: Option<String>,
    pub global_opt_out: bool,
    /// `active`, `unconfirmed`, `opted_out` or `erased`.
    pub status: String,
    pub groups: Json<Vec<Membership>>,
    pub created_position: i64,
    pub created_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
}

/// A group that a subscriber has to do with, opt-outs included.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Membership {
    pub group_id: GroupId,
    /// `None` where the group was deleted.
    pub name: Option<String>,
    /// Whether the group may write to the subscriber now.
    pub subscribed: bool,
    /// The consent on record, by its sequence; `None` after an opt-out of the group.
    pub consent_sequence: Option<i64>,
}

/// What `list` is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those with a consent to this group on record, whether or not they opted out of everything since.
    pub group: Option<GroupId>,
    pub status: Option<String>,
}

/// The names come from the read model `groups`.
const SELECT: &str = "
    SELECT s.id, s.version, s.address_hash, s.address, s.name, s.attributes, s.global_opt_out, s.status,
        s.created_position, s.created_at, s.changed_at,
        (SELECT coalesce(jsonb_agg(jsonb_build_object(
                    'group_id', m.key, 'name', g.name, 'consent_sequence', m.value,
                    'subscribed', m.value <> 'null' AND NOT s.global_opt_out) ORDER BY g.name, m.key), '[]')
         FROM jsonb_each(s.groups) m LEFT JOIN groups g ON g.id = m.key::uuid) AS groups
    FROM subscribers s";

pub async fn get(db: impl PgExecutor<'_>, id: SubscriberId) -> Result<Option<Subscriber>, StoreError> {
    Ok(sqlx::query_as(&format!("{SELECT} WHERE s.id = $1")).bind(id).fetch_optional(db).await?)
}

pub async fn by_address(
    db: impl PgExecutor<'_>,
    address: AddressHash,
) -> Result<Option<Subscriber>, StoreError> {
    let newest = format!("{SELECT} WHERE s.address_hash = $1 ORDER BY s.created_position DESC LIMIT 1");
    Ok(sqlx::query_as(&newest).bind(&address.0[..]).fetch_optional(db).await?)
}

/// Newest first.
pub async fn list(
    db: impl PgExecutor<'_>,
    filter: &Filter,
    slice: Slice,
) -> Result<Page<Subscriber>, StoreError> {
    let mut query = QueryBuilder::<Postgres>::new(SELECT);
    query.push(" WHERE s.created_position < ").push_bind(slice.below());
    if let Some(group) = filter.group {
        query.push(
            " AND s.created_position IN (SELECT created_position FROM subscribers_groups WHERE group_id = ",
        );
        query.push_bind(group).push(" AND created_position < ").push_bind(slice.below()).push(")");
    }
    if let Some(status) = &filter.status {
        query.push(" AND s.status = ").push_bind(status.as_str());
    }
    query.push(" ORDER BY s.created_position DESC LIMIT ").push_bind(slice.fetch());
    let rows = query.build_query_as().fetch_all(db).await?;
    Ok(slice.page(rows, |row: &Subscriber| row.created_position))
}
