//! Every role in processes of its own, two of each, over three brokers: processes are killed one after another, a broker
//! as well, and all connections to the database are cut. Nobody is lost, and nobody gets two mails.

use crate::account::Account;
use crate::scene;
use e2e::{Broker, Export, Random, Settings, Stack, eventually};
use std::time::Duration;
use uuid::Uuid;

const READERS: u64 = 6_000;
const PAGE_SIZE: u64 = 100;
const WITHIN: Duration = Duration::from_secs(120);
/// With the outbox, what a dead worker left may be cleared up after 36 s: its longest call.
const ENDS_WITHIN: Duration = Duration::from_secs(300);
/// Two processes of each. The front answers REST and takes imports.
const ROLES: [&str; 5] = ["sequencer", "relay", "projector", "scheduler", "sender"];

#[tokio::test]
async fn two_of_each_role_over_kafka_lose_and_repeat_nobody() {
    let mut random = Random::from_environment("many_processes");
    let Some(brokers) = Broker::start_three() else { return };
    let settings = Settings::new()
        .set("kafka.brokers", &brokers.address)
        .set("kafka.partitions", 8)
        .set("kafka.replication_factor", 3)
        .set("send.page_size", PAGE_SIZE)
        .set("send.chunk_max", 40)
        // So slow that the kills come while there is work.
        .set("outbox.messages_per_second", 150)
        .set("send.window_ms", 500)
        .set("send.margin_ms", 200);
    let mut stack = Stack::prepare(settings).await;
    stack.serve("front", "api,importer").await;
    for role in ROLES {
        for number in 1..=2 {
            stack.serve(&format!("{role}-{number}"), role).await;
        }
    }
    stack.ready().await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", READERS)).await;
    let campaign = api.launch(&draft).await;
    in_freezing(&mut stack, campaign).await;
    in_sending(&mut stack, &brokers, campaign, &mut random).await;

    api.completes(campaign, ENDS_WITHIN).await;
    let account = Account::of(&stack, campaign).await;
    let ledger = account.hand_overs(stack.outbox().handovers());
    account.check_intents(&ledger);
    account.check_once(&ledger);
    println!("many_processes: {:?}", account.report);
    assert_eq!(
        (account.report.planned, account.report.accepted),
        (READERS, READERS),
        "the outbox always tells"
    );
    assert_eq!(ledger.len() as u64, READERS);
}

/// kill -9, and another process of that name and role.
async fn replace(stack: &mut Stack, name: &str) {
    println!("killed: {name}");
    stack.kill(name).await;
    let (role, _) = name.rsplit_once('-').unwrap();
    stack.serve(name, role).await;
}

async fn in_freezing(stack: &mut Stack, campaign: Uuid) {
    let trail = stack.trail();
    eventually("the first pages are frozen", WITHIN, async || {
        (trail.frozen_pages(campaign).await.0 > 2).then_some(())
    })
    .await;
    replace(stack, "scheduler-1").await;
    replace(stack, "projector-1").await;
}

async fn in_sending(stack: &mut Stack, brokers: &Broker, campaign: Uuid, random: &mut Random) {
    let victims = ["sender-1", "relay-1", "sequencer-1", "projector-2", "sender-2", "relay-2"];
    for (turn, victim) in (1_u64..).zip(victims) {
        let at = READERS * (turn * 10 + random.within(0..8)) / 100;
        let trail = stack.trail();
        eventually(&format!("{at} of {READERS} are settled"), WITHIN, async || {
            (trail.settled(campaign).await.0 as u64 >= at).then_some(())
        })
        .await;
        match turn {
            2 => brokers.kill_node(2),
            3 => println!("cut: {} connections", stack.cut_connections().await),
            4 => brokers.start_node(2),
            _ => {}
        }
        replace(stack, victim).await;
    }
    let (settled, _) = stack.trail().settled(campaign).await;
    assert!((settled as u64) < READERS, "the campaign was over before the last kill: nothing was proved");
}
