//! When and from where somebody consented, as exports write it. What cannot be read is no reason to reject a row.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, SubsecRound, Utc};
use std::net::IpAddr;

/// Times without an offset are taken for UTC. With slashes the month comes first, as Mailchimp writes it; with dots
/// the day does.
const TIMES: [&str; 10] = [
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p",
    "%Y/%m/%d %H:%M:%S",
];
const DATES: [&str; 4] = ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y/%m/%d"];
/// Before the first mailing list, or beyond the four digits of RFC 3339: not a time of consent.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9999;

pub(super) fn given_at(written: &str) -> Option<DateTime<Utc>> {
    let written = written.strip_suffix(" UTC").unwrap_or(written);
    let time = TIMES.iter().find_map(|format| NaiveDateTime::parse_from_str(written, format).ok());
    let time = time.map(|time| time.and_utc());
    let offset = || DateTime::parse_from_rfc3339(written).ok().map(|time| time.to_utc());
    let date = || DATES.iter().find_map(|format| NaiveDate::parse_from_str(written, format).ok());
    let midnight = || date().and_then(|date| date.and_hms_opt(0, 0, 0)).map(|time| time.and_utc());
    let time = time.or_else(offset).or_else(midnight)?;
    YEARS.contains(&time.year()).then(|| time.trunc_subsecs(6))
}

pub(super) fn given_from(written: &str) -> Option<IpAddr> {
    written.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_usual_exports_are_read() {
        for (written, read) in [
            ("2020-06-19 01:58:00", "2020-06-19T01:58:00Z"),
            ("2020-06-19 01:58", "2020-06-19T01:58:00Z"),
            ("2020-06-19 01:58:00 UTC", "2020-06-19T01:58:00Z"),
            ("2020-06-19T01:58:00", "2020-06-19T01:58:00Z"),
            ("2020-06-19T01:58:00.123456789+02:00", "2020-06-18T23:58:00.123456Z"),
            ("2020-06-19T01:58:00Z", "2020-06-19T01:58:00Z"),
            ("2020-06-19 01:58:00+02:00", "2020-06-18T23:58:00Z"),
            ("19.06.2020 01:58", "2020-06-19T01:58:00Z"),
            ("06/19/2020 01:58:30", "2020-06-19T01:58:30Z"),
            ("06/19/2020 01:58 PM", "2020-06-19T13:58:00Z"),
            ("6/9/2020 1:58", "2020-06-09T01:58:00Z"),
            ("2020-06-19", "2020-06-19T00:00:00Z"),
            ("19.06.2020", "2020-06-19T00:00:00Z"),
        ] {
            assert_eq!(given_at(written), Some(read.parse().unwrap()), "{written}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for written in [
            "",
            "yes",
            "0000-00-00 00:00:00",
            "2020-13-01 00:00:00",
            "0001-01-01 00:00:00",
            "12:30",
            "1592531880",
        ] {
            assert_eq!(given_at(written), None, "{written}");
        }
    }

    #[test]
    fn network_addresses_are_read() {
        assert!(given_from("192.0.2.7").is_some() && given_from("2001:db8::1").is_some());
        assert!(
            given_from("").is_none()
                && given_from("unknown").is_none()
                && given_from("192.0.2.7:80").is_none()
        );
    }
}
