//! A projection that refuses what it is told to refuse.

use crate::log::{Stored, stored};
use async_trait::async_trait;
use domain::group::{Group, GroupEvent};
use eventstore::LogEvent;
use projections::{ApplyError, Projection};
use sqlx::{PgConnection, PgPool};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// Keeps the sequences of each group's events in order. Refuses names that are in `refused`; the database itself
/// refuses the name `forbidden`. Its first `failures` calls meet a database that went away.
#[derive(Default)]
pub struct Picky {
    pub refused: Mutex<BTreeSet<String>>,
    pub failures: AtomicU32,
    pub calls: AtomicU32,
}

impl Picky {
    pub async fn create(pool: &PgPool, refused: &[&str]) -> Arc<Self> {
        sqlx::query(
            "CREATE TABLE picky (
                 stream text, sequence bigint, name text CONSTRAINT allowed_name CHECK (name <> 'forbidden'),
                 seen bigserial, PRIMARY KEY (stream, sequence))",
        )
        .execute(pool)
        .await
        .unwrap();
        let refused = refused.iter().map(|name| (*name).to_owned()).collect();
        Arc::new(Self { refused: Mutex::new(refused), ..Self::default() })
    }

    pub fn allow_everything(&self) {
        self.refused.lock().unwrap().clear();
    }

    fn refuses(&self, name: &str) -> bool {
        self.refused.lock().unwrap().contains(name)
    }
}

#[async_trait]
impl Projection for Picky {
    fn name(&self) -> &'static str {
        "picky"
    }

    fn types(&self) -> &'static [&'static str] {
        &["group"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["picky"]
    }

    async fn apply(&self, tx: &mut PgConnection, events: &[LogEvent]) -> Result<(), ApplyError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        for event in events {
            let name =
                event.payload.pointer("/GroupCreated/name").or(event.payload.pointer("/GroupChanged/name"));
            let name = name.and_then(|name| name.as_str()).unwrap_or_default();
            sqlx::query("INSERT INTO picky (stream, sequence, name) VALUES ($1, $2, $3)")
                .bind(&event.aggregate_id)
                .bind(event.sequence)
                .bind(name)
                .execute(&mut *tx)
                .await?;
            if self.refuses(name) {
                return Err(ApplyError::event(event, "it is refused"));
            }
        }
        let goes_away = |left: u32| left.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, goes_away).is_ok() {
            return Err(sqlx::Error::WorkerCrashed.into());
        }
        Ok(())
    }
}

/// The first events of one group, by their names.
pub fn group(id: Uuid, names: &[&str]) -> Vec<Stored> {
    (1..)
        .zip(names)
        .map(|(sequence, name)| {
            let (name, description) = ((*name).to_owned(), String::new());
            let event = match sequence {
                1 => GroupEvent::Created { name, description },
                _ => GroupEvent::Changed { name, description },
            };
            stored::<Group>(id, sequence, &event)
        })
        .collect()
}

/// What the projection kept of one group, in the order in which it saw it.
pub async fn kept(pool: &PgPool, id: Uuid) -> Vec<i64> {
    sqlx::query_scalar("SELECT sequence FROM picky WHERE stream = $1 ORDER BY seen")
        .bind(id.to_string())
        .fetch_all(pool)
        .await
        .unwrap()
}
