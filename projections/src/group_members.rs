//! Read model `group_members`: who could be written to by which group between which positions of the log, so that an
//! audience can be read as it was at one position.
//!
//! A membership is in force while its subscriber is in the group and opted out neither of it nor of everything.

mod audience;

pub use audience::{AsOf, page_as_of};

use crate::streams::{self, Entries};
use crate::{ApplyError, Projection};
use async_trait::async_trait;
use domain::consent::Scope;
use domain::subscriber::{Subscriber, SubscriberEvent};
use domain::{GroupId, SubscriberId};
use eventstore::LogEvent;
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};

pub struct GroupMembers;

#[async_trait]
impl Projection for GroupMembers {
    fn name(&self) -> &'static str {
        "group_members"
    }

    fn types(&self) -> &'static [&'static str] {
        &["subscriber"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["group_members", "group_members_suppressed", "group_members_counts"]
    }

    async fn apply(&self, tx: &mut PgConnection, events: &[LogEvent]) -> Result<(), ApplyError> {
        let streams = streams::decoded::<Subscriber>(events)?;
        let mut members = load(tx, &streams::continued(&streams)).await?;
        let mut changes = Changes::default();
        for (id, entries) in streams {
            members.remove(&id).unwrap_or_else(|| Member::new(id)).fold(entries, &mut changes);
        }
        Ok(changes.store(tx).await?)
    }
}

/// What one subscriber's next event depends on.
struct Member {
    id: SubscriberId,
    suppressed: bool,
    /// The memberships in force, each by the position that it began at.
    open: BTreeMap<GroupId, i64>,
}

/// A membership that began at this position.
type Key = (GroupId, SubscriberId, i64);

#[derive(Default)]
struct Changes {
    /// New memberships, each with the position that it ended at, if it did.
    opened: BTreeMap<Key, Option<i64>>,
    /// Ends of older ones.
    closed: BTreeMap<Key, i64>,
    suppressed: BTreeSet<SubscriberId>,
    unsuppressed: BTreeSet<SubscriberId>,
    counts: BTreeMap<GroupId, i64>,
}

async fn load(
    tx: &mut PgConnection,
    ids: &[SubscriberId],
) -> Result<BTreeMap<SubscriberId, Member>, sqlx::Error> {
    let mut members: BTreeMap<_, _> = ids.iter().map(|id| (*id, Member::new(*id))).collect();
    if ids.is_empty() {
        return Ok(members);
    }
    let open: Vec<Key> = sqlx::query_as(
        "SELECT group_id, subscriber_id, joined_position FROM group_members
         WHERE subscriber_id = ANY($1) AND left_position IS NULL",
    )
    .bind(ids)
    .fetch_all(&mut *tx)
    .await?;
    for (group, subscriber, joined) in open {
        if let Some(member) = members.get_mut(&subscriber) {
            member.open.insert(group, joined);
        }
    }
    let suppressed: Vec<SubscriberId> = sqlx::query_scalar(
        "SELECT subscriber_id FROM group_members_suppressed WHERE subscriber_id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    for subscriber in suppressed {
        if let Some(member) = members.get_mut(&subscriber) {
            member.suppressed = true;
        }
    }
    Ok(members)
}

impl Member {
    fn new(id: SubscriberId) -> Self {
        Self { id, suppressed: false, open: BTreeMap::new() }
    }

    fn fold(mut self, entries: Entries<'_, SubscriberEvent>, changes: &mut Changes) {
        let was_suppressed = self.suppressed;
        for (event, decoded) in entries.events {
            self.apply(event.position, decoded, changes);
        }
        match (was_suppressed, self.suppressed) {
            (false, true) => drop(changes.suppressed.insert(self.id)),
            (true, false) => drop(changes.unsuppressed.insert(self.id)),
            (true, true) | (false, false) => {}
        }
    }

    fn apply(&mut self, at: i64, event: SubscriberEvent, changes: &mut Changes) {
        match event {
            SubscriberEvent::Added { groups, .. } => self.join(at, groups, changes),
            SubscriberEvent::GroupJoined { group_id, .. } => self.join(at, [group_id], changes),
            SubscriberEvent::GroupLeft { group_id } => self.leave(at, [group_id], changes),
            SubscriberEvent::OptedOut { scope: Scope::Groups(groups), .. } => self.leave(at, groups, changes),
            SubscriberEvent::OptedOut { scope: Scope::Global, .. } => {
                self.suppressed = true;
                let groups: Vec<GroupId> = self.open.keys().copied().collect();
                self.leave(at, groups, changes);
            }
            SubscriberEvent::OptedIn { ended_global, groups, restored, .. } => {
                self.suppressed &= !ended_global;
                self.join(at, groups.into_iter().chain(restored), changes);
            }
            SubscriberEvent::SubscriptionConfirmed { ended_global, groups, .. } => {
                self.suppressed &= !ended_global;
                self.join(at, groups, changes);
            }
            // Who is erased has left everything by the opt-out before it.
            SubscriberEvent::DetailsChanged { .. }
            | SubscriberEvent::AddressChanged { .. }
            | SubscriberEvent::SubscriptionRequested(_)
            | SubscriberEvent::Erased {} => {}
        }
    }

