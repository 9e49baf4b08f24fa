//! Who waits is woken by what other processes did, and by nothing but a poll where notifications are lost.

use crate::support::*;
use eventstore::News;
use eventstore::news::{SAFETY_POLL, Topic, Waiter};
use eventstore::sequencer::Sequencer;
use sqlx::postgres::PgListener;
use sqlx::{Executor, PgPool};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Nothing here waits for so long but what never comes.
const NEVER: Duration = Duration::from_secs(120);
const UNHEARD: Duration = Duration::from_millis(20);

/// As a process of its own has it; it ends with the guard.
fn start(pool: &PgPool) -> (News, DropGuard) {
    let (news, stop) = (News::default(), CancellationToken::new());
    tokio::spawn(news.clone().run(pool.clone(), stop.clone()));
    (news, stop.drop_guard())
}

async fn until_heard(waiter: &mut Waiter, is_heard: bool) {
    let changes = async {
        while (waiter.longest(UNHEARD) == SAFETY_POLL) != is_heard {
            waiter.wait(Duration::ZERO, NEVER).await;
        }
    };
    tokio::time::timeout(NEVER, changes).await.expect("whether others are heard never changed");
}

async fn told(waiter: &mut Waiter) {
    let told = waiter.wait(Duration::ZERO, NEVER * 2);
    tokio::time::timeout(NEVER, told).await.expect("the news never came");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn news_reach_other_processes_without_a_poll(pool: PgPool) {
    let ((here, _here), (there, _there)) = (start(&pool), start(&pool));
    let (mut appended, mut moved) = (there.wait_for(Topic::Appended), there.wait_for(Topic::Moved));
    until_heard(&mut appended, true).await;
    until_heard(&mut moved, true).await;
    for _ in 0..3 {
        here.appended();
        told(&mut appended).await;
        here.moved();
        told(&mut moved).await;
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_command_that_ends_at_once_tells_before(pool: PgPool) {
    let (there, _there) = start(&pool);
    let (mut appended, mut moved) = (there.wait_for(Topic::Appended), there.wait_for(Topic::Moved));
    until_heard(&mut appended, true).await;
    until_heard(&mut moved, true).await;
    News::announce(&pool).await.unwrap();
    told(&mut moved).await;
    // Its end comes before it was ever connected.
    let (news, stop) = (News::default(), CancellationToken::new());
    news.appended();
    stop.cancel();
    news.run(pool, stop).await;
    told(&mut appended).await;
}

/// Many commits are few notifications: each is a transaction with a lock of the whole cluster.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_stream_of_commits_is_few_notifications(pool: PgPool) {
    let mut heard = PgListener::connect_with(&pool).await.unwrap();
    heard.listen("postledger_appended").await.unwrap();
    let (news, _stop) = start(&pool);
    let mut appended_elsewhere = news.wait_for(Topic::Moved);
    until_heard(&mut appended_elsewhere, true).await;
    let commits = 2_000;
    for _ in 0..commits {
        news.appended();
        tokio::task::yield_now().await;
    }
    let mut last = PgListener::connect_with(&pool).await.unwrap();
    last.execute("NOTIFY postledger_appended, 'end'").await.unwrap();
    let mut count = 0;
    while tokio::time::timeout(NEVER, heard.recv()).await.unwrap().unwrap().payload() != "end" {
        count += 1;
    }
    assert!(count < commits / 10, "{count} notifications of {commits} commits");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_listener_that_is_killed_comes_back_and_meanwhile_all_is_polled(pool: PgPool) {
    let ((here, _here), (there, _there)) = (start(&pool), start(&pool));
    let (mut moved, mut moved_here) = (there.wait_for(Topic::Moved), here.wait_for(Topic::Moved));
    until_heard(&mut moved, true).await;
    until_heard(&mut moved_here, true).await;
    for _ in 0..2 {
        let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'postledger news'";
        let killed: i64 = sqlx::query_scalar(kill).fetch_one(&pool).await.unwrap();
        assert_eq!(killed, 2);
        until_heard(&mut moved, false).await;
        // Told while nobody is connected: what was not sent is sent by the next connection.
        here.moved();
        until_heard(&mut moved, true).await;
        until_heard(&mut moved_here, true).await;
        here.moved();
        told(&mut moved).await;
    }
}

/// Another release, or an operator by hand, appends without a word.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_nobody_tells_is_found_by_the_poll(pool: PgPool) {
    let store = store(&pool);
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(store.news.clone().run(pool.clone(), stop.clone()));
    let mut moved = store.news.wait_for(Topic::Moved);
    until_heard(&mut moved, true).await;
    tokio::spawn(Sequencer::new(store.clone()).run(stop));
    pool.execute(FOREIGN).await.unwrap();
    while log(&pool).await.is_empty() {
        told(&mut moved).await;
    }
}

/// What one process appends is numbered by another one. By polls alone each of these would take half a second.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_one_process_appends_another_one_numbers_at_once(pool: PgPool) {
    let (front, back) = (store(&pool), store(&pool));
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(Sequencer::new(back.clone()).run(stop.clone()));
    let mut moved = front.news.wait_for(Topic::Moved);
    for store in [&front, &back] {
        tokio::spawn(store.news.clone().run(pool.clone(), stop.clone()));
        until_heard(&mut store.news.wait_for(Topic::Moved), true).await;
    }
    let mut took = Vec::new();
    for round in 1..=11_usize {
        let appended = std::time::Instant::now();
        create_group(&front, &format!("Group {round}")).await;
        while log(&pool).await.len() < round {
            told(&mut moved).await;
        }
        took.push(appended.elapsed());
    }
    took.sort();
    assert!(took[5] < SAFETY_POLL / 4, "half of them took longer: {took:?}");
}

/// A pooler of transactions takes LISTEN, and what is notified never comes: everything is polled, and others are told.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_pooler_that_swallows_notifications_is_noticed(pool: PgPool) {
    let options = pool.connect_options();
    let port = swallow_listen(format!("{}:{}", options.get_host(), options.get_port())).await;
    let pooled = PgPool::connect_lazy_with(options.as_ref().clone().host("127.0.0.1").port(port));
    let (there, _there) = start(&pool);
    let mut moved = there.wait_for(Topic::Moved);
    until_heard(&mut moved, true).await;
    let (deaf, _deaf) = start(&pooled);
    deaf.moved();
    // It tells only once it has looked whether it hears.
    told(&mut moved).await;
    assert_eq!(deaf.wait_for(Topic::Moved).longest(UNHEARD), UNHEARD);
}

/// Hands everything on to Postgres but LISTEN, which becomes a comment.
async fn swallow_listen(postgres: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&postgres).await.unwrap();
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                    let bytes = &mut buffer[..count];
                    while let Some(at) = bytes.windows(8).position(|word| word == b"LISTEN \"") {
                        bytes[at..at + 2].copy_from_slice(b"--");
                    }
                    to_server.write_all(bytes).await.unwrap();
                }
            });
        }
    });
    port
}
