//! What the database has to be like.

use super::Report;
use crate::config::Config;
use crate::serve;
use chrono::{DateTime, Utc};
use eventstore::keys::MasterKey;
use eventstore::{StoreError, clock, service_keys};
use sqlx::PgPool;

const VERSION_MIN: i32 = 15;
/// Of each process besides its pools: one for metrics, one that listens, the sequencer's, the relay's.
const OTHER_CONNECTIONS: u32 = 4;
const SKEW_WARNING_MS: i64 = 1_000;
/// Access tokens allow for as much.
const SKEW_MAX_MS: i64 = 5_000;

/// A statement that fails is told, and the others are tried.
pub async fn check(report: &mut Report, config: &Config, pool: &PgPool) {
    if let Err(error) = server(report, config, pool).await {
        report.failed("postgres", StoreError::from(error).to_string());
    }
    if let Err(error) = clocks(report, pool).await {
        report.failed("clock", StoreError::from(error).to_string());
    }
    match serve::require_schema(pool).await {
        Ok(()) => report.ok("schema", "is up to date"),
        Err(error) => report.failed("schema", error.to_string()),
    }
    match config.master_key() {
        Ok(key) => master_key(report, pool, &key).await,
        Err(error) => report.failed("master key", format!("{error:#}")),
    }
}

async fn show(pool: &PgPool, setting: &str) -> Result<String, sqlx::Error> {
    sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(pool).await
}

async fn server(report: &mut Report, config: &Config, pool: &PgPool) -> Result<(), sqlx::Error> {
    let version = show(pool, "server_version").await?;
    let major = version.split(['.', ' ']).next().and_then(|major| major.parse::<i32>().ok());
    match major.is_some_and(|major| major >= VERSION_MIN) {
        true => report.ok("postgres", format!("version {version}")),
        false => report.failed("postgres", format!("version {version}: {VERSION_MIN} or later is needed")),
    }
    for setting in ["fsync", "full_page_writes"] {
        match show(pool, setting).await?.as_str() {
            "on" => report.ok("durability", format!("{setting} is on")),
            value => report
                .failed("durability", format!("{setting} is {value}: a crash loses what was acknowledged")),
        }
    }
    replication(
        report,
        &show(pool, "synchronous_commit").await?,
        &show(pool, "synchronous_standby_names").await?,
    );
    let limit: u32 = show(pool, "max_connections").await?.parse().unwrap_or(u32::MAX);
    let ours = config.database.max_connections + config.database.opt_out_connections + OTHER_CONNECTIONS;
    match ours <= limit {
        true => report
            .ok("connections", format!("this process wants {ours} of {limit}; each further one as many")),
        false => report.failed("connections", format!("this process wants {ours}, Postgres allows {limit}")),
    }
    Ok(())
}

/// An acknowledged opt-out must survive the loss of the primary.
fn replication(report: &mut Report, commit: &str, standbys: &str) {
    match (commit, standbys) {
        ("off", _) => report.failed("durability", "synchronous_commit is off: a crash loses what was acknowledged"),
        (_, "") => report.warning(
            "replication",
            "synchronous_standby_names is empty: if this server is lost, what was acknowledged last is lost too",
        ),
        ("local" | "remote_write", names) => report.warning(
            "replication",
            format!("{names}, but synchronous_commit is {commit}: a failover may lose what was acknowledged"),
        ),
        (_, names) => report.ok("replication", format!("synchronous to {names}, synchronous_commit is {commit}")),
    }
}

async fn clocks(report: &mut Report, pool: &PgPool) -> Result<(), sqlx::Error> {
    let before = clock::now();
    let there: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(pool).await?;
    let here = before + (clock::now() - before) / 2;
    let skew = (there - here).num_milliseconds().abs();
    let text = format!("this machine and Postgres differ by {skew} ms");
    match skew {
        SKEW_MAX_MS.. => report.failed("clock", format!("{text}: set both by NTP")),
        SKEW_WARNING_MS..SKEW_MAX_MS => report.warning("clock", text),
        _ => report.ok("clock", text),
    }
    Ok(())
}

async fn master_key(report: &mut Report, pool: &PgPool, key: &MasterKey) {
    match service_keys::check(pool, key).await {
        Ok(0) => {
            report.ok("master key", format!("{}; the database has nothing yet that it would open", key.id()))
        }
        Ok(opened) => {
            report.ok("master key", format!("{} opens the {opened} keys in the database", key.id()))
        }
        Err(error @ StoreError::Key(_)) => {
            report.failed("master key", format!("{} does not fit: {error}", key.id()))
        }
        Err(error) => report.failed("master key", format!("could not be tried: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(commit: &str, standbys: &str) -> String {
        let mut report = Report::default();
        replication(&mut report, commit, standbys);
        serde_json::to_value(report.checks[0].status).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn replication_is_judged_by_both_settings() {
        assert_eq!(told("on", "ANY 1 (a, b)"), "ok");
        assert_eq!(told("remote_apply", "a"), "ok");
        assert_eq!(told("on", ""), "warning");
        assert_eq!(told("local", "a"), "warning");
        assert_eq!(told("off", "a"), "failed");
    }
}
