//! The outbox in a real directory.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use futures::{StreamExt, future, stream};
use tokio_util::sync::CancellationToken;
use workers::mailers::outbox::file_name;
use workers::mailers::{Mailer, Outbox, OutboxConfig, OutboxIndex, Outcome, Outgoing, Reconciled};

use crate::support::{TempDir, open_window, outgoing, passed_window, until};

fn open(dir: &TempDir) -> Outbox {
    Outbox::open(&OutboxConfig { dir: dir.path().join("outbox"), ..OutboxConfig::default() }).unwrap()
}

fn path(dir: &TempDir, message: &Outgoing) -> PathBuf {
    let name = file_name(message.dispatch, message.subscriber, message.attempt);
    dir.path().join("outbox").join(name)
}

fn ada() -> Outgoing {
    outgoing(7, "ada@example.org")
}

fn accepted(message: &Outgoing) -> Outcome {
    let name = file_name(message.dispatch, message.subscriber, message.attempt);
    Outcome::Accepted { provider_id: Some(name), late: false }
}

async fn reconcile(outbox: &Outbox, message: &Outgoing) -> Reconciled {
    outbox.reconcile(message.dispatch, message.subscriber, message.attempt).await
}

fn temporary_files(dir: &TempDir) -> usize {
    fs::read_dir(dir.path().join("outbox/tmp")).unwrap().count()
}

#[tokio::test]
async fn an_accepted_message_is_one_whole_file() {
    let dir = TempDir::new();
    let outbox = open(&dir);
    outbox.prepare(1).await.unwrap();
    assert_eq!(outbox.hand_over(&ada(), &open_window()).await, accepted(&ada()));
    outbox.settle_barrier().await.unwrap();
    assert_eq!(fs::read(path(&dir, &ada())).unwrap(), ada().message);
    assert_eq!(temporary_files(&dir), 0);
}

#[tokio::test]
async fn the_same_attempt_is_accepted_again_and_kept_once() {
    let dir = TempDir::new();
    let outbox = open(&dir);
    let again = Outgoing { message: b"Subject: other\r\n\r\n".to_vec(), ..ada() };
    assert_eq!(outbox.hand_over(&ada(), &open_window()).await, accepted(&ada()));
    assert_eq!(outbox.hand_over(&again, &open_window()).await, accepted(&ada()));
    assert_eq!(fs::read(path(&dir, &ada())).unwrap(), ada().message);
}

#[tokio::test]
async fn nothing_is_linked_after_the_window() {
    let dir = TempDir::new();
    let outbox = open(&dir);
    assert_eq!(outbox.hand_over(&ada(), &passed_window().await).await, Outcome::NotStarted);
    assert!(!path(&dir, &ada()).exists());
}

#[tokio::test]
async fn a_tombstoned_attempt_never_starts_and_the_next_one_does() {
    let dir = TempDir::new();
    let outbox = open(&dir);
    assert_eq!(reconcile(&outbox, &ada()).await, Reconciled::NeverHandedOver);
    assert_eq!(outbox.hand_over(&ada(), &open_window()).await, Outcome::NotStarted);
    assert_eq!(reconcile(&outbox, &ada()).await, Reconciled::NeverHandedOver);
    let next = Outgoing { attempt: 2, ..ada() };
    assert_eq!(outbox.hand_over(&next, &open_window()).await, accepted(&next));
    assert_eq!(temporary_files(&dir), 0);
}

