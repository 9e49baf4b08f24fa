//! A stack: a database, keys, an outbox, and processes of the real binary.

use crate::client::Client;
use crate::database::{APPLICATION, Database};
use crate::ledger::Outbox;
use crate::postgres::Postgres;
use crate::process::Process;
use crate::temp::TempDir;
use crate::trail::Trail;
use crate::{Smtp, eventually};
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// Tests ask more often than people do, all from one address.
const MUCH: u32 = 1_000_000;
const READY_WITHIN: Duration = Duration::from_secs(60);
/// One stack at a time: the tests measure time, and machines have two cores.
static TURN: Mutex<()> = Mutex::const_new(());

/// Settings as `config.default.toml` names them: `send.window_ms`.
#[derive(Debug, Clone, Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    pub fn new() -> Self {
        // No load balancer has to notice anything.
        Self::default().set("log.filter", "info").set("api.drain_seconds", 0).set(
            "send.test_recipients",
            r#"["example.com", "canary-domain.example", "canary-erasure.example"]"#,
        )
    }

    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        let name = format!("POSTLEDGER_{}", key.to_uppercase().replace('.', "__"));
        self.0.insert(name, value.to_string());
        self
    }

    /// Sends by this server, with time-outs that a test can wait for.
    pub fn smtp(self, server: &Smtp) -> Self {
        self.set("send.mailer", "smtp")
            .set("send.postal_address", "Postledger Press, 1 Ledger Lane, Exampleton")
            .set("smtp.host", "127.0.0.1")
            .set("smtp.port", server.port)
            .set("smtp.tls", "none")
            .set("smtp.connections", 4)
            .set("smtp.connect_timeout_seconds", 2)
            .set("smtp.command_timeout_seconds", 2)
            .set("smtp.message_timeout_seconds", 3)
    }
}

