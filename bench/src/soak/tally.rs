//! What was counted, and how it is shown.

use crate::latency::Latencies;
use std::fmt::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Faults that are told one by one; the rest is a number.
const FAULTS_TOLD: usize = 20;

#[derive(Default)]
struct Counts {
    calls: u64,
    sent: u64,
    imported: u64,
    dumps: u64,
    faults: Vec<String>,
    faults_untold: u64,
    /// Since the last sample.
    opt_outs: Latencies,
    all_opt_outs: Vec<Duration>,
}

#[derive(Default)]
pub struct Tally(Mutex<Counts>);

/// At one moment.
pub struct Sample {
    at: Duration,
    memory_mib: f64,
    opt_out_p99_ms: Option<f64>,
    sent: u64,
    dumps: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, p99) = (self.at.as_secs() / 60, self.opt_out_p99_ms.unwrap_or_default());
        write!(
            f,
            "  minute {minutes}: {:.0} MiB, opt-out p99 {p99:.0} ms, {} mails",
            self.memory_mib, self.sent
        )
    }
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the answer is one that the caller can go on with.
    pub fn answered(&self, what: &str, answer: Result<e2e::Answer, reqwest::Error>) -> Option<e2e::Answer> {
        self.lock().calls += 1;
        match answer {
            Ok(answer) if answer.status < 400 => Some(answer),
            Ok(answer) => {
                self.fault(format!("{what}: {} {}", answer.status, answer.body));
                None
            }
            Err(error) => {
                self.fault(format!("{what}: {error}"));
                None
            }
        }
    }

    pub fn fault(&self, what: String) {
        let mut counts = self.lock();
        if counts.faults.len() < FAULTS_TOLD {
            counts.faults.push(what);
        } else {
            counts.faults_untold += 1;
        }
    }

    pub fn opted_out(&self, latency: Duration) {
        let mut counts = self.lock();
        counts.opt_outs.add(latency);
        counts.all_opt_outs.push(latency);
    }

    pub fn sent(&self, mails: u64) {
        self.lock().sent += mails;
    }

    pub fn imported(&self, rows: u64) {
        self.lock().imported += rows;
    }

    pub fn dumped(&self) {
        self.lock().dumps += 1;
    }

    pub fn sample(&self, at: Duration, memory_mib: f64) -> Sample {
        let mut counts = self.lock();
        let mut opt_outs = std::mem::take(&mut counts.opt_outs);
        let opt_out_p99_ms = (opt_outs.len() > 0).then(|| opt_outs.percentile_ms(99.0));
        Sample { at, memory_mib, opt_out_p99_ms, sent: counts.sent, dumps: counts.dumps }
    }

    pub fn wrong(&self) -> Vec<String> {
        let counts = self.lock();
        let more = (counts.faults_untold > 0).then(|| format!("{} faults more", counts.faults_untold));
        counts.faults.iter().cloned().chain(more).collect()
    }

    pub fn tell(&self, samples: &[Sample]) {
        let counts = self.lock();
        let mut opt_outs: Latencies = counts.all_opt_outs.iter().copied().collect();
        println!(
            "{} calls, {} mails, {} rows imported, {} dumps",
            counts.calls, counts.sent, counts.imported, counts.dumps
        );
        if opt_outs.len() > 0 {
            let (count, p50, p99, max) = (
                opt_outs.len(),
                opt_outs.percentile_ms(50.0),
                opt_outs.percentile_ms(99.0),
                opt_outs.percentile_ms(100.0),
            );
            println!("{count} opt-outs: p50 {p50:.0} ms, p99 {p99:.0} ms, longest {max:.0} ms");
        }
        // The first sixth warms up.
        let settled = &samples[samples.len() / 6..];
        let half = settled.len() / 2;
        let mean =
            |part: &[Sample]| part.iter().map(|s| s.memory_mib).sum::<f64>() / part.len().max(1) as f64;
        println!(
            "memory: {:.0} MiB in the first half, {:.0} MiB in the second",
            mean(&settled[..half]),
            mean(&settled[half..])
        );
    }
}

/// `soak.csv`, and `soak.svg` with memory and the p99 of opt-outs over time.
pub fn write(folder: &Path, samples: &[Sample]) {
    let mut csv = String::from("seconds,memory_mib,opt_out_p99_ms,mails,dumps\n");
    for s in samples {
        let p99 = s.opt_out_p99_ms.map(|ms| format!("{ms:.1}")).unwrap_or_default();
        let _ = writeln!(csv, "{},{:.1},{p99},{},{}", s.at.as_secs(), s.memory_mib, s.sent, s.dumps);
    }
    std::fs::write(folder.join("soak.csv"), csv).unwrap();
    let memory: Vec<_> = samples.iter().map(|s| (s.at, s.memory_mib)).collect();
    let p99: Vec<_> = samples.iter().filter_map(|s| Some((s.at, s.opt_out_p99_ms?))).collect();
    let charts = [chart("Resident memory, MiB", &memory, 0), chart("Opt-out p99, ms", &p99, 220)];
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"900\" height=\"440\" font-family=\"sans-serif\" font-size=\"12\">\
         <rect width=\"900\" height=\"440\" fill=\"#fff\"/>{}</svg>\n",
        charts.concat()
    );
    std::fs::write(folder.join("soak.svg"), svg).unwrap();
}

const LEFT: f64 = 60.0;
const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 160.0;

fn chart(title: &str, points: &[(Duration, f64)], top: u32) -> String {
    let last = points.last().map_or(1.0, |(at, _)| at.as_secs_f64().max(1.0));
    let most = points.iter().map(|(_, value)| *value).fold(1.0, f64::max);
    let line = points.iter().map(|(at, value)| {
        format!("{:.1},{:.1}", LEFT + at.as_secs_f64() / last * WIDTH, 30.0 + HEIGHT - value / most * HEIGHT)
    });
    let line = line.collect::<Vec<_>>().join(" ");
    let (bottom, right) = (30.0 + HEIGHT, LEFT + WIDTH);
    format!(
        "<g transform=\"translate(0 {top})\"><text x=\"{LEFT}\" y=\"18\" font-weight=\"bold\">{title}</text>\
         <path d=\"M{LEFT} 30V{bottom}H{right}\" fill=\"none\" stroke=\"#888\"/>\
         <text x=\"{x}\" y=\"38\" text-anchor=\"end\">{most:.0}</text><text x=\"{x}\" y=\"{bottom}\" text-anchor=\"end\">0</text>\
         <text x=\"{right}\" y=\"{below}\" text-anchor=\"end\">{minutes:.0} min</text>\
         <polyline points=\"{line}\" fill=\"none\" stroke=\"#0b5\" stroke-width=\"1.5\"/></g>",
        x = LEFT - 6.0,
        below = bottom + 16.0,
        minutes = last / 60.0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_and_too_many_are_counted() {
        let tally = Tally::default();
        assert!(tally.wrong().is_empty());
        (0..FAULTS_TOLD + 3).for_each(|n| tally.fault(format!("fault {n}")));
        let wrong = tally.wrong();
        assert_eq!(wrong.len(), FAULTS_TOLD + 1);
        assert_eq!(wrong[FAULTS_TOLD], "3 faults more");
    }

    #[test]
    fn a_sample_has_the_opt_outs_since_the_last() {
        let tally = Tally::default();
        tally.opted_out(Duration::from_millis(7));
        assert_eq!(tally.sample(Duration::ZERO, 1.0).opt_out_p99_ms, Some(7.0));
        assert_eq!(tally.sample(Duration::ZERO, 1.0).opt_out_p99_ms, None);
    }
}
