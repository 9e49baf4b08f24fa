//! How far a projection has come, slot by slot: the truth about it on every carrier.

use crate::{ConsumeError, Projection};
use chrono::{DateTime, Utc};
use eventstore::LogEvent;
use sqlx::{PgConnection, PgPool};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// Slots of each aggregate type: what the database's `stream_slot` answers is below it.
pub const SLOTS: i16 = 64;

/// What a consumer believes its checkpoints to be.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    epoch: Uuid,
    by_type: HashMap<&'static str, HashMap<i16, i64>>,
}

/// One slot's step, onto an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advance {
    pub aggregate_type: &'static str,
    pub slot: i16,
    /// 0: there is no row yet.
    pub believed: i64,
    pub next: i64,
    aggregate_id: String,
    sequence: i64,
    recorded_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct Row {
    log_epoch: Uuid,
    aggregate_type: Option<String>,
    slot: Option<i16>,
    epoch: Option<Uuid>,
    position: Option<i64>,
}

impl Checkpoints {
    pub async fn load(pool: &PgPool, projection: &dyn Projection) -> Result<Self, ConsumeError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT h.epoch AS log_epoch, c.aggregate_type, c.slot, c.epoch, c.position
             FROM log_epoch h LEFT JOIN checkpoints c ON c.projection = $1",
        )
        .bind(projection.name())
        .fetch_all(pool)
        .await?;
        let log = rows.first().map(|row| row.log_epoch).ok_or(sqlx::Error::RowNotFound)?;
        if let Some(theirs) = rows.iter().filter_map(|row| row.epoch).find(|epoch| *epoch != log) {
            return Err(ConsumeError::ForeignEpoch { projection: projection.name(), theirs, log });
        }
        let mut by_type: HashMap<_, HashMap<_, _>> =
            projection.types().iter().map(|name| (*name, HashMap::new())).collect();
        for row in rows {
            let (Some(name), Some(slot), Some(position)) = (row.aggregate_type, row.slot, row.position)
            else {
                continue;
            };
            if let Some(slots) = by_type.get_mut(name.as_str()) {
                slots.insert(slot, position);
            }
        }
        Ok(Self { epoch: log, by_type })
    }

    pub fn epoch(&self) -> Uuid {
        self.epoch
    }

    /// The position up to which this slot is done; 0 before its first event.
    pub fn get(&self, aggregate_type: &str, slot: i16) -> i64 {
        self.by_type.get(aggregate_type).and_then(|slots| slots.get(&slot)).copied().unwrap_or(0)
    }

    /// The position before the first event that is not done by what is believed: the log's last where all is done.
    ///
    /// It goes by the beliefs and not by the table, which may have moved since: a slot's first row is made only by
    /// who has read the slot from its beginning.
    pub async fn done_up_to(&self, pool: &PgPool) -> Result<i64, sqlx::Error> {
        let slots = || self.by_type.keys().flat_map(|name| (0..SLOTS).map(move |slot| (*name, slot)));
        sqlx::query_scalar(
            "SELECT coalesce(min(n.position) - 1, (SELECT max(position) FROM log), 0)
             FROM unnest($1::text[], $2::smallint[], $3::bigint[]) c (aggregate_type, slot, position)
             CROSS JOIN LATERAL (
                 SELECT l.position FROM log l
                 WHERE l.aggregate_type = c.aggregate_type AND l.slot = c.slot AND l.position > c.position
                 ORDER BY l.position LIMIT 1) n",
        )
        .bind(slots().map(|(name, _)| name).collect::<Vec<_>>())
        .bind(slots().map(|(_, slot)| slot).collect::<Vec<_>>())
        .bind(slots().map(|(name, slot)| self.get(name, slot)).collect::<Vec<_>>())
        .fetch_one(pool)
        .await
    }

    /// Leaves out what was delivered before, sorts the rest by slot and position, and says which steps it makes.
    pub fn take_new(&self, batch: &mut Vec<LogEvent>) -> Vec<Advance> {
        batch.retain(|event| {
            self.by_type.contains_key(event.aggregate_type.as_str())
                && event.position > self.get(&event.aggregate_type, event.slot)
        });
        batch.sort_by(|a, b| {
            (&a.aggregate_type, a.slot, a.position).cmp(&(&b.aggregate_type, b.slot, b.position))
        });
        batch.dedup_by_key(|event| event.position);
        let mut steps = BTreeMap::<(&'static str, i16), Advance>::new();
        for event in batch.iter() {
            let Some((&aggregate_type, _)) = self.by_type.get_key_value(event.aggregate_type.as_str()) else {
                continue;
            };
            let believed = self.get(aggregate_type, event.slot);
            let next = event.position;
            let step = Advance {
                aggregate_type,
                slot: event.slot,
                believed,
                next,
                aggregate_id: event.aggregate_id.clone(),
                sequence: event.sequence,
                recorded_at: event.recorded_at,
            };
            steps.insert((aggregate_type, event.slot), step);
        }
        steps.into_values().collect()
    }

    /// Makes the steps in the caller's transaction, and holds these rows until its end. False where any of the
    /// checkpoints is not what was believed (another consumer was first), or where the log does not have that very event at
    /// that position: it was carried here from a history that a restore has ended.
    ///
    /// Rows are taken in the order of their keys, so that two consumers never wait for each other in a circle.
    pub async fn advance(
        &self,
        tx: &mut PgConnection,
        projection: &str,
        steps: &[Advance],
    ) -> Result<bool, sqlx::Error> {
        let (first, further): (Vec<&Advance>, Vec<&Advance>) =
            steps.iter().partition(|step| step.believed == 0);
        Ok(self.make(tx, projection, &first, INSERT).await?
            && self.make(tx, projection, &further, UPDATE).await?)
    }

    async fn make(
        &self,
        tx: &mut PgConnection,
        projection: &str,
        steps: &[&Advance],
        statement: &str,
    ) -> Result<bool, sqlx::Error> {
        if steps.is_empty() {
            return Ok(true);
        }
        let made = sqlx::query(statement)
            .bind(projection)
            .bind(self.epoch)
            .bind(steps.iter().map(|step| step.aggregate_type).collect::<Vec<_>>())
            .bind(steps.iter().map(|step| step.slot).collect::<Vec<_>>())
            .bind(steps.iter().map(|step| step.believed).collect::<Vec<_>>())
            .bind(steps.iter().map(|step| step.next).collect::<Vec<_>>())
            .bind(steps.iter().map(|step| step.aggregate_id.as_str()).collect::<Vec<_>>())
            .bind(steps.iter().map(|step| step.sequence).collect::<Vec<_>>())
            .bind(steps.iter().map(|step| step.recorded_at).collect::<Vec<_>>())
            .execute(tx)
            .await?;
        Ok(made.rows_affected() == steps.len() as u64)
    }

    /// The steps were committed.
    pub fn accept(&mut self, steps: &[Advance]) {
        for step in steps {
            self.by_type.entry(step.aggregate_type).or_default().insert(step.slot, step.next);
        }
    }
}

