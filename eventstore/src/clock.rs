//! The one place that reads the wall clock.

use chrono::{DateTime, SubsecRound, Utc};

/// Now, to the microsecond: what Postgres keeps.
#[allow(clippy::disallowed_methods)]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}
