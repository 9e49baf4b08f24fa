//! What an operator is told.

use crate::brokers::{Brokers, PARTITIONS};
use crate::log::{append, caught_up};
use crate::picky::group;
use crate::stage::{carry, relay};
use kafka::check;
use projections::all;
use sqlx::PgPool;
use uuid::Uuid;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_stack_that_works_has_nothing_wrong_and_one_that_does_not_is_told(pool: PgPool) {
    let Some(brokers) = Brokers::real() else { return };
    let (topics, models) = (brokers.topics(PARTITIONS), all());
    append(&pool, &group(Uuid::from_u128(1), &["a", "b"])).await;
    let now = eventstore::clock::now;
    let wrong = check(&pool, &topics, &models, now()).await.unwrap().wrong.join("\n");
    for part in ["group is missing", "no relay is at work", ".campaigns"] {
        assert!(wrong.contains(part), "{part} in {wrong}");
    }
    let relaying = relay(&pool, brokers.topics(PARTITIONS));
    let carrying = carry(pool.clone(), brokers.topics(PARTITIONS), models.clone());
    caught_up(&pool, &models).await;
    crate::stage::eventually("all is well", async || {
        let report = check(&pool, &topics, &models, now()).await.unwrap();
        report.wrong.is_empty().then_some(())
    })
    .await;
    let found = check(&pool, &topics, &models, now()).await.unwrap().found.join("\n");
    for part in
        ["broker 1 at ", "3 partitions, 1 replicas", "up to 2 of 2, 0 to go", "Stable, 1 members, 0 events"]
    {
        assert!(found.contains(part), "{part} in {found}");
    }
    let wrong = check(&pool, &brokers.topics(PARTITIONS + 1), &models, now()).await.unwrap().wrong.join("\n");
    assert!(wrong.contains("has 3 of 4 partitions"), "{wrong}");
    carrying.stop().await.unwrap();
    relaying.stop().await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn brokers_that_do_not_answer_are_told(pool: PgPool) {
    let mut config = Brokers::mock().config(PARTITIONS);
    config.brokers = "127.0.0.1:1".into();
    let topics = kafka::Topics::new(config).unwrap();
    let report = check(&pool, &topics, &[], eventstore::clock::now()).await.unwrap();
    let wrong = report.wrong.join("\n");
    assert!(wrong.contains("no broker of 127.0.0.1:1 answers") && wrong.contains("refused"), "{wrong}");
}