    fn join(&mut self, at: i64, groups: impl IntoIterator<Item = GroupId>, changes: &mut Changes) {
        // A consent given under a global opt-out is named as restored by the event that ends it.
        if self.suppressed {
            return;
        }
        for group in groups {
            if self.open.contains_key(&group) {
                continue;
            }
            self.open.insert(group, at);
            changes.opened.insert((group, self.id, at), None);
            *changes.counts.entry(group).or_default() += 1;
        }
    }

    fn leave(&mut self, at: i64, groups: impl IntoIterator<Item = GroupId>, changes: &mut Changes) {
        for group in groups {
            let Some(joined) = self.open.remove(&group) else { continue };
            let key = (group, self.id, joined);
            match changes.opened.get_mut(&key) {
                // In force at no position: see [`crate::repair`].
                Some(_) if at <= joined => drop(changes.opened.remove(&key)),
                Some(left) => *left = Some(at),
                None => drop(changes.closed.insert(key, at)),
            }
            *changes.counts.entry(group).or_default() -= 1;
        }
    }
}

impl Changes {
    async fn store(self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        // In force at no position: see [`crate::repair`].
        let (empty, closed): (BTreeMap<Key, i64>, BTreeMap<Key, i64>) =
            self.closed.into_iter().partition(|((.., joined), left)| left <= joined);
        if !empty.is_empty() {
            write_memberships(
                tx,
                "DELETE FROM group_members m
                 USING unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[])
                     c (group_id, subscriber_id, joined_position, left_position)
                 WHERE (m.group_id, m.subscriber_id, m.joined_position)
                     = (c.group_id, c.subscriber_id, c.joined_position)",
                empty.into_iter().map(|(key, left)| (key, Some(left))),
            )
            .await?;
        }
        if !closed.is_empty() {
            write_memberships(
                tx,
                "UPDATE group_members m SET left_position = c.left_position
                 FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[])
                     c (group_id, subscriber_id, joined_position, left_position)
                 WHERE (m.group_id, m.subscriber_id, m.joined_position)
                     = (c.group_id, c.subscriber_id, c.joined_position)",
                closed.into_iter().map(|(key, left)| (key, Some(left))),
            )
            .await?;
        }
        if !self.opened.is_empty() {
            write_memberships(
                tx,
                "INSERT INTO group_members (group_id, subscriber_id, joined_position, left_position)
                 SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[])",
                self.opened.into_iter(),
            )
            .await?;
        }
        if !self.unsuppressed.is_empty() {
            let delete = "DELETE FROM group_members_suppressed WHERE subscriber_id = ANY($1)";
            sqlx::query(delete).bind(Vec::from_iter(self.unsuppressed)).execute(&mut *tx).await?;
        }
        if !self.suppressed.is_empty() {
            let insert = "INSERT INTO group_members_suppressed SELECT unnest($1::uuid[])";
            sqlx::query(insert).bind(Vec::from_iter(self.suppressed)).execute(&mut *tx).await?;
        }
        add_counts(tx, self.counts).await
    }
}

async fn write_memberships(
    tx: &mut PgConnection,
    statement: &str,
    memberships: impl Iterator<Item = (Key, Option<i64>)>,
) -> Result<(), sqlx::Error> {
    let (mut groups, mut subscribers, mut joined, mut left) = (vec![], vec![], vec![], vec![]);
    for ((group, subscriber, from), until) in memberships {
        groups.push(group);
        subscribers.push(subscriber);
        joined.push(from);
        left.push(until);
    }
    sqlx::query(statement).bind(groups).bind(subscribers).bind(joined).bind(left).execute(tx).await.map(drop)
}

/// Differences of nothing are written, too: whether a row exists must not depend on how events fell into batches.
async fn add_counts(tx: &mut PgConnection, counts: BTreeMap<GroupId, i64>) -> Result<(), sqlx::Error> {
    if counts.is_empty() {
        return Ok(());
    }
    let (groups, members): (Vec<GroupId>, Vec<i64>) = counts.into_iter().unzip();
    sqlx::query(
        "INSERT INTO group_members_counts AS c (group_id, members)
         SELECT * FROM unnest($1::uuid[], $2::bigint[])
         ON CONFLICT (group_id) DO UPDATE SET members = c.members + excluded.members",
    )
    .bind(groups)
    .bind(members)
    .execute(tx)
    .await
    .map(drop)
}