/// Fields are dropped in this order: processes first, the turn last.
pub struct Stack {
    processes: BTreeMap<String, Process>,
    /// Of all that were ever started, by name.
    roles: BTreeMap<String, String>,
    settings: Settings,
    port: u16,
    /// Of each process, where it shows its metrics.
    metrics_ports: BTreeMap<String, u16>,
    /// With every scope. No log, table or answer may show it: the log test looks for it.
    pub api_key: String,
    database: Database,
    /// `None`: the database is on the server that all tests share.
    postgres: Option<Postgres>,
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Stack {
    /// With one process for everything, ready.
    pub async fn start(settings: Settings) -> Self {
        let mut stack = Self::prepare(settings).await;
        stack.serve("server", "").await;
        stack.ready().await;
        stack
    }

    /// Without any process yet; migrated.
    pub async fn prepare(settings: Settings) -> Self {
        let turn = TURN.lock().await;
        Self::over(Database::create().await, None, settings, turn)
    }

    /// The same on a Postgres of its own, for [`Stack::crash_postgres`]; `None`, and a word on it, where none can be had.
    pub async fn prepare_with_postgres(settings: Settings) -> Option<Self> {
        let turn = TURN.lock().await;
        let postgres = Postgres::start()?;
        let database = Database::create_on(&postgres.url).await;
        Some(Self::over(database, Some(postgres), settings, turn))
    }

    fn over(
        database: Database,
        postgres: Option<Postgres>,
        settings: Settings,
        turn: MutexGuard<'static, ()>,
    ) -> Self {
        let dir = TempDir::new("stack");
        let port = free_port();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let settings = settings
            .set("database.url", &database.url)
            .set("keys.master_key_file", path("master-key"))
            .set("api.listen", format!("127.0.0.1:{port}"))
            .set("api.public_url", format!("http://127.0.0.1:{port}"))
            .set("api.limits.public_per_minute", MUCH)
            .set("api.limits.user_per_minute", MUCH)
            .set("api.limits.key_per_minute", MUCH)
            .set("api.limits.passwords_per_address_at_once", 1_000)
            .set("api.limits.passwords_per_address_and_minute", MUCH)
            .set("api.limits.passwords_per_account_and_minute", MUCH)
            .set("api.limits.passwords_where_known_per_minute", MUCH)
            .set("api.limits.resets_per_address_and_minute", MUCH)
            .set("api.limits.subscriptions_per_address_and_minute", MUCH)
            .set("outbox.dir", path("outbox"));
        let mut stack = Self {
            processes: BTreeMap::new(),
            roles: BTreeMap::new(),
            settings,
            port,
            metrics_ports: BTreeMap::new(),
            api_key: String::new(),
            database,
            postgres,
            dir,
            _turn: turn,
        };
        stack.operate(&["keys", "generate", &stack.dir.path().join("master-key").display().to_string()]);
        stack.operate(&["migrate"]);
        stack.api_key = stack.operate(&["api-key", "add", "e2e", "--scopes", "all"]).trim().to_owned();
        stack
    }

    /// Starts a process; no roles are all of them. One of that name that runs is a mistake of the test.
    pub async fn serve(&mut self, name: &str, roles: &str) {
        assert!(!self.processes.contains_key(name), "{name} runs already");
        let (mut command, metrics) = (self.command(), free_port());
        command.arg("serve").env("POSTLEDGER_METRICS__LISTEN", format!("127.0.0.1:{metrics}"));
        self.metrics_ports.insert(name.to_owned(), metrics);
        if !roles.is_empty() {
            command.args(["--roles", roles]);
        }
        let log = self.log_file(name);
        self.processes.insert(name.to_owned(), Process::start(name, &mut command, &log));
        self.roles.insert(name.to_owned(), roles.to_owned());
    }

    /// Starts a process that has ended once more, with the roles that it had.
    pub async fn serve_again(&mut self, name: &str) {
        let roles = self.roles.get(name).cloned().unwrap_or_else(|| panic!("{name} was never started"));
        self.serve(name, &roles).await;
    }

    /// Waits until the API says that it is ready.
    pub async fn ready(&mut self) {
        let health = Client::public(&self.url());
        eventually("the server is ready", READY_WITHIN, async || {
            for process in self.processes.values_mut() {
                if let Some(status) = process.ended() {
                    panic!("{} ended by itself: {status}", process.name());
                }
            }
            health.try_once("/health/ready").await.filter(|status| *status == 200).map(drop)
        })
        .await;
    }

    pub fn process(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).unwrap_or_else(|| panic!("no process {name} runs"))
    }

    /// kill -9, and everything that the database still had of it has ended.
    pub async fn kill(&mut self, name: &str) {
        self.process(name).kill();
        self.processes.remove(name);
        if self.processes.is_empty() {
            self.database.without_processes().await;
        }
    }

    /// SIGTERM; answers how it ended.
    pub async fn terminate(&mut self, name: &str, within: Duration) -> std::process::ExitStatus {
        self.process(name).signal("TERM");
        let status = self.process(name).wait(within).await;
        self.processes.remove(name);
        status
    }

    /// Forgets a process that has ended by a signal.
    pub fn terminated(&mut self, name: &str) {
        assert!(self.process(name).ended().is_some(), "{name} runs");
        self.processes.remove(name);
    }

