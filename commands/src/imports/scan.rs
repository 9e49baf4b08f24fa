//! Looks at every row of a file before any is imported: which order its dates have, which words of its columns about
//! consent are not understood, and what somebody has to know who imports it.

use super::columns::{is_about_mail, is_of_other_channel};
use super::dates::{DateOrder, Evidence, NoDate, given_at};
use super::header::shown;
use super::layout::{Column, Layout};
use super::meaning::Meaning;
use super::row::check_standing;
use super::splitter::Record;
use super::words::{Says, is_unmistakable, is_yes_or_no, says};
use crate::FieldError;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Rows that a dry run shows.
const SAMPLE_ROWS: usize = 5;
/// Of a cell that a dry run shows.
const SAMPLE_MAX_CHARS: usize = 200;
/// Dates that are named by their lines; more are counted.
const DATES_MAX: usize = 1_000;
/// Words of one column that an error names.
const WORDS_MAX: usize = 5;
/// A longer word may be anything.
const WORD_MAX_CHARS: usize = 30;

/// Something about a file that does not stop its import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    pub code: WarningCode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// As an editor shows it: the header is line 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<i64>,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// A line, a column or a name was read in another way than it stands there.
    Note,
    /// Rows that will be rejected, as they say themselves.
    NotSubscribed,
    DateUnreadable,
    DateInFuture,
    /// More dates than are listed.
    DatesCut,
    /// The import would be refused for this.
    Stops,
}

impl WarningCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::NotSubscribed => "not_subscribed",
            Self::DateUnreadable => "date_unreadable",
            Self::DateInFuture => "date_in_future",
            Self::DatesCut => "dates_cut",
            Self::Stops => "stops",
        }
    }
}

/// A row as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SampleRow {
    pub line: i64,
    /// In the order of the columns.
    pub cells: Vec<String>,
}

/// What is known of one column.
#[derive(Default)]
struct Seen {
    order: Evidence,
    /// Words that are not understood, with their first line.
    words: Vec<(String, i64)>,
    /// Dates that give none with the day first, with the month first.
    day_first: Vec<(i64, NoDate)>,
    month_first: Vec<(i64, NoDate)>,
    /// Of an attribute that may ask about mail: the first yes or no, while nothing else stands in it.
    answer: Answer,
    /// An attribute whose cells may say who may be written to.
    is_judged: bool,
}

/// Whether a column has a yes or a no in every filled cell.
#[derive(Default)]
enum Answer {
    #[default]
    None,
    First(String, i64),
    /// It holds something else, or was given a meaning.
    Other,
}

pub(super) struct Scan {
    layout: Layout,
    date_order: Option<DateOrder>,
    now: DateTime<Utc>,
    columns: Vec<Seen>,
    pub notes: Vec<String>,
    pub sample: Vec<SampleRow>,
    unwilling: i64,
}

/// The file as it will be read.
pub(super) struct Scanned {
    pub layout: Layout,
    pub warnings: Vec<Warning>,
    /// Why it cannot be imported so.
    pub faults: Vec<FieldError>,
    pub sample: Vec<SampleRow>,
}

impl Scan {
    pub fn new(
        layout: Layout,
        given: &super::ColumnMapping,
        date_order: Option<DateOrder>,
        now: DateTime<Utc>,
    ) -> Self {
        let is_given: Vec<bool> =
            layout.columns.iter().map(|column| given.meaning(&column.name).is_some()).collect();
        let seen = |(column, is_given): (&Column, &bool)| Seen::of(column, *is_given);
        let columns = layout.columns.iter().zip(&is_given).map(seen).collect();
        let (notes, sample) = (Vec::new(), Vec::new());
        Self { layout, date_order, now, columns, notes, sample, unwilling: 0 }
    }

    /// Of a list of people who opted out no cell matters but the address.
    pub fn row(&mut self, record: &Record<'_>, is_judged: bool) {
        if self.sample.len() < SAMPLE_ROWS {
            let shown = |cell: &str| cell.chars().take(SAMPLE_MAX_CHARS).collect();
            self.sample.push(SampleRow { line: record.line, cells: record.text().map(shown).collect() });
        }
        // Without an address a row is nobody's: a sum below the rows, or the header row once more.
        let is_somebodys = self.layout.address().is_some_and(|place| record.field(place).contains('@'));
        if !is_judged || !is_somebodys || record.fields() > self.layout.columns.len() {
            return;
        }
        let mut is_understood = true;
        for (place, column) in self.layout.columns.iter().enumerate() {
            let cell = record.field(place);
            let seen = &mut self.columns[place];
            match column.meaning {
                Meaning::ConsentDate | Meaning::ConfirmationDate => {
                    seen.date(cell, record.line, self.now);
                }
                Meaning::Attribute if seen.is_judged => seen.attribute(cell, record.line),
                meaning if says(meaning, cell) == Says::NotUnderstood => {
                    is_understood = false;
                    seen.word(cell, record.line);
                }
                _ => {}
            }
        }
        self.unwilling += i64::from(is_understood && check_standing(record, &self.layout).is_err());
    }

    /// Whether something was found that no later row can mend.
    pub fn is_refused(&self) -> bool {
        self.columns.iter().any(|seen| !seen.words.is_empty())
    }

