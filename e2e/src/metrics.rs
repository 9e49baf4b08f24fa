//! Metrics of a process, read by Prometheus's own client library.

use crate::{Stack, eventually};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/read_metrics.py");
/// The database is sampled every ten seconds.
const SAMPLED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

#[derive(Debug, Deserialize)]
pub struct Family {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub help: String,
    pub samples: Vec<Sample>,
}

#[derive(Debug)]
pub struct Metrics {
    pub text: String,
    pub families: Vec<Family>,
}

impl Metrics {
    pub async fn of(stack: &Stack, process: &str) -> Self {
        let text = scrape(stack, process).await;
        Self { families: families(&text), text }
    }

    /// Waits until one of the lines is this.
    pub async fn say(stack: &Stack, process: &str, line: &str) {
        eventually(&format!("the metrics of {process} say {line}"), SAMPLED_WITHIN, async || {
            scrape(stack, process).await.lines().any(|said| said == line).then_some(())
        })
        .await;
    }

    /// Of the one series of that name with these labels, and perhaps more.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|is| is == value);
            sample.name == name && labels.iter().all(has)
        };
        let samples = self.families.iter().flat_map(|family| &family.samples);
        let found: Vec<f64> = samples.filter(fits).map(|sample| sample.value).collect();
        assert!(found.len() <= 1, "{name} {labels:?}: {} series", found.len());
        found.first().copied()
    }
}

async fn scrape(stack: &Stack, process: &str) -> String {
    let request = reqwest::Client::builder().no_proxy().build().unwrap().get(stack.metrics_url(process));
    let answer = request.send().await.unwrap().error_for_status().unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    answer.text().await.unwrap()
}

fn families(text: &str) -> Vec<Family> {
    let python = std::env::var("POSTLEDGER_TEST_PYTHON").unwrap_or_else(|_| "/usr/bin/python3".into());
    let mut reader =
        Command::new(python).arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    reader.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success(), "it can't be read (is prometheus_client installed?): {text}");
    let mut families: Vec<Family> = serde_json::from_slice(&output.stdout).unwrap();
    // The library takes a counter's suffix off.
    families.iter_mut().filter(|family| family.kind == "counter").for_each(|family| family.name += "_total");
    families
}
