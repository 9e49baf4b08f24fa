//! `postledger config check`: what is set, and whether that bears what Postledger promises.

mod database;

use crate::config::Config;
use crate::serve;
use anyhow::ensure;
use eventstore::{StoreError, clock};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use workers::dkim::DkimConfig;
use workers::mailers::{Mailer, Outbox, Smtp, SmtpConfig};

const CONNECTIONS: u32 = 2;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Show every setting, secrets apart, and say whether what the promises need is there. Fails where a check failed.
    Check(CheckArgs),
}

#[derive(clap::Args)]
pub struct CheckArgs {
    /// For programs: {settings: {name: value}, checks: [{name, status, reason}]}.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    /// It works, and promises less, or an operator should know.
    Warning,
    Failed,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    reason: String,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    settings: BTreeMap<String, String>,
    checks: Vec<Check>,
}

impl Report {
    fn add(&mut self, name: &'static str, status: Status, reason: impl Into<String>) {
        self.checks.push(Check { name, status, reason: reason.into() });
    }

    fn ok(&mut self, name: &'static str, reason: impl Into<String>) {
        self.add(name, Status::Ok, reason);
    }

    fn warning(&mut self, name: &'static str, reason: impl Into<String>) {
        self.add(name, Status::Warning, reason);
    }

    fn failed(&mut self, name: &'static str, reason: impl Into<String>) {
        self.add(name, Status::Failed, reason);
    }

    fn print(&self) {
        for (name, value) in &self.settings {
            println!("{name} = {value}");
        }
        println!();
        for Check { name, status, reason } in &self.checks {
            let status = match status {
                Status::Ok => "ok",
                Status::Warning => "WARNING",
                Status::Failed => "FAILED",
            };
            println!("{status:8}{name:14}{reason}");
        }
    }
}

/// Settings that cannot be taken at all are an error by themselves.
pub async fn run(files: &[PathBuf], brokers: Option<&str>, command: Command) -> anyhow::Result<()> {
    let Command::Check(CheckArgs { json }) = command;
    let config = Config::load(files, brokers)?;
    let mut report = Report { settings: Config::settings(files, brokers)?, ..Report::default() };
    files_are_private(&mut report, &config);
    addresses(&mut report, &config);
    demonstration(&mut report, &config);
    mailers(&mut report, &config).await;
    media(&mut report, &config).await;
    match serve::pool(&config.database, CONNECTIONS).await {
        Ok(pool) => {
            database::check(&mut report, &config, &pool).await;
            kafka(&mut report, &config, &pool).await;
        }
        Err(error) => report.failed("postgres", format!("{error:#}; what needs it was not looked at")),
    }
    match json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => report.print(),
    }
    let failed = report.checks.iter().filter(|check| check.status == Status::Failed).count();
    ensure!(failed == 0, "{failed} of {} checks failed", report.checks.len());
    Ok(())
}

fn files_are_private(report: &mut Report, config: &Config) {
    let exposed = config.exposed_files();
    for (name, file) in &exposed {
        let file = file.display();
        report.warning(
            "files",
            format!("{name}: every user of this machine can reach {file}: chmod o= {file}"),
        );
    }
    if exposed.is_empty() {
        report.ok("files", "no file with a secret is open to every user of this machine");
    }
}

