//! The members of a group as they were at one position.
//!
//! Of most people this read model knows it. Whose stream is parked is folded from the log, so that one stream which
//! cannot be applied holds up nobody's campaign.

use super::{Changes, Member};
use crate::PAGE_MAX;
use crate::checkpoints::SLOTS;
use crate::streams;
use domain::subscriber::Subscriber;
use domain::{GroupId, SubscriberId};
use eventstore::{LogEvent, StoreError};
use futures::TryStreamExt;
use sqlx::PgConnection;

/// A part of a group as it was at one position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsOf {
    /// The next members in the order of their ids; none is the end.
    Ready(Vec<SubscriberId>),
    /// This read model has not yet done all that the log holds up to the position.
    Behind,
}

/// Up to `limit` members of `group` as of `position` with ids above `after`.
///
/// A person whose events cannot be read is among them if an event up to the position names the group: nobody can be
/// sure that they belong to it, and the sender, which cannot read them either, records them as rejected, by name.
///
/// The caller's transaction must be READ COMMITTED. `position` must be one that the log has given.
pub async fn page_as_of(
    db: &mut PgConnection,
    group: GroupId,
    position: i64,
    after: Option<SubscriberId>,
    limit: i64,
) -> Result<AsOf, StoreError> {
    let limit = limit.clamp(1, PAGE_MAX);
    let mut after = after.unwrap_or_default();
    loop {
        let Some(candidates) = candidates(db, group, position, after, limit).await? else {
            return Ok(AsOf::Behind);
        };
        let mut members = Vec::with_capacity(candidates.len());
        for (id, is_parked) in &candidates {
            if !is_parked || may_belong(db, *id, group, position).await? {
                members.push(*id);
            }
        }
        match candidates.last() {
            // Of those parked none belonged to the group: there may be members behind them.
            Some((last, _)) if members.is_empty() => after = *last,
            Some(_) | None => return Ok(AsOf::Ready(members)),
        }
    }
}

/// The next `limit` people by id, each with whether their stream is parked: members by this read model, and all whose
/// events up to the position it has not applied. None where the read model is behind.
///
/// One statement both looks at the checkpoints and reads the people, so that one snapshot answers both. As texts ids
/// have the order that they have as UUIDs; a parked stream with another name is no person's.
async fn candidates(
    db: &mut PgConnection,
    group: GroupId,
    position: i64,
    after: SubscriberId,
    limit: i64,
) -> Result<Option<Vec<(SubscriberId, bool)>>, StoreError> {
    let (behind, members, parked): (bool, Vec<SubscriberId>, Vec<SubscriberId>) = sqlx::query_as(
        "SELECT
             EXISTS (SELECT FROM generate_series(0, $5 - 1) s (slot)
                     LEFT JOIN checkpoints c
                         ON c.projection = 'group_members' AND c.aggregate_type = 'subscriber' AND c.slot = s.slot
                         AND c.epoch = (SELECT epoch FROM log_epoch)
                     WHERE EXISTS (SELECT FROM log l
                                   WHERE l.aggregate_type = 'subscriber' AND l.slot = s.slot
                                     AND l.position > coalesce(c.position, 0) AND l.position <= $2)),
             ARRAY(SELECT subscriber_id FROM group_members m
                   WHERE group_id = $1 AND subscriber_id > $3
                     AND joined_position <= $2 AND (left_position IS NULL OR left_position > $2)
                     AND NOT EXISTS (SELECT FROM dead_letters d
                                     WHERE d.projection = 'group_members' AND d.aggregate_type = 'subscriber'
                                       AND d.aggregate_id = m.subscriber_id::text AND d.position <= $2)
                   ORDER BY subscriber_id LIMIT $4),
             ARRAY(SELECT DISTINCT aggregate_id FROM dead_letters
                   WHERE projection = 'group_members' AND aggregate_type = 'subscriber' AND position <= $2
                     AND aggregate_id > $3::text AND aggregate_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                   ORDER BY aggregate_id LIMIT $4)::uuid[]",
    )
    .bind(group)
    .bind(position)
    .bind(after)
    .bind(limit)
    .bind(i32::from(SLOTS))
    .fetch_one(db)
    .await?;
    if behind {
        return Ok(None);
    }
    let members = members.into_iter().map(|id| (id, false));
    let mut people: Vec<_> = members.chain(parked.into_iter().map(|id| (id, true))).collect();
    people.sort_unstable();
    people.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(Some(people))
}

/// Whether a person was a member as of `position`, by their own events; where one of those cannot be read, whether any
/// names the group. Event by event, so that a long stream takes no more memory than a short one.
async fn may_belong(
    db: &mut PgConnection,
    id: SubscriberId,
    group: GroupId,
    position: i64,
) -> Result<bool, StoreError> {
    let mut events = sqlx::query_as::<_, LogEvent>(
        "SELECT l.position, l.aggregate_type, l.slot, e.aggregate_id, e.sequence, e.event_type, e.event_version,
                e.payload, e.metadata, e.recorded_at
         FROM events e JOIN log l USING (append_id)
         WHERE e.aggregate_type = 'subscriber' AND e.aggregate_id = $1 AND l.position <= $2 ORDER BY e.sequence",
    )
    .bind(id.to_string())
    .bind(position)
    .fetch(db);
    let (mut member, mut changes) = (Member::new(id), Changes::default());
    let (mut is_readable, mut is_named) = (true, false);
    let name = group.to_string();
    while let Some(event) = events.try_next().await? {
        is_named |= event.payload.to_string().contains(&name);
        match streams::decode::<Subscriber>(&event) {
            Ok(decoded) => member.apply(event.position, decoded, &mut changes),
            Err(_) => is_readable = false,
        }
    }
    Ok(if is_readable { member.open.contains_key(&group) } else { is_named })
}
