//! What is counted of mailers: each bears its own name, of which configuration has a few.

use crate::mailers::Outcome;
pub(crate) use commands::given_up;
use std::time::Duration;

const OUTCOMES: [&str; 5] = ["accepted", "not_started", "deferred", "rejected", "unknown"];

/// Counters begin at zero, so that their first step is seen.
pub fn register(mailer: &'static str) {
    for outcome in OUTCOMES {
        metrics::counter!("postledger_mailer_calls_total", "mailer" => mailer, "outcome" => outcome)
            .increment(0);
    }
    metrics::counter!("postledger_mailer_unavailable_total", "mailer" => mailer).increment(0);
    metrics::counter!("postledger_late_handovers_total", "mailer" => mailer).increment(0);
    for work in ["dispatch", "mail", "import", "freeze"] {
        metrics::counter!("postledger_given_up_total", "work" => work).increment(0);
    }
}

/// One call of the mailer's.
pub(crate) fn called(mailer: &'static str, outcome: &Outcome, took: Duration) {
    metrics::counter!("postledger_mailer_calls_total", "mailer" => mailer, "outcome" => word(outcome))
        .increment(1);
    metrics::histogram!("postledger_mailer_call_duration_seconds", "mailer" => mailer).record(took);
    if let Outcome::Accepted { late: true, .. } | Outcome::Unknown { late: true, .. } = outcome {
        metrics::counter!("postledger_late_handovers_total", "mailer" => mailer).increment(1);
    }
}

/// The mailer was asked to make connections ready, and could not.
pub(crate) fn unavailable(mailer: &'static str) {
    metrics::counter!("postledger_mailer_unavailable_total", "mailer" => mailer).increment(1);
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted { .. } => "accepted",
        Outcome::NotStarted => "not_started",
        Outcome::Deferred { .. } => "deferred",
        Outcome::Rejected { .. } => "rejected",
        Outcome::Unknown { .. } => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailers::UnknownClass;

    #[test]
    fn each_outcome_is_registered() {
        let outcomes = [
            Outcome::Accepted { provider_id: None, late: false },
            Outcome::NotStarted,
            Outcome::Deferred { code: None },
            Outcome::Rejected { code: None },
            Outcome::Unknown { class: UnknownClass::TimedOut, late: false },
        ];
        assert_eq!(outcomes.each_ref().map(word), OUTCOMES);
    }
}
