//! A drill: a backup is made while a campaign sends, life goes on, and the backup is restored. Whatever starts, or goes on
//! running, sends nothing and spoils nothing, and says what to do. Once that is done all goes on.

use crate::rebuild::{MODELS, rows};
use crate::scene;
use e2e::{Broker, Client, Export, Mail, Settings, Smtp, SmtpOptions, Stack, eventually, stays};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

const READERS: u64 = 40;
const WITHIN: Duration = Duration::from_secs(180);
/// For the look of every loop that could send.
const NOTHING_GOES_FOR: Duration = Duration::from_secs(5);
/// More than the history that is lost has, so that the new one has other events at its positions.
const NEW_GROUPS: u32 = 120;

#[derive(Clone, Copy, PartialEq)]
enum Backup {
    /// Into another cluster.
    Dump,
    /// Back into the place of what was there, with every mark of it; processes are stopped meanwhile.
    Files,
    /// The same under processes that run.
    FilesUnderway,
}

#[tokio::test]
async fn a_dump_is_restored() {
    drill(Backup::Dump, None).await;
}

#[tokio::test]
async fn files_are_put_back() {
    drill(Backup::Files, None).await;
}

#[tokio::test]
async fn files_are_put_back_under_running_processes() {
    drill(Backup::FilesUnderway, None).await;
}

#[tokio::test]
async fn a_dump_is_restored_beside_kafka() {
    let Some(broker) = Broker::start() else { return };
    drill(Backup::Dump, Some(&broker)).await;
}

#[tokio::test]
async fn files_are_put_back_beside_kafka() {
    let Some(broker) = Broker::start() else { return };
    drill(Backup::Files, Some(&broker)).await;
}

async fn drill(backup: Backup, broker: Option<&Broker>) {
    let mut smtp = Smtp::start(SmtpOptions::default()).await;
    let mut settings = Settings::new().smtp(&smtp).set("send.unavailable_after_seconds", 600);
    if let Some(broker) = broker {
        settings = settings.set("kafka.brokers", &broker.address).set("kafka.partitions", 2);
    }
    let Some(mut stack) = Stack::prepare_with_postgres(settings).await else { return };
    stack.serve("server", "").await;
    stack.ready().await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", READERS)).await;
    // It sends, and nothing is taken: the backup has every mail before it.
    smtp.kill();
    let campaign = api.launch(&draft).await;
    api.reaches(campaign, "sending", WITHIN).await;
    let dump = match backup {
        Backup::Dump => Some(stack.dump()),
        Backup::Files | Backup::FilesUnderway => {
            stack.save_files().await;
            None
        }
    };
    smtp.start_again().await;
    api.completes(campaign, WITHIN).await;
    assert_eq!(stopped(&api).await, None, "a restart of Postgres stops nothing");
    api.group("Lost").await;
    api.caught_up(WITHIN).await;
    let sent = smtp.count();
    assert_eq!(sent as u64, READERS);

    if backup != Backup::FilesUnderway {
        stack.terminate("server", Duration::from_secs(40)).await;
    }
    if let Some(broker) = broker {
        // Members that had not read the end yet, or whose offsets are gone, read it now: "to no effect", as is promised.
        let all = ["--all-groups", "--all-topics", "--reset-offsets", "--to-earliest", "--execute"];
        broker.tool(&[&["consumer-groups"], &all[..]].concat());
    }
    match dump {
        Some(dump) => stack.restore_dump(&dump).await,
        None => stack.restore_files().await,
    }
    if backup != Backup::FilesUnderway {
        stack.serve("server", "").await;
    }
    stack.ready().await;
    let reason = if backup == Backup::Dump { "another_cluster" } else { "log_went_back" };
    eventually("sending is off", WITHIN, async || {
        (stopped(&api).await.as_deref() == Some(reason)).then_some(())
    })
    .await;
    let link = Mail::read(&smtp.handovers()[0].file).one_click_link();
    api.one_click(&link).await.expect(200);
    for number in 0..NEW_GROUPS {
        api.group(&format!("New {number}")).await;
    }
    stays("nothing is sent", NOTHING_GOES_FOR, async || smtp.count() == sent).await;
    refuses(&stack, &["sending", "status"], "postledger restored");
    refuses(&stack, &["sending", "resume"], "postledger restored");
    if broker.is_some() {
        refuses(&stack, &["kafka", "check"], "restored");
    }

    let before = epoch(&stack).await;
    stack.operate(&["restored", "--yes"]);
    let after = epoch(&stack).await;
    assert_ne!(after, before);
    assert!(stack.operate(&["restored", "--yes"]).contains("marked already"));
    assert_eq!(epoch(&stack).await, after);
    // Positions of the lost history are of no use any more, as the old client is told.
    let api = stack.client();
    api.caught_up(WITHIN).await;
    assert_eq!(stopped(&api).await.as_deref(), Some("restored"));
    equals_a_rebuild(&mut stack).await;
    stack.serve("server", "").await;
    stack.ready().await;
    stays("nothing is sent", NOTHING_GOES_FOR, async || smtp.count() == sent).await;
    stack.operate(&["sending", "resume"]);
    let report = api.completes(campaign, WITHIN).await;
    assert_eq!((report.accepted, report.suppressed), (READERS - 1, 1), "{report:?}");
    api.caught_up(WITHIN).await;
    if broker.is_some() {
        eventually("Kafka is well", WITHIN, async || {
            stack.try_operate(&["kafka", "check"]).status.success().then_some(())
        })
        .await;
    }
    equals_a_rebuild(&mut stack).await;
}

