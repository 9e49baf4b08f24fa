//! A Postgres that crashes takes sequences back: their WAL is not flushed before a commit. Every committed event gets its position
//! all the same. Needs `POSTLEDGER_TEST_POSTGRES_SCRIPT` (`scripts/postgres-node.sh`) for a server of its own.

use crate::support::*;
use domain::group::{Group, GroupCommand};
use eventstore::sequencer::Sequencer;
use eventstore::{MIGRATOR, Request, feed, lost};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

const SCRIPT: &str = "POSTLEDGER_TEST_POSTGRES_SCRIPT";
const CRASHES: u32 = 100;
const WITHIN: Duration = Duration::from_secs(60);
/// Several events of streams of their own, in one statement.
const MANY: &str = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    SELECT 'group', gen_random_uuid()::text, 1, 'GroupCreated', '1.0',
        '{\"GroupCreated\": {\"name\": \"x\", \"description\": \"\"}}', '{}' FROM generate_series(1, $1)";

static CREATING: Mutex<()> = Mutex::const_new(());

/// Deleted with its value.
struct Server {
    script: String,
    name: String,
    pool: PgPool,
}

impl Server {
    /// `None`, and a word on it, where none can be had.
    async fn start(name: &str) -> Option<Self> {
        let Ok(script) = std::env::var(SCRIPT) else {
            assert!(std::env::var_os("CI").is_none(), "CI needs {SCRIPT}");
            eprintln!("NOT RUN: a test that needs {SCRIPT}");
            return None;
        };
        let name = format!("{name}-{}", eventstore::ids::new_id().simple());
        // Two at once could take the same port.
        let _alone = CREATING.lock().await;
        let created = Command::new(&script).args(["create", &name]).output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        let url = String::from_utf8(created.stdout).unwrap();
        let options = PgPoolOptions::new().max_connections(20).acquire_timeout(Duration::from_secs(2));
        let pool = options.connect_lazy(url.trim()).unwrap();
        let server = Self { script, name, pool };
        MIGRATOR.run(&server.pool).await.unwrap();
        // Nothing is flushed that no commit asks for: the sequence is taken back as far as it can be. And recovery, of a server whose
        // machine lives on, does not flush every file by itself.
        for setting in [
            "ALTER SYSTEM SET wal_writer_delay = '10s'",
            "ALTER SYSTEM SET autovacuum = off",
            "ALTER SYSTEM SET recovery_init_sync_method = 'syncfs'",
        ] {
            sqlx::query(setting).execute(&server.pool).await.unwrap();
        }
        sqlx::query("SELECT pg_reload_conf()").execute(&server.pool).await.unwrap();
        Some(server)
    }

    async fn connect(&self) -> PgConnection {
        connect(&self.pool).await
    }

    /// One backend dies of SIGKILL: Postgres ends all others and recovers.
    async fn crash(&self, pid: i32) {
        let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
        assert!(killed.success());
        let gone = async {
            let alive = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)";
            loop {
                let mut connection = self.connect().await;
                if let Ok(false) =
                    sqlx::query_scalar::<_, bool>(alive).bind(pid).fetch_one(&mut connection).await
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(WITHIN, gone).await.expect("Postgres did not recover");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let removed = Command::new(&self.script).args(["remove", &self.name]).status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("left behind: the Postgres {}", self.name);
        }
    }
}