/// A row that another consumer makes meanwhile is waited for, and then left as it is. None is made for an epoch that is over.
const INSERT: &str = "
    INSERT INTO checkpoints (projection, aggregate_type, slot, epoch, position)
    SELECT $1, s.aggregate_type, s.slot, $2, s.next
    FROM unnest($3::text[], $4::smallint[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::timestamptz[])
        s (aggregate_type, slot, believed, next, aggregate_id, sequence, recorded_at)
    WHERE $2 = (SELECT epoch FROM log_epoch)
        AND log_has(s.next, s.aggregate_type, s.aggregate_id, s.sequence, s.recorded_at)
    ORDER BY s.aggregate_type, s.slot
    ON CONFLICT DO NOTHING";

const UPDATE: &str = "
    UPDATE checkpoints c SET position = s.next
    FROM (SELECT c.aggregate_type, c.slot, s.next
          FROM checkpoints c
          JOIN unnest($3::text[], $4::smallint[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::timestamptz[])
              s (aggregate_type, slot, believed, next, aggregate_id, sequence, recorded_at)
              ON c.aggregate_type = s.aggregate_type AND c.slot = s.slot AND c.position = s.believed
          WHERE c.projection = $1 AND c.epoch = $2
              AND log_has(s.next, s.aggregate_type, s.aggregate_id, s.sequence, s.recorded_at)
          ORDER BY c.aggregate_type, c.slot
          FOR UPDATE OF c) s
    WHERE c.projection = $1 AND c.aggregate_type = s.aggregate_type AND c.slot = s.slot";
