//! What was recorded, read from the events: the only truth to hold a ledger against.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Json;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

pub struct Trail {
    pool: PgPool,
}

#[derive(Debug, sqlx::FromRow)]
pub struct Event {
    pub aggregate_id: String,
    pub event_type: String,
    pub payload: Json<Value>,
    pub recorded_at: DateTime<Utc>,
}

impl Event {
    /// What is below the event's name.
    pub fn body(&self) -> &Value {
        &self.payload[&self.event_type]
    }
}

/// What happened to one dispatch.
#[derive(Debug)]
pub struct DispatchTrail {
    pub id: Uuid,
    pub page: u64,
    pub recipients: Vec<Uuid>,
    pub permits: Vec<Permit>,
    /// Readers whose hand-over was found to have begun too late: recorded as such, and counted apart.
    pub late: HashSet<Uuid>,
}

/// Leave to send to some recipients, from its authorization to its settlement.
#[derive(Debug)]
pub struct Permit {
    pub id: Uuid,
    pub recipients: Vec<Uuid>,
    pub authorized_at: DateTime<Utc>,
    pub settled_at: Option<DateTime<Utc>>,
}

impl Trail {
    pub fn new(pool: &PgPool) -> Self {
        Self { pool: pool.clone() }
    }

    pub async fn stream(&self, aggregate_type: &str, id: Uuid) -> Vec<Event> {
        sqlx::query_as(
            "SELECT aggregate_id, event_type, payload, recorded_at FROM events
             WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence",
        )
        .bind(aggregate_type)
        .bind(id.to_string())
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }

    /// The names of a campaign's own events, in order.
    pub async fn campaign(&self, id: Uuid) -> Vec<String> {
        self.stream("campaign", id).await.into_iter().map(|event| event.event_type).collect()
    }

    /// By page.
    pub async fn dispatches(&self, campaign: Uuid) -> Vec<DispatchTrail> {
        let events: Vec<Event> = sqlx::query_as(
            "SELECT e.aggregate_id, e.event_type, e.payload, e.recorded_at FROM events e
             WHERE e.aggregate_type = 'dispatch' AND e.aggregate_id IN (
                 SELECT p.aggregate_id FROM events p
                 WHERE p.aggregate_type = 'dispatch' AND p.sequence = 1
                   AND p.payload -> 'DispatchPlanned' ->> 'campaign_id' = $1)
             ORDER BY e.aggregate_id, e.sequence",
        )
        .bind(campaign.to_string())
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let mut dispatches: Vec<DispatchTrail> = Vec::new();
        for event in &events {
            match event.event_type.as_str() {
                "DispatchPlanned" => dispatches.push(DispatchTrail::planned(event)),
                _ => dispatches.last_mut().unwrap().follow(event),
            }
        }
        dispatches.sort_by_key(|dispatch| dispatch.page);
        dispatches
    }

    /// Readers for whom a send was authorized behind that event, and the last event seen. A transaction that commits
    /// late may be missed: this is to aim at what happens, not to account for it.
    pub async fn authorized_since(&self, plan: &[DispatchTrail], event: i64) -> (Vec<Uuid>, i64) {
        let rows: Vec<(i64, Uuid, Json<Vec<usize>>)> = sqlx::query_as(
            "SELECT append_id, aggregate_id::uuid, payload -> 'SendAuthorized' -> 'recipients' FROM events
             WHERE append_id > $1 AND event_type = 'SendAuthorized' ORDER BY append_id",
        )
        .bind(event)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let last = rows.last().map_or(event, |(append_id, ..)| *append_id);
        let readers = rows.iter().flat_map(|(_, id, indexes)| {
            let dispatch = plan.iter().find(|dispatch| dispatch.id == *id);
            indexes.iter().filter_map(move |index| dispatch.map(|dispatch| dispatch.recipients[*index]))
        });
        (readers.collect(), last)
    }

    /// Permits that are open now, with the number of their recipients.
    pub async fn open_permits(&self) -> HashMap<Uuid, u64> {
        let rows: Vec<(Uuid, i32)> = sqlx::query_as("SELECT permit_id, cardinality(readers) FROM permits")
            .fetch_all(&self.pool)
            .await
            .unwrap();
        rows.into_iter().map(|(permit, recipients)| (permit, recipients.cast_unsigned().into())).collect()
    }

    /// Pages that a campaign has been frozen to so far, and its status as senders and schedulers see it.
    pub async fn frozen_pages(&self, campaign: Uuid) -> (i64, String) {
        sqlx::query_as(
            "SELECT (SELECT count(*) FROM dispatch_work w WHERE w.campaign_id = c.campaign_id), c.status
             FROM campaign_gates c WHERE c.campaign_id = $1",
        )
        .bind(campaign)
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }

    /// Recipients who do not wait any more, and the campaign's status.
    pub async fn settled(&self, campaign: Uuid) -> (i64, String) {
        sqlx::query_as(
            "SELECT (SELECT coalesce(sum(recipients - pending), 0) FROM dispatch_work w WHERE w.campaign_id = c.campaign_id),
                 c.status
             FROM campaign_gates c WHERE c.campaign_id = $1",
        )
        .bind(campaign)
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }
}

impl DispatchTrail {
    fn planned(event: &Event) -> Self {
        let body = event.body();
        Self {
            id: event.aggregate_id.parse().unwrap(),
            page: body["page"].as_u64().unwrap(),
            recipients: serde_json::from_value(body["recipients"].clone()).unwrap(),
            permits: Vec::new(),
            late: HashSet::new(),
        }
    }

    fn follow(&mut self, event: &Event) {
        let body = event.body();
        let permit = || body["permit_id"].as_str().unwrap().parse::<Uuid>().unwrap();
        let indexes: Vec<usize> = serde_json::from_value(body["recipients"].clone()).unwrap_or_default();
        let recipients = || indexes.iter().map(|index| self.recipients[*index]);
        match event.event_type.as_str() {
            // Everybody was suppressed: nothing was permitted.
            "SendAuthorized" if indexes.is_empty() => {}
            "SendAuthorized" => self.permits.push(Permit {
                id: permit(),
                recipients: recipients().collect(),
                authorized_at: event.recorded_at,
                settled_at: None,
            }),
            "SendSettled" | "SendReconciled" => {
                let id = permit();
                let permit =
                    self.permits.iter_mut().find(|permit| permit.id == id).expect("an authorized permit");
                permit.settled_at = permit.settled_at.or(Some(event.recorded_at));
            }
            "LateHandover" => self.late = self.late.iter().copied().chain(recipients()).collect(),
            "UnknownReturned" | "DispatchTemplateTaken" | "DispatchCancelled" => {}
            other => panic!("an event that this test does not know: {other}"),
        }
    }

    /// How often a send to this reader was authorized.
    pub fn authorizations(&self, subscriber: Uuid) -> usize {
        self.permits.iter().filter(|permit| permit.recipients.contains(&subscriber)).count()
    }
}
