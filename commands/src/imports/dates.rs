//! When somebody consented, as exports write it. Times without an offset are taken for UTC. Whether the day or the month
//! comes first is decided for a column by all that stands in it, or asked for: never by one cell alone.

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, NaiveTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};

/// Before the first mailing list, or beyond the four digits of RFC 3339: not a time of consent.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9999;
/// Longer cells are no dates.
const DATE_MAX_BYTES: usize = 64;
/// A date without an offset may be of a place where that day has begun already.
const AHEAD_MAX: Duration = Duration::hours(24);

/// In dates such as 05/12/2023.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DateOrder {
    /// The day first.
    Dmy,
    /// The month first.
    Mdy,
}

impl DateOrder {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dmy => "dmy",
            Self::Mdy => "mdy",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "dmy" => Some(Self::Dmy),
            "mdy" => Some(Self::Mdy),
            _ => None,
        }
    }
}

/// A cell as far as it can be read by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Time(DateTime<Utc>),
    /// Two numbers of which one is the day and one the month.
    Numbers {
        first: u32,
        second: u32,
        year: i32,
        has_century: bool,
        clock: Clock,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clock {
    time: NaiveTime,
    offset_seconds: i32,
}

/// Why a filled cell gives no date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoDate {
    Unreadable,
    Future,
}

/// What the cells of a column tell about its order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// Lines of the first cell that can only be read so, or either way.
    pub day_first: Option<i64>,
    pub month_first: Option<i64>,
    pub either: Option<i64>,
}

impl Evidence {
    pub fn add(&mut self, cell: &str, line: i64) {
        let place = match read(cell) {
            Some(Written::Numbers { has_century: false, .. }) => &mut self.either,
            Some(Written::Numbers { first, second, .. }) if first == second => return,
            Some(Written::Numbers { first: 13.., second: ..=12, .. }) => &mut self.day_first,
            Some(Written::Numbers { first: ..=12, second: 13.., .. }) => &mut self.month_first,
            Some(Written::Numbers { first: ..=12, second: ..=12, .. }) => &mut self.either,
            Some(Written::Numbers { .. } | Written::Time(_)) | None => return,
        };
        place.get_or_insert(line);
    }

    /// The order of the whole column; an error says why somebody has to say it.
    pub fn order(&self) -> Result<Option<DateOrder>, String> {
        match (self.day_first, self.month_first, self.either) {
            (Some(day), Some(month), _) => Err(format!(
                "has dates that begin with the day (line {day}) and dates that begin with the month (line {month})"
            )),
            (Some(_), None, _) => Ok(Some(DateOrder::Dmy)),
            (None, Some(_), _) => Ok(Some(DateOrder::Mdy)),
            (None, None, Some(line)) => Err(format!(
                "has dates in which the day or the month may come first (line {line}), and no row that tells which"
            )),
            (None, None, None) => Ok(None),
        }
    }
}

/// Whether it looks like a date, in whatever order.
pub(super) fn is_date(cell: &str) -> bool {
    read(cell).is_some()
}

