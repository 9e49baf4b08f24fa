//! What waiting looked like.

use std::time::Duration;

#[derive(Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn add(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    /// In the order in which they were added, until a percentile is asked for.
    pub fn all(&self) -> &[Duration] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest latency that `percent` of all do not exceed.
    pub fn percentile_ms(&mut self, percent: f64) -> f64 {
        assert!(!self.0.is_empty(), "nothing was measured");
        self.0.sort_unstable();
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1].as_secs_f64() * 1000.0
    }
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<T: IntoIterator<Item = Duration>>(latencies: T) -> Self {
        Self(latencies.into_iter().collect())
    }
}

/// Wilcoxon's signed-rank statistic of pairs, standardised: how many standard deviations from what noise makes of it.
/// Positive where the first take longer.
pub fn signed_rank(first: &[Duration], second: &[Duration]) -> f64 {
    let differences = first.iter().zip(second).map(|(a, b)| a.as_secs_f64() - b.as_secs_f64());
    let mut differences: Vec<f64> = differences.filter(|difference| *difference != 0.0).collect();
    differences.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let ranks = differences.iter().zip(1..).map(|(difference, rank)| difference.signum() * f64::from(rank));
    let count = differences.len() as f64;
    ranks.sum::<f64>() / (count * (count + 1.0) * (2.0 * count + 1.0) / 6.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_latency_that_was_seen() {
        let mut latencies: Latencies = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(latencies.percentile_ms(50.0), 100.0);
        assert_eq!(latencies.percentile_ms(99.0), 198.0);
        assert_eq!(latencies.percentile_ms(100.0), 200.0);
        assert_eq!(Latencies::from_iter([Duration::from_millis(7)]).percentile_ms(1.0), 7.0);
    }

    #[test]
    fn pairs_that_differ_one_way_are_far_from_noise() {
        let times = |each: fn(u64) -> u64| (1..=100).map(each).map(Duration::from_micros).collect::<Vec<_>>();
        let (one, longer, other) = (times(|n| n * 10), times(|n| n * 10 + n), times(|n| (n * 10) ^ 1));
        assert!(signed_rank(&longer, &one) > 8.0);
        assert!(signed_rank(&one, &longer) < -8.0);
        assert!(signed_rank(&one, &other).is_finite());
    }
}
