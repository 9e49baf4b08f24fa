//! Gates that are set and claimed in one append are locked in one order.

use crate::imports::support::{commands, context, id_in};
use commands::{CommandError, Commands, NewSubscriber, SubscriberPatch};
use domain::SubscriberId;
use domain::consent::Consent;
use sqlx::PgPool;
use std::collections::BTreeMap;

const TRIES: usize = 40;

async fn add(commands: &Commands, email: &str) -> SubscriberId {
    let new = NewSubscriber {
        email: email.into(),
        name: None,
        attributes: BTreeMap::new(),
        groups: vec![],
        consent: Consent { source: "form".into(), wording_version: None, given_at: None, given_from: None },
    };
    id_in(&commands.add_subscriber(&context(), new).await.unwrap(), "subscriber_id")
}

async fn takes(commands: &Commands, who: SubscriberId, email: &str) -> Result<(), CommandError> {
    let patch = SubscriberPatch { email: Some(email.into()), ..SubscriberPatch::default() };
    commands.change_subscriber(&context(), who, patch).await.map(drop)
}

/// Two people who want each other's address: both are refused, and neither waits for the other in a circle.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn two_who_want_each_others_address_do_not_deadlock(pool: PgPool) {
    let commands = commands(&pool);
    for n in 0..TRIES {
        let (one, other) = (format!("a{n}@example.com"), format!("b{n}@example.com"));
        let (ana, ben) = (add(&commands, &one).await, add(&commands, &other).await);
        let (a, b) = tokio::join!(takes(&commands, ana, &other), takes(&commands, ben, &one));
        assert!(a.is_err() && b.is_err(), "{a:?} {b:?}");
    }
    // A session tells of it at the end of its transaction.
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(&pool).await.unwrap();
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let deadlocks: i64 = sqlx::query_scalar(deadlocks).fetch_one(&pool).await.unwrap();
    assert_eq!(deadlocks, 0);
}