/// None where nothing stands. `now` is when the file was uploaded.
pub(super) fn given_at(
    cell: &str,
    order: Option<DateOrder>,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, NoDate> {
    if is_empty(cell) {
        return Ok(None);
    }
    let time = match read(cell).ok_or(NoDate::Unreadable)? {
        Written::Time(time) => Some(time),
        Written::Numbers { first, second, year, clock, has_century } => {
            let (day, month) = match order {
                Some(DateOrder::Mdy) => (second, first),
                Some(DateOrder::Dmy) => (first, second),
                None if first == second && has_century => (first, second),
                None => return Err(NoDate::Unreadable),
            };
            NaiveDate::from_ymd_opt(year, month, day).and_then(|date| clock.on(date))
        }
    };
    let time = time.filter(|time| YEARS.contains(&time.year())).ok_or(NoDate::Unreadable)?;
    match time > now + AHEAD_MAX {
        true => Err(NoDate::Future),
        false => Ok(Some(time.trunc_subsecs(6))),
    }
}

/// Databases write `0000-00-00 00:00:00` where there is no time.
fn is_empty(cell: &str) -> bool {
    let none = ["null", "none", "never", "n/a", "-", "\\n"];
    cell.chars().all(|c| "0-: ./".contains(c)) || none.iter().any(|word| cell.eq_ignore_ascii_case(word))
}

impl Clock {
    const MIDNIGHT: Self = Self { time: NaiveTime::MIN, offset_seconds: 0 };

    fn on(self, date: NaiveDate) -> Option<DateTime<Utc>> {
        let offset = Duration::seconds(self.offset_seconds.into());
        NaiveDateTime::new(date, self.time).checked_sub_signed(offset).map(|time| time.and_utc())
    }
}

fn read(cell: &str) -> Option<Written> {
    let cell = cell.trim();
    if cell.is_empty() || cell.len() > DATE_MAX_BYTES || !cell.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if cell.bytes().all(|byte| byte.is_ascii_digit()) {
        return of_digits(cell);
    }
    let (date, rest) = split(cell);
    let clock = clock(rest.trim())?;
    let time = |date: Option<NaiveDate>| date.and_then(|date| clock.on(date)).map(Written::Time);
    let parts: Vec<&str> = date
        .split(|c: char| c.is_whitespace() || "-/.,".contains(c))
        .filter(|part| !part.is_empty())
        .collect();
    let parts = match parts.as_slice() {
        // The day of the week, as in `Mon, 25 Dec 2023`.
        [day, date @ ..] if date.len() == 3 && day.chars().all(char::is_alphabetic) => date,
        date => date,
    };
    let [a, b, c] = parts else { return None };
    match (number(a), number(b), number(c)) {
        (Some(year), Some(month), Some(day)) if a.len() == 4 => time(ymd(year, month, day)),
        (Some(day), Some(month), Some(year)) if c.len() == 4 && date.contains('.') => {
            time(ymd(year, month, day))
        }
        (Some(first), Some(second), Some(year)) if matches!(c.len(), 2 | 4) && a.len().max(b.len()) <= 2 => {
            let has_century = c.len() == 4;
            let year = i32::try_from(year).ok()? + if has_century { 0 } else { 2000 };
            let is_date = first.max(second) <= 31 && first.min(second) <= 12 && first.min(second) > 0;
            is_date.then_some(Written::Numbers { first, second, year, has_century, clock })
        }
        (Some(day), None, Some(year)) if c.len() == 4 => time(ymd(year, month(b)?, day)),
        (Some(year), None, Some(day)) if a.len() == 4 => time(ymd(year, month(b)?, day)),
        (None, Some(day), Some(year)) if c.len() == 4 => time(ymd(year, month(a)?, day)),
        _ => None,
    }
}

/// Seconds or milliseconds since 1970 where they make ten or thirteen digits; `20231225`.
fn of_digits(cell: &str) -> Option<Written> {
    let digits: i64 = cell.parse().ok()?;
    let time = match cell.len() {
        8 => NaiveDate::parse_from_str(cell, "%Y%m%d").ok().and_then(|date| Clock::MIDNIGHT.on(date)),
        10 => DateTime::from_timestamp(digits, 0),
        13 => DateTime::from_timestamp_millis(digits),
        _ => None,
    };
    time.map(Written::Time)
}

/// The date, and what follows it.
fn split(cell: &str) -> (&str, &str) {
    let Some(colon) = cell.find(':') else { return (cell.trim_end_matches(['Z', 'T']), "") };
    let hour = cell[..colon].trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let date = cell[..hour].trim_end();
    (date.strip_suffix('T').or_else(|| date.strip_suffix(" at")).unwrap_or(date), &cell[hour..])
}

fn number(part: &str) -> Option<u32> {
    let ordinal = ["st", "nd", "rd", "th"].iter().find_map(|end| part.strip_suffix(end)).unwrap_or(part);
    match ordinal.len() <= 4 && ordinal.bytes().all(|byte| byte.is_ascii_digit()) {
        true => ordinal.parse().ok(),
        false => None,
    }
}

fn ymd(year: u32, month: u32, day: u32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(year.try_into().ok()?, month, day)
}

/// By the beginning of its name, in the languages of usual exports.
fn month(name: &str) -> Option<u32> {
    const MONTHS: [&str; 12] = [
        "jan ene",
        "feb fév fev",
        "mar mär maa mrz",
        "apr avr abr",
        "mai may mei",
        "jun juin",
        "jul juil",
        "aug aoû ago",
        "sep",
        "oct okt",
        "nov",
        "dec dez déc dic",
    ];
    let name = name.to_lowercase();
    // Finnish: November begins like March elsewhere.
    if name.starts_with("marras") {
        return Some(11);
    }
    let is = |months: &&str| months.split(' ').any(|start| name.starts_with(start));
    // `juin` and `juil` begin alike, and so do no others.
    let found = MONTHS.iter().position(is)?;
    u32::try_from(found + 1).ok()
}

/// `13:05`, `1:05:30.5 PM`, with `Z`, `UTC`, `+02:00`, `+0200` or `+02` behind it.
fn clock(text: &str) -> Option<Clock> {
    if text.is_empty() {
        return Some(Clock::MIDNIGHT);
    }
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(text.len());
    let (time, rest) = text.split_at(end);
    let (half, rest) = half_of_day(rest.trim());
    let time = match half {
        None => ["%H:%M:%S%.f", "%H:%M"].iter().find_map(|form| NaiveTime::parse_from_str(time, form).ok()),
        Some(half) => ["%I:%M:%S%.f %p", "%I:%M %p"]
            .iter()
            .find_map(|form| NaiveTime::parse_from_str(&format!("{time} {half}"), form).ok()),
    }?;
    Some(Clock { time, offset_seconds: offset(rest.trim())? })
}

fn half_of_day(text: &str) -> (Option<&'static str>, &str) {
    for (written, half) in [("a.m.", "AM"), ("p.m.", "PM"), ("am", "AM"), ("pm", "PM")] {
        if text.get(..written.len()).is_some_and(|start| start.eq_ignore_ascii_case(written)) {
            return (Some(half), &text[written.len()..]);
        }
    }
    (None, text)
}

fn offset(text: &str) -> Option<i32> {
    let text = ["UTC", "GMT", "Z"].iter().find_map(|zone| text.strip_prefix(zone)).unwrap_or(text).trim();
    // A zone's name behind its offset says the same once more.
    let text = text.split([' ', '(']).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0);
    }
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let digits: String = text[1..].chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (digits.parse::<i32>().ok()?, 0),
        4 => (digits[..2].parse::<i32>().ok()?, digits[2..].parse::<i32>().ok()?),
        _ => return None,
    };
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests;