fn addresses(report: &mut Report, config: &Config) {
    let url = &config.api.public_url;
    let host = url.split_once("://").map_or("", |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or_default();
    let is_here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    match (url.starts_with("https://"), is_here) {
        (_, true) => {
            report.warning("public_url", format!("links in mails lead to {url}: on this machine alone"))
        }
        (true, false) => report.ok("public_url", format!("links in mails lead to {url}")),
        (false, false) => {
            report.failed(
                "public_url",
                format!("{url} is not https: tokens in links and sign-ins can be read on the way"),
            );
        }
    }
    match config.metrics.listen() {
        Ok(Some(listen)) if !listen.ip().is_loopback() => {
            report.warning(
                "metrics",
                format!("whoever reaches {listen} can read them: keep it in a network of your own"),
            );
        }
        Ok(Some(listen)) => report.ok("metrics", format!("on {listen}, for this machine")),
        Ok(None) => report.warning("metrics", "nothing is measured: metrics.listen is empty"),
        Err(error) => report.failed("metrics", error.to_string()),
    }
}

fn demonstration(report: &mut Report, config: &Config) {
    match config.demonstration {
        true => report.warning("demonstration", "this is one: others may know its keys and its users"),
        false => report.ok("demonstration", "keys of one are refused"),
    }
}

async fn mailers(report: &mut Report, config: &Config) {
    let name = config.send.mailer.as_str();
    if name != "smtp" {
        report.warning("mailer", format!("campaigns that name none go by {name}, which delivers to nobody"));
    }
    outbox(report, config);
    if let Some(smtp) = &config.smtp {
        match reach(smtp).await {
            Ok(()) => report.ok("smtp", format!("{} takes mails", smtp.host)),
            Err(reason) => report.failed("smtp", reason),
        }
        dkim(report, config);
    }
}

/// Makes no folder: it would belong to whoever checks, and the sender may be somebody else.
fn outbox(report: &mut Report, config: &Config) {
    let dir = config.outbox.dir.display();
    let opened = match config.outbox.dir.try_exists() {
        Ok(false) => {
            return report.ok("outbox", format!("{dir} is not there: the first sender makes it"));
        }
        Ok(true) => Outbox::open(&config.outbox).map(drop),
        Err(error) => Err(error),
    };
    match opened {
        Ok(()) => report.ok("outbox", format!("{dir} can be written")),
        Err(error) => report.failed("outbox", format!("{dir}: {error}")),
    }
}

async fn media(report: &mut Report, config: &Config) {
    let Some(files) = serve::media_files(config).await else {
        return report.ok("media", "there are none: media.bucket is empty");
    };
    match files.reach().await {
        Ok(()) => report.ok("media", "the bucket answers"),
        Err(error) => report.failed("media", error.to_string()),
    }
}

/// Whether the mails of the configured sender are signed. What DNS says is not looked at.
fn dkim(report: &mut Report, config: &Config) {
    let host = config.send.from.rsplit_once('@').map_or("", |(_, host)| host.trim_end_matches('>'));
    let signing: Vec<&DkimConfig> = config.dkim.iter().filter(|dkim| dkim.signs(host)).collect();
    if signing.is_empty() {
        report.warning(
            "dkim",
            format!("mails from {host} are not signed here: the server that takes them has to"),
        );
    }
    for dkim in signing {
        let record = format!("{}._domainkey.{}", dkim.selector, dkim.domain);
        report.ok(
            "dkim",
            format!("mails from {host} are signed; the TXT record {record} has to hold the public key"),
        );
    }
}

/// Opens a session, signs in where that is set, and sends nothing. Bounded by the mailer's own time-outs.
async fn reach(smtp: &SmtpConfig) -> Result<(), String> {
    let mailer = Smtp::new(smtp).map_err(|error| error.to_string())?;
    mailer.prepare(1).await.map_err(|down| down.reason)
}

async fn kafka(report: &mut Report, config: &Config, pool: &sqlx::PgPool) {
    if !config.kafka.is_used() {
        return report.ok("kafka", "not used: events travel by Postgres");
    }
    let checked = async {
        let topics = kafka::Topics::new(config.kafka.clone()).map_err(|error| error.to_string())?;
        let checked = kafka::check(pool, &topics, &projections::all(), clock::now()).await;
        checked.map_err(|error: StoreError| error.to_string())
    };
    match checked.await {
        Ok(found) => {
            // Topics and members come with the processes: before the first start there are none.
            let status = if found.answered { Status::Warning } else { Status::Failed };
            if found.answered {
                report.ok("kafka", format!("{} answers", config.kafka.brokers));
            }
            for wrong in found.wrong {
                report.add("kafka", status, wrong);
            }
        }
        Err(reason) => report.failed("kafka", reason),
    }
}
