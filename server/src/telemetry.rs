//! Logs to standard error: text for people, JSON for machines.
//!
//! `log.filter` chooses, within a bound that no setting lifts: of what is not ours nothing below INFO is logged. Libraries
//! tell there what they carry: headers with tokens, bodies, dialogues with mail servers.

use crate::config::{Log, LogFormat};
use anyhow::Context;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

/// Our crates, and what librdkafka says through one of them.
const OURS: [&str; 12] = [
    "api",
    "commands",
    "domain",
    "eventstore",
    "kafka",
    "librdkafka",
    "mail",
    "media",
    "media_store",
    "postledger",
    "projections",
    "workers",
];
/// Warns with whole values of connection parameters, and whole lines of password files.
const NEVER: &str = "sqlx_postgres::options";

pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).context("log.filter")?;
    let logs = registry().with(filter).with(filter_fn(may_be_logged));
    let layer = fmt::layer().with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => logs.with(layer.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => logs.with(layer.json().flatten_event(true)).init(),
    }
    std::panic::set_hook(Box::new(panicked));
    Ok(())
}

fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    is_allowed(metadata.target(), *metadata.level())
}

fn is_allowed(target: &str, level: Level) -> bool {
    let crate_name = target.split("::").next().unwrap_or_default();
    !target.starts_with(NEVER) && (level <= Level::INFO || OURS.contains(&crate_name))
}

/// Tells the place and not the message: that may quote what was worked on, such as the text that was cut at a wrong byte.
fn panicked(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, "panicked");
    metrics::counter!("postledger_panics_total").increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[test]
    fn ours_are_the_crates_of_the_workspace() {
        let manifest = include_str!("../../Cargo.toml");
        let members = manifest.lines().find_map(|line| line.strip_prefix("default-members = ")).unwrap();
        let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
        assert!(members.len() > 5, "{members:?}");
        for member in members {
            let name = if member == "server" { "postledger".to_owned() } else { member.replace('-', "_") };
            assert!(OURS.contains(&name.as_str()), "{name}");
        }
    }

    #[test]
    fn libraries_tell_nothing_below_info() {
        for target in
            ["hyper::proto", "h2", "lettre::transport", "sqlx::query", "rustls::client", "apiary", ""]
        {
            assert!(is_allowed(target, Level::INFO) && !is_allowed(target, Level::DEBUG), "{target}");
        }
        assert!(is_allowed("api::edge", Level::TRACE) && is_allowed("postledger", Level::TRACE));
        assert!(!is_allowed("sqlx_postgres::options::parse", Level::ERROR));
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_tells_its_place_and_not_its_message() {
        let written = Written::default();
        let writer = written.clone();
        let logs = fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(panicked));
        let caught = tracing::subscriber::with_default(logs, || {
            std::panic::catch_unwind(|| "Zeisig-Stieglitz ä".split_at(18).0.len())
        });
        std::panic::set_hook(before);
        assert!(caught.is_err());
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("panicked") && text.contains(".rs:"), "{text}");
        assert!(!text.contains("Zeisig"), "{text}");
    }
}