    /// An operator's command, which has to succeed.
    pub fn operate(&self, arguments: &[&str]) -> String {
        let output = self.try_operate(arguments);
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "postledger {arguments:?}: {}: {text}", output.status);
        text
    }

    pub fn try_operate(&self, arguments: &[&str]) -> Output {
        self.try_operate_by(&Settings::default(), arguments)
    }

    /// With what somebody types, or pipes into it.
    pub fn operate_by_hand(&self, arguments: &[&str], typed: &str) -> Output {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        // Dropped at once: the input ends behind it. Who reads none of it is done before.
        let _ = process.stdin.take().unwrap().write_all(typed.as_bytes());
        process.wait_with_output().unwrap()
    }

    /// With settings that are stronger than the stack's.
    pub fn try_operate_by(&self, settings: &Settings, arguments: &[&str]) -> Output {
        self.command().envs(&settings.0).args(arguments).output().unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("POSTLEDGER_"))
        {
            command.env_remove(name);
        }
        // A relative path in the defaults must not reach the repository.
        command.envs(&self.settings.0).current_dir(self.dir.path());
        command
    }

    /// For processes that are started from now on.
    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.settings = std::mem::take(&mut self.settings).set(key, value);
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where a process shows its metrics.
    pub fn metrics_url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/metrics", self.metrics_ports[name])
    }

    /// A program that may do everything but manage users and keys.
    pub fn client(&self) -> Client {
        Client::new(&self.url(), &self.api_key)
    }

    pub fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// Ends every connection of the processes to the database, as a restart of Postgres does.
    pub async fn cut_connections(&self) -> i64 {
        sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name <> $1 AND backend_type = 'client backend'",
        )
        .bind(APPLICATION)
        .fetch_one(self.pool())
        .await
        .unwrap()
    }

    /// With its password: nothing prints it.
    pub fn database_url(&self) -> &str {
        &self.database.url
    }

    /// The whole database as SQL.
    pub fn dump(&self) -> String {
        let output = Command::new("pg_dump").arg(&self.database.url).output().expect("pg_dump runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// That of the database's URL, if there is one.
    pub fn database_password(&self) -> Option<String> {
        let (_, rest) = self.database.url.split_once("://")?;
        let (_, password) = rest.split_once('@')?.0.split_once(':')?;
        Some(password.to_owned())
    }

    /// For the processes the database is away, until [`Stack::database_is_back`].
    pub async fn take_database_away(&self) {
        self.database.admit(false).await;
        self.cut_connections().await;
    }

    pub async fn database_is_back(&self) {
        self.database.admit(true).await;
    }

    /// Of a stack from [`Stack::prepare_with_postgres`]. It has recovered when this returns.
    pub async fn crash_postgres(&self) {
        self.postgres.as_ref().expect("a Postgres of the stack's own").crash().await;
    }

    /// Copies the files of a stack from [`Stack::prepare_with_postgres`]; Postgres restarts.
    pub async fn save_files(&self) {
        self.postgres.as_ref().expect("a Postgres of the stack's own").save().await;
    }

    /// Puts those files back in their place, whatever happened since; Postgres restarts.
    pub async fn restore_files(&self) {
        self.postgres.as_ref().expect("a Postgres of the stack's own").restore().await;
    }

    /// As a failover to a standby that lacks nothing.
    pub async fn fail_over(&self) {
        self.postgres.as_ref().expect("a Postgres of the stack's own").promote().await;
    }

    /// Fills a new database on a new Postgres from a dump, for processes that are started from now on.
    pub async fn restore_dump(&mut self, dump: &str) {
        let postgres = Postgres::start().expect("one was started before");
        let database = Database::create_on(&postgres.url).await;
        let file = self.dir.path().join("dump.sql");
        std::fs::write(&file, dump).unwrap();
        let mut psql = Command::new("psql");
        psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-d", &database.url, "-f"])
            .arg(&file)
            .stdout(Stdio::null());
        assert!(psql.status().unwrap().success(), "the dump could not be restored");
        self.set("database.url", &database.url);
        // The old database goes before its server.
        drop(std::mem::replace(&mut self.database, database));
        self.postgres = Some(postgres);
    }

    pub fn trail(&self) -> Trail {
        Trail::new(&self.database.pool)
    }

    pub fn outbox(&self) -> Outbox {
        Outbox::new(self.dir.path().join("outbox"))
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn log_file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }
}

/// A port that was free a moment ago: the processes under test take a fixed one, so that they can be started again. It is
/// below those that Linux gives to outgoing connections (from 32768 on), of which one could have it meanwhile.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(64).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 11_000 + (number % 8_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub(crate) fn binary() -> PathBuf {
    let binary = match std::env::var_os("POSTLEDGER_TEST_BINARY") {
        Some(path) => PathBuf::from(path),
        None => {
            let test = std::env::current_exe().unwrap();
            test.ancestors().nth(2).unwrap().join("postledger")
        }
    };
    let binary = std::path::absolute(binary).unwrap();
    assert!(binary.is_file(), "{} is missing: build it, or set POSTLEDGER_TEST_BINARY", binary.display());
    binary
}