    pub fn end(mut self) -> Scanned {
        let mut faults = Vec::new();
        let mut warnings: Vec<Warning> = self.notes.iter().map(|note| Warning::note(note)).collect();
        for (column, seen) in self.layout.columns.iter_mut().zip(&mut self.columns) {
            seen.answered();
            faults.extend(seen.words_fault(column));
            if column.meaning.is_date() {
                match self.date_order.map_or_else(|| seen.order.order(), |order| Ok(Some(order))) {
                    Ok(order) => column.date_order = order,
                    Err(reason) => faults.push(order_fault(column, &reason)),
                }
                warnings.extend(seen.date_warnings(column));
            }
        }
        if self.unwilling > 0 {
            let text =
                format!("{} rows do not say that they may be written to, and are rejected", self.unwilling);
            warnings.push(Warning { code: WarningCode::NotSubscribed, column: None, line: None, text });
        }
        warnings.extend(faults.iter().map(|fault: &FieldError| Warning {
            code: WarningCode::Stops,
            column: None,
            line: None,
            text: fault.reason.clone(),
        }));
        Scanned { layout: self.layout, warnings, faults, sample: self.sample }
    }
}

impl Warning {
    fn note(text: &str) -> Self {
        Self { code: WarningCode::Note, column: None, line: None, text: text.to_owned() }
    }
}

fn order_fault(column: &Column, reason: &str) -> FieldError {
    let reason = format!("column {} {reason}: say date_order=dmy or date_order=mdy", shown(&column.name));
    FieldError { field: "date_order".into(), reason }
}

impl Seen {
    /// A meaning that was given is not doubted; what is said of text messages or calls is not about mail.
    fn of(column: &Column, is_given: bool) -> Self {
        let is_judged = !is_given && !is_of_other_channel(&column.name);
        let answer = if is_judged && is_about_mail(&column.name) { Answer::None } else { Answer::Other };
        Self { is_judged, answer, ..Self::default() }
    }

    fn attribute(&mut self, cell: &str, line: i64) {
        if is_unmistakable(cell) {
            self.word(cell, line);
        }
        match &self.answer {
            Answer::Other => {}
            _ if cell.is_empty() => {}
            _ if !is_yes_or_no(cell) => self.answer = Answer::Other,
            Answer::None => self.answer = Answer::First(cell.to_owned(), line),
            Answer::First(..) => {}
        }
    }

    /// The end of the file: a column about mail with nothing but yes and no in it is no attribute.
    fn answered(&mut self) {
        if let Answer::First(cell, line) = std::mem::take(&mut self.answer) {
            self.word(&cell, line);
        }
    }

    fn word(&mut self, cell: &str, line: i64) {
        let word: String = cell.chars().take(WORD_MAX_CHARS + 1).collect();
        if self.words.len() < WORDS_MAX && self.words.iter().all(|(known, _)| *known != word) {
            self.words.push((word, line));
        }
    }

    fn date(&mut self, cell: &str, line: i64, now: DateTime<Utc>) {
        self.order.add(cell, line);
        for (order, dates) in [(DateOrder::Dmy, &mut self.day_first), (DateOrder::Mdy, &mut self.month_first)]
        {
            if let Err(why) = given_at(cell, Some(order), now)
                && dates.len() <= DATES_MAX
            {
                dates.push((line, why));
            }
        }
    }

    fn words_fault(&self, column: &Column) -> Option<FieldError> {
        if self.words.is_empty() {
            return None;
        }
        let said = |(word, line): &(String, i64)| match is_word(word) {
            true => format!("{word:?} (line {line})"),
            false => format!("a value that is no word (line {line})"),
        };
        let words: Vec<String> = self.words.iter().map(said).collect();
        let name = shown(&column.name);
        let reason = match column.meaning {
            Meaning::NotUnderstood => format!("column {name} can be read both ways"),
            Meaning::Attribute => {
                format!("column {name} seems to say who may be written to, by {}", words.join(", "))
            }
            _ => format!(
                "column {name} says who may be written to, and {} is not understood",
                words.join(", ")
            ),
        };
        let remedy = format!(
            "say what it means by columns={{{}:\"…\"}}: subscribed, not_subscribed, status, opt_out_date, attribute or ignore",
            serde_json::Value::from(column.name.as_str())
        );
        Some(FieldError { field: "columns".into(), reason: format!("{reason}: {remedy}") })
    }

    fn date_warnings(&self, column: &Column) -> Vec<Warning> {
        let dates = match column.date_order {
            Some(DateOrder::Mdy) => &self.month_first,
            Some(DateOrder::Dmy) | None => &self.day_first,
        };
        let about = |code, line, text: &str| Warning {
            code,
            column: Some(column.name.clone()),
            line,
            text: text.into(),
        };
        let warning = |(line, why): &(i64, NoDate)| match why {
            NoDate::Unreadable => {
                about(WarningCode::DateUnreadable, Some(*line), "the date cannot be read: none is recorded")
            }
            NoDate::Future => {
                about(WarningCode::DateInFuture, Some(*line), "the date is in the future: none is recorded")
            }
        };
        let cut =
            (dates.len() > DATES_MAX).then(|| about(WarningCode::DatesCut, None, "more dates give none"));
        dates.iter().take(DATES_MAX).map(warning).chain(cut).collect()
    }
}

fn is_word(text: &str) -> bool {
    text.chars().count() <= WORD_MAX_CHARS && !text.contains('@')
}