/// To a standby that lacks nothing, under running processes: an operator says so, and what was under way goes on.
#[tokio::test]
async fn a_failover_is_confirmed() {
    let mut smtp = Smtp::start(SmtpOptions::default()).await;
    let settings = Settings::new().smtp(&smtp).set("send.unavailable_after_seconds", 600);
    let Some(mut stack) = Stack::prepare_with_postgres(settings).await else { return };
    stack.serve("server", "").await;
    stack.ready().await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", READERS)).await;
    smtp.kill();
    let campaign = api.launch(&draft).await;
    api.reaches(campaign, "sending", WITHIN).await;
    stack.fail_over().await;
    smtp.start_again().await;
    stack.ready().await;
    eventually("sending is off", WITHIN, async || {
        (stopped(&api).await.as_deref() == Some("another_timeline")).then_some(())
    })
    .await;
    api.group("Made since").await;
    stays("nothing is sent", NOTHING_GOES_FOR, async || smtp.count() == 0).await;
    refuses(&stack, &["sending", "resume"], "postledger failover-confirmed");
    let before = epoch(&stack).await;
    assert!(stack.operate(&["failover-confirmed", "--yes"]).contains("confirmed: mails go"));
    assert_eq!(epoch(&stack).await, before);
    let report = api.completes(campaign, WITHIN).await;
    assert_eq!(report.accepted, READERS, "{report:?}");
    equals_a_rebuild(&mut stack).await;
}

async fn equals_a_rebuild(stack: &mut Stack) {
    stack.terminate("server", Duration::from_secs(40)).await;
    for model in MODELS {
        let live = rows(stack, model).await;
        stack.operate(&["rebuild", model]);
        assert_eq!(rows(stack, model).await, live, "{model} is not what the log says");
    }
}

async fn stopped(api: &Client) -> Option<String> {
    let ready: Value = api.get("/health/ready").await;
    ready["sending_stopped"]["reason"].as_str().map(str::to_owned)
}

/// An operator is told what to do.
fn refuses(stack: &Stack, arguments: &[&str], words: &str) {
    let output = stack.try_operate(arguments);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!output.status.success() && said.contains(words), "{arguments:?}: {said}");
}

async fn epoch(stack: &Stack) -> Uuid {
    sqlx::query_scalar("SELECT epoch FROM log_epoch").fetch_one(stack.pool()).await.unwrap()
}
