//! Every role in processes of its own, two of each, over Kafka: what holds for one process holds for many, whatever is
//! killed, and with a Postgres that crashes in the middle.

use crate::blows::Blow;
use crate::crash::Ordeal;
use crate::opt_out_race::{self, Race, opt_outs, slow_server};
use e2e::{Broker, Random, Settings, Smtp, Stack};

/// Two processes of each. The front answers REST and takes imports.
const ROLES: [&str; 5] = ["sequencer", "relay", "projector", "scheduler", "sender"];

#[tokio::test]
async fn ten_kills_lose_and_repeat_nobody() {
    let mut random = Random::from_environment("many_processes");
    let smtp = Smtp::start(slow_server()).await;
    let Some(brokers) = Broker::start_three() else { return };
    let ordeal = Ordeal {
        readers: 3_000,
        page_size: 15,
        freezing: &["scheduler-1", "projector-1", "scheduler-2"].map(Blow::Replace),
        sending: &[
            Blow::Replace("sender-1"),
            Blow::KillNode(&brokers, 2),
            Blow::Replace("sender-2"),
            Blow::CutConnections,
            Blow::Replace("relay-1"),
            Blow::CrashPostgres,
            Blow::Replace("sequencer-1"),
            Blow::Replace("projector-2"),
            Blow::Replace("relay-2"),
            Blow::Replace("front"),
        ],
    };
    // So slow that the blows come while there is work.
    let settings = ordeal
        .settings(&smtp)
        .set("kafka.replication_factor", 3)
        .set("outbox.messages_per_second", 50)
        .set("smtp.connections", 4);
    let Some(mut stack) = two_of_each(settings, &brokers).await else { return };
    let draft = ordeal.draft(&stack).await;
    ordeal.is_survived_over_outbox(&mut stack, &draft, &mut random).await;
    brokers.start_node(2);
    ordeal.is_survived_over_smtp(&mut stack, &smtp, &draft, &mut random).await;
}

#[tokio::test]
async fn no_mail_starts_after_its_reader_s_opt_out_was_acknowledged() {
    let mut random = Random::from_environment("many_processes");
    let smtp = Smtp::start(slow_server()).await;
    let Some(broker) = Broker::start() else { return };
    let settings = opt_out_race::settings(&smtp).set("send.page_size", 100);
    let Some(mut stack) = two_of_each(settings, &broker).await else { return };
    let race = Race {
        opt_outs: opt_outs(1_000),
        blows: &[
            (10, Blow::Freeze("sender-1")),
            (15, Blow::Kill("projector-1")),
            (15, Blow::Kill("projector-2")),
            (25, Blow::Replace("relay-1")),
            (40, Blow::CrashPostgres),
            (50, Blow::Replace("scheduler-1")),
            (55, Blow::Freeze("sender-2")),
            (65, Blow::Start("projector-1")),
            (65, Blow::Start("projector-2")),
            (80, Blow::Freeze("sender-1")),
        ],
    };
    race.is_won(&mut stack, &smtp, &mut random).await;
}

async fn two_of_each(settings: Settings, brokers: &Broker) -> Option<Stack> {
    let settings = settings.set("kafka.brokers", &brokers.address).set("kafka.partitions", 8);
    let mut stack = Stack::prepare_with_postgres(settings).await?;
    stack.serve("front", "api,importer").await;
    for role in ROLES {
        for number in 1..=2 {
            stack.serve(&format!("{role}-{number}"), role).await;
        }
    }
    stack.ready().await;
    Some(stack)
}