#[tokio::test]
async fn a_message_that_is_there_was_accepted_even_if_it_was_emptied() {
    let dir = TempDir::new();
    let outbox = open(&dir);
    outbox.hand_over(&ada(), &open_window()).await;
    assert_eq!(reconcile(&outbox, &ada()).await, Reconciled::Accepted);
    File::create(path(&dir, &ada())).unwrap();
    assert_eq!(reconcile(&outbox, &ada()).await, Reconciled::Accepted);
    assert_eq!(outbox.hand_over(&ada(), &open_window()).await, accepted(&ada()));
    assert_eq!(fs::read(path(&dir, &ada())).unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_and_its_reconciliation_have_one_winner() {
    let dir = TempDir::new();
    // Two of them, as two processes would have.
    let (sender, reconciler) = (open(&dir), open(&dir));
    for number in 0..200 {
        let message = outgoing(number, "ada@example.org");
        let window = open_window();
        let (outcome, reconciled) =
            future::join(sender.hand_over(&message, &window), reconcile(&reconciler, &message)).await;
        let expected = match reconciled {
            Reconciled::Accepted => accepted(&message),
            Reconciled::NeverHandedOver => Outcome::NotStarted,
            Reconciled::Unknown => panic!("the outbox always knows"),
        };
        assert_eq!(outcome, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_never_seen_in_part() {
    let dir = TempDir::new();
    let outbox = open(&dir);
    let content = "Subject: a\r\n\r\n".to_owned() + &"x\r\n".repeat(50_000);
    let (whole, done) = (content.len() as u64, Arc::new(AtomicBool::new(false)));
    let (watched, watching) = (dir.path().join("outbox"), Arc::clone(&done));
    let watcher = std::thread::spawn(move || {
        while !watching.load(Ordering::Relaxed) {
            for file in fs::read_dir(&watched).unwrap().map(Result::unwrap) {
                let is_message = file.path().extension().is_some_and(|extension| extension == "eml");
                assert!(!is_message || file.metadata().unwrap().len() == whole);
            }
        }
    });
    let outbox = &outbox;
    stream::iter(0..100)
        .map(|number| Outgoing {
            message: content.clone().into_bytes(),
            ..outgoing(number, "ada@example.org")
        })
        .for_each_concurrent(outbox.concurrency(), |message| async move {
            assert_eq!(outbox.hand_over(&message, &open_window()).await, accepted(&message));
        })
        .await;
    done.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
}

#[tokio::test]
async fn a_directory_that_can_not_be_written_defers() {
    let dir = TempDir::new();
    let outbox = open(&dir);
    let tmp = dir.path().join("outbox/tmp");
    fs::remove_dir_all(&tmp).unwrap();
    File::create(&tmp).unwrap();
    assert!(outbox.prepare(1).await.is_err());
    assert_eq!(outbox.hand_over(&ada(), &open_window()).await, Outcome::Deferred { code: None });
    assert_eq!(reconcile(&outbox, &ada()).await, Reconciled::Unknown);
    assert!(!path(&dir, &ada()).exists());
}

#[tokio::test]
async fn only_abandoned_temporary_files_are_removed() {
    let dir = TempDir::new();
    drop(open(&dir));
    let tmp = dir.path().join("outbox/tmp");
    let (old, young, foreign) = (tmp.join("old.tmp"), tmp.join("young.tmp"), tmp.join("notes.txt"));
    for path in [&old, &young, &foreign] {
        File::create(path).unwrap();
    }
    for path in [&old, &foreign] {
        File::options().write(true).open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    open(&dir);
    assert!(!old.exists() && young.exists() && foreign.exists());
}

#[tokio::test]
async fn the_index_shows_messages_and_forgets_emptied_ones() {
    let dir = TempDir::new();
    let outbox = open(&dir);
    let shutdown = CancellationToken::new();
    let index = OutboxIndex::spawn(&outbox, shutdown.clone());
    let page = || fs::read_to_string(dir.path().join("outbox/index.html")).unwrap_or_default();
    until("an empty page", || page().contains("No messages yet")).await;

    let tombstoned = Outgoing { attempt: 9, ..ada() };
    reconcile(&outbox, &tombstoned).await;
    outbox.hand_over(&ada(), &open_window()).await;
    until("the message is shown", || page().contains("ada@example.org")).await;
    assert!(page().contains("1 message<") && page().contains("Message 7"));

    outbox.forget(&HashSet::from([ada().subscriber])).await.unwrap();
    until("the emptied message is forgotten", || !page().contains("ada@example.org")).await;

    outbox.hand_over(&outgoing(8, "eve@example.org"), &open_window()).await;
    shutdown.cancel();
    index.await.unwrap();
    assert!(page().contains("eve@example.org"), "the page is written once more at shutdown");
}

#[tokio::test]
async fn the_index_is_bounded() {
    let dir = TempDir::new();
    let outbox = open(&dir);
    let window = &open_window();
    stream::iter(0..203)
        .for_each_concurrent(16, |number| {
            let (outbox, message) = (&outbox, outgoing(number, "ada@example.org"));
            async move { assert_eq!(outbox.hand_over(&message, window).await, accepted(&message)) }
        })
        .await;
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    OutboxIndex::spawn(&outbox, shutdown).await.unwrap();
    let page = fs::read_to_string(dir.path().join("outbox/index.html")).unwrap();
    assert!(page.contains("Newest 200 of 203 messages"));
    assert_eq!(page.matches("<li>").count(), 200);
}

/// What it proves stays: which attempts were handed over, and which never will be.
#[tokio::test]
async fn what_is_forgotten_is_empty_and_still_accounted_for() {
    let dir = TempDir::new();
    let outbox = open(&dir);
    let (again, closed) = (Outgoing { attempt: 2, ..ada() }, Outgoing { attempt: 3, ..ada() });
    let eve = outgoing(8, "eve@example.org");
    for message in [&ada(), &again, &eve] {
        outbox.hand_over(message, &open_window()).await;
    }
    reconcile(&outbox, &closed).await;
    let written = fs::metadata(path(&dir, &ada())).unwrap().modified().unwrap();

    for _ in 0..2 {
        outbox.forget(&HashSet::from([ada().subscriber])).await.unwrap();
        for message in [&ada(), &again] {
            assert_eq!(fs::metadata(path(&dir, message)).unwrap().len(), 0);
            assert_eq!(reconcile(&outbox, message).await, Reconciled::Accepted);
        }
        assert_eq!(outbox.hand_over(&closed, &open_window()).await, Outcome::NotStarted);
        assert_eq!(fs::read(path(&dir, &eve)).unwrap(), eve.message);
    }
    assert_eq!(fs::metadata(path(&dir, &ada())).unwrap().modified().unwrap(), written);
}

/// A process that dies with a mail or with the index half made leaves either below `tmp/`.
#[tokio::test]
async fn what_a_dead_process_left_is_forgotten_too() {
    let dir = TempDir::new();
    let outbox = open(&dir);
    let eve = outgoing(8, "eve@example.org");
    let name = |message: &Outgoing| file_name(message.dispatch, message.subscriber, message.attempt);
    let left = |name: &str, content: &str| {
        let path = dir.path().join("outbox/tmp").join(format!("1-2-3-4.{name}.tmp"));
        fs::write(&path, content).unwrap();
        path
    };
    let (adas, eves) = (left(&name(&ada()), "To: ada@example.org"), left(&name(&eve), "To: eve@example.org"));
    let index = left("index.html", &format!("<li>{} {} ada@example.org</li>", name(&eve), name(&ada())));
    outbox.forget(&HashSet::from([ada().subscriber])).await.unwrap();
    let length = |path: &PathBuf| fs::metadata(path).unwrap().len();
    assert_eq!([length(&adas), length(&index)], [0, 0]);
    assert!(length(&eves) > 0);
}
