//! From the log into the topics.

use crate::brokers::{Brokers, PARTITIONS, epoch};
use crate::log::append;
use crate::stage::{eventually, relay, relayed};
use crate::world::{World, fresh_seed};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use sqlx::PgPool;
use std::time::{Duration, Instant};

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_topics_hold_the_log_in_order(pool: PgPool) {
    let brokers = Brokers::start();
    brokers.make_topics(&pool).await;
    let mut world = World::new(fresh_seed());
    append(&pool, &world.history(100).await).await;
    let relaying = relay(&pool, brokers.topics(PARTITIONS));
    append(&pool, &world.history(300).await).await;
    let head = relayed(&pool).await;
    relaying.stop().await;
    let mut records = brokers.records(epoch(&pool).await);
    records.sort_unstable();
    assert_eq!(records, (1..=head).collect::<Vec<_>>(), "each once");
}

/// Of two, one works; when its session with the database ends, the other goes on where it was.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn another_relay_takes_over_and_acknowledgements_never_go_back(pool: PgPool) {
    let brokers = Brokers::start();
    brokers.make_topics(&pool).await;
    let mut world = World::new(fresh_seed());
    let relays = [1, 2].map(|_| relay(&pool, brokers.topics(PARTITIONS)));
    let mut acknowledged = 0;
    for _ in 0..3 {
        append(&pool, &world.history(100).await).await;
        let now = relayed(&pool).await;
        assert!(now > acknowledged);
        acknowledged = now;
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'postledger relay'";
        let cut: Vec<bool> = sqlx::query_scalar(cut).fetch_all(&pool).await.unwrap();
        assert_eq!(cut, [true], "one is at work");
        eventually("a relay is at work again", async || {
            let holders = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity USING (pid)
                           WHERE locktype = 'advisory' AND datname = current_database()";
            (sqlx::query_scalar::<_, i64>(holders).fetch_one(&pool).await.unwrap() == 1).then_some(())
        })
        .await;
    }
    for relaying in relays {
        relaying.stop().await;
    }
    assert_eq!(brokers.positions(epoch(&pool).await), (1..=acknowledged).collect());
}

/// On the mock, which can be told to refuse.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_the_brokers_refuse_is_sent_again_and_not_acknowledged_before(pool: PgPool) {
    let brokers = Brokers::mock();
    brokers.make_topics(&pool).await;
    let mut world = World::new(fresh_seed());
    append(&pool, &world.history(200).await).await;
    refuse(brokers.mock.as_ref().unwrap(), 8);
    let relaying = relay(&pool, brokers.topics(PARTITIONS));
    let head = relayed(&pool).await;
    relaying.stop().await;
    let records = brokers.records(epoch(&pool).await);
    let distinct: std::collections::BTreeSet<i64> = records.iter().copied().collect();
    assert_eq!(distinct, (1..=head).collect(), "acknowledged means there");
}

fn refuse(mock: &MockCluster<'_, rdkafka::producer::DefaultProducerContext>, times: usize) {
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    mock.request_errors(RDKafkaApiKey::Produce, &vec![refused; times]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn it_stops_in_time_while_no_broker_answers(pool: PgPool) {
    let brokers = Brokers::mock();
    brokers.make_topics(&pool).await;
    let mut world = World::new(fresh_seed());
    let relaying = relay(&pool, brokers.topics(PARTITIONS));
    append(&pool, &world.history(50).await).await;
    relayed(&pool).await;
    brokers.mock.as_ref().unwrap().broker_down(1).unwrap();
    append(&pool, &world.history(50).await).await;
    let began = Instant::now();
    relaying.stop().await;
    assert!(began.elapsed() < Duration::from_secs(15), "it took {:?}", began.elapsed());
}
