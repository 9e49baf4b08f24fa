//! What a process knows of itself without asking the database.

use crate::serve::Role;
use commands::{Commands, Passwords};
use eventstore::clock;
use sqlx::PgPool;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is looked at when somebody asks.
pub struct Observed {
    /// Each with its name.
    pub pools: [(&'static str, PgPool); 2],
    passwords: Arc<Passwords>,
    started_at: f64,
}

impl Observed {
    pub fn new(commands: &Commands) -> Self {
        Self {
            pools: [("main", commands.store.pool.clone()), ("opt_outs", commands.opt_out_pool().clone())],
            passwords: commands.passwords.clone(),
            started_at: seconds(clock::now().timestamp_millis()),
        }
    }

    pub fn record(&self) {
        for (name, pool) in &self.pools {
            record_pool(name, pool);
        }
        metrics::counter!("postledger_password_hashes_total").absolute(self.passwords.runs());
        metrics::gauge!("postledger_password_hashes_running").set(self.passwords.running() as f64);
        metrics::gauge!("postledger_password_hashes_waiting").set(self.passwords.waiting() as f64);
        metrics::gauge!("process_start_time_seconds").set(self.started_at);
        if let Some(bytes) = resident_bytes() {
            metrics::gauge!("process_resident_memory_bytes").set(bytes);
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            metrics::gauge!("process_open_fds").set(open.count() as f64);
        }
    }
}

/// Once, at the start.
pub fn record_identity(roles: &BTreeSet<Role>) {
    metrics::gauge!("postledger_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for role in roles {
        metrics::gauge!("postledger_role", "role" => role.name()).set(1.0);
    }
    metrics::counter!("postledger_panics_total").increment(0);
}

fn record_pool(name: &'static str, pool: &PgPool) {
    let (open, idle) = (f64::from(pool.size()), pool.num_idle() as f64);
    let gauge = |state| metrics::gauge!("postledger_database_connections", "pool" => name, "state" => state);
    // The two are not read at one moment.
    gauge("in_use").set((open - idle).max(0.0));
    gauge("idle").set(idle);
    let max = f64::from(pool.options().get_max_connections());
    metrics::gauge!("postledger_database_connections_max", "pool" => name).set(max);
}

/// See status in proc(5).
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))?;
    Some(kilobytes.parse::<f64>().ok()? * 1024.0)
}

/// Prometheus counts in seconds.
pub(super) fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}