/// Tries until the server takes connections again.
async fn connect(pool: &PgPool) -> PgConnection {
    let connecting = async {
        loop {
            match PgConnection::connect_with(&pool.connect_options()).await {
                Ok(connection) => return connection,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(WITHIN, connecting).await.expect("no connection")
}

async fn pid(connection: &mut PgConnection) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await.unwrap()
}

async fn append(connection: &mut PgConnection, count: i32) -> Result<(), sqlx::Error> {
    sqlx::query(MANY).bind(count).execute(connection).await.map(drop)
}

async fn without_position(pool: &PgPool) -> i64 {
    let count = "SELECT count(*) FROM events e LEFT JOIN log l USING (append_id) WHERE l.position IS NULL";
    sqlx::query_scalar(count).fetch_one(&mut connect(pool).await).await.unwrap()
}

/// Steps until one succeeds with nothing to do: the pool's connections are dead after a crash.
async fn number_all(sequencer: &mut Sequencer) {
    let numbering = async {
        while !matches!(sequencer.step().await, Ok(0)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WITHIN, numbering).await.expect("the sequencer does not come to an end");
}

/// A mark is taken, and before anything is flushed Postgres crashes.
#[tokio::test]
async fn a_mark_ends_with_its_session() {
    let Some(server) = Server::start("mark").await else { return };
    let pool = &server.pool;
    let mut sequencer = Sequencer::new(store(pool));
    // A batch either takes a mark or has one that is settled: both are interrupted, in turn.
    let mut taken_back = [0, 0];
    for round in 0..20 {
        if round % 2 == 1 {
            append(&mut server.connect().await, 1).await.unwrap();
            number_all(&mut sequencer).await;
        }
        append(&mut server.connect().await, 3).await.unwrap();
        number_all(&mut sequencer).await;
        append(&mut server.connect().await, 1).await.unwrap();
        sqlx::query("CHECKPOINT").execute(&mut server.connect().await).await.unwrap();
        // Another sequencer has its turn, and so the batch waits behind the mark.
        let mut turn = server.connect().await;
        let mut writer = server.connect().await;
        let (mut turn, mut held) = (turn.begin().await.unwrap(), writer.begin().await.unwrap());
        sqlx::query("SELECT FROM log_head FOR UPDATE").execute(&mut *turn).await.unwrap();
        append(&mut held, 60).await.unwrap();
        let victim = pid(&mut held).await;
        let marked = lost::order(&mut *held).await.unwrap().drawn;
        let mut watch = server.connect().await;
        let blow = async {
            let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')";
            while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut watch).await.unwrap() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            server.crash(victim).await;
        };
        let stepped = async { while sequencer.step().await.is_ok() {} };
        tokio::time::timeout(WITHIN, async { tokio::join!(stepped, blow) }).await.unwrap();

        let drawn = lost::order(&mut server.connect().await).await.unwrap().drawn;
        taken_back[round % 2] += u32::from(drawn < marked);
        // The same ids again, by a writer that is in no list of that time.
        let mut writer = server.connect().await;
        let mut late = writer.begin().await.unwrap();
        append(&mut late, 5).await.unwrap();
        append(&mut server.connect().await, 1).await.unwrap();
        number_all(&mut sequencer).await;
        late.commit().await.unwrap();
        number_all(&mut sequencer).await;
        assert_eq!(without_position(pool).await, 0, "committed events got no position");
        if taken_back.iter().all(|times| *times > 0) {
            return;
        }
    }
    panic!("no crash took the sequence back: nothing was proved");
}

/// Sequencers that live through all crashes, writers of single events and of whole streams, and some that hold their ids for long.
#[tokio::test]
async fn a_hundred_crashes_lose_no_event() {
    let Some(server) = Server::start("hundred").await else { return };
    let pool = &server.pool;
    let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
    let sequencers: Vec<_> =
        (0..2).map(|_| tokio::spawn(Sequencer::new(store(pool)).run(ended.clone()))).collect();
    let committed = Arc::new(AtomicU32::new(0));
    let mut writers: Vec<_> =
        (0..4).map(|_| tokio::spawn(write_streams(pool.clone(), committed.clone(), stop.clone()))).collect();
    writers.extend((0..3).map(|n| tokio::spawn(hold_ids(pool.clone(), 20 * (n + 1), stop.clone()))));
    for round in 0..CRASHES {
        let before = committed.load(Ordering::Relaxed);
        let loaded = async {
            while committed.load(Ordering::Relaxed) < before + 5 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(WITHIN, loaded).await.unwrap_or_else(|_| panic!("round {round}: nobody writes"));
        let mut victim = server.connect().await;
        server.crash(pid(&mut victim).await).await;
    }
    stop.cancel();
    for writer in writers {
        writer.await.unwrap();
    }
    let numbered = async {
        while without_position(pool).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let is_numbered = tokio::time::timeout(WITHIN, numbered).await.is_ok();
    assert!(is_numbered, "{} committed events got no position", without_position(pool).await);
    ended.cancel();
    for sequencer in sequencers {
        sequencer.await.unwrap();
    }
    let mut db = server.connect().await;
    let head = feed::head(&mut db).await.unwrap().position;
    let (events, last): (i64, i64) =
        sqlx::query_as("SELECT count(*), max(position) FROM log").fetch_one(&mut db).await.unwrap();
    assert_eq!((events, last), (head, head), "the positions have gaps");
    let disorder: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT sequence, lag(sequence, 1, 0::bigint) OVER (PARTITION BY aggregate_id ORDER BY position) AS before
                               FROM log JOIN events USING (append_id)) o WHERE sequence <> before + 1",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(disorder, 0, "a stream's order was broken");
    println!("{CRASHES} crashes, {events} events");
}

/// Streams of ten events, one command after the other.
async fn write_streams(pool: PgPool, committed: Arc<AtomicU32>, stop: CancellationToken) {
    let store = store(&pool);
    while !stop.is_cancelled() {
        let id = eventstore::ids::new_id();
        let create = GroupCommand::Create { name: "0".into(), description: String::new() };
        let mut is_there = store.execute::<Group>(id, create, Request::default()).await.is_ok();
        for n in 1..10 {
            if !is_there || stop.is_cancelled() {
                break;
            }
            let change = GroupCommand::Change { name: Some(n.to_string()), description: None };
            is_there = store.execute::<Group>(id, change, Request::default()).await.is_ok();
            committed.fetch_add(u32::from(is_there), Ordering::Relaxed);
        }
    }
}

/// Draws many ids and commits them late, if Postgres lives so long.
async fn hold_ids(pool: PgPool, count: i32, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let mut connection = connect(&pool).await;
        let held = async {
            let mut tx = connection.begin().await?;
            append(&mut tx, count).await?;
            tokio::time::sleep(Duration::from_millis(3 * count.unsigned_abs() as u64)).await;
            tx.commit().await
        };
        // A crash is what it is for.
        let _: Result<(), sqlx::Error> = held.await;
    }
}
