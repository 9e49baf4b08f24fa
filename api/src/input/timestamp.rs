//! Times: RFC 3339 with an offset, to the microsecond.

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Deserializer, de::Error};
use utoipa::ToSchema;

/// What is said of anything else.
pub(super) const EXPECTED: &str =
    "is not a time of RFC 3339 with an offset, such as 2026-12-24T18:00:00+01:00";

/// A time with an offset (RFC 3339).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-12-24T18:00:00+01:00")]
pub(crate) struct Timestamp(pub DateTime<Utc>);

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(Self).ok_or_else(|| D::Error::custom(EXPECTED))
    }
}

/// What Postgres keeps: microseconds. A leap second is the next second's first.
pub(super) fn parse(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    // RFC 3339 has four digits for a year, in UTC as well.
    DateTime::from_timestamp_micros(time.timestamp_micros()).filter(|time| (0..=9999).contains(&time.year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_asked_for() {
        let utc = |text| parse(text).map(|time| time.to_rfc3339());
        assert_eq!(utc("2026-12-24T18:00:00+01:00").as_deref(), Some("2026-12-24T17:00:00+00:00"));
        assert_eq!(utc("2026-12-24t18:00:00z").as_deref(), Some("2026-12-24T18:00:00+00:00"));
        assert_eq!(utc("2026-12-24T18:00:00.1234567Z").as_deref(), Some("2026-12-24T18:00:00.123456+00:00"));
        assert_eq!(utc("2016-12-31T23:59:60Z").as_deref(), Some("2017-01-01T00:00:00+00:00"));
        assert_eq!(parse("9999-12-31T23:59:59-23:59"), None);
        for bad in
            ["", "2026-12-24T18:00:00", "2026-12-24", "18:00", "1798135200", "2026-13-24T18:00:00Z", "soon"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
