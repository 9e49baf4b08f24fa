//! Splits CSV bytes that arrive in pieces into records, and knows where each record starts, as a person's editor
//! shows it and as a later start needs it.

use super::{LIST_ROW_MAX_BYTES, ROW_MAX_BYTES};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// The start of a record: bytes from the start of the file, lines from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub byte: i64,
    pub line: i64,
}

/// What no record can be made of. Both name the line where the record starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the row that starts in line {0} is longer than 1 MiB: is a quote left open?")]
    RowTooLong(i64),
    #[error(
        "the file ends within a quoted field; its row starts in line {0}: is a quote left open, or the file cut off?"
    )]
    OpenQuote(i64),
    #[error("the row that starts in line {0} is not UTF-8")]
    Text(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Give the rest of the input, or more of it.
    More,
    /// [`Splitter::record`] has it.
    Record,
    End,
}

pub(super) struct Splitter {
    csv: Reader,
    delimiter: u8,
    /// An open quote ends at a line break behind so many bytes, or with the file, instead of spoiling all.
    forgives: bool,
    text: Vec<u8>,
    text_bytes: usize,
    ends: Vec<usize>,
    fields: usize,
    at: Cursor,
    after_cr: bool,
    /// Where the present record starts; none between records.
    start: Option<Cursor>,
    record: Cursor,
}

impl Splitter {
    pub fn new(delimiter: u8, at: Cursor) -> Self {
        Self {
            csv: reader(delimiter),
            delimiter,
            forgives: false,
            text: vec![0; 1024],
            text_bytes: 0,
            ends: vec![0; 64],
            fields: 0,
            at,
            after_cr: false,
            start: None,
            record: at,
        }
    }

    /// For a list in which nothing may be lost for a quote.
    pub fn forgiving(delimiter: u8, at: Cursor) -> Self {
        Self { forgives: true, ..Self::new(delimiter, at) }
    }

    /// Takes some of `input` and says how much; an empty one is the end of the file. Memory is bounded by
    /// [`ROW_MAX_BYTES`].
    pub fn step(&mut self, input: &[u8]) -> Result<(usize, Step), Malformed> {
        let breaks = self.skip_breaks(input);
        let Some(start) = self.start else {
            let step = if input.is_empty() { Step::End } else { Step::More };
            return Ok((breaks, step));
        };
        // At the end of the file: a quoted field takes a line break as its own, anything else ends with it.
        let is_end = input.is_empty();
        let input = if is_end { b"\n" } else { self.bounded(&input[breaks..], start) };
        let (text, ends) = (&mut self.text[self.text_bytes..], &mut self.ends[self.fields..]);
        let (result, read, written, ended) = self.csv.read_record(input, text, ends);
        let read = if is_end { 0 } else { read };
        self.pass(&input[..read]);
        self.text_bytes += written;
        self.fields += ended;
        let is_over = self.forgives && self.bytes_of(start) >= LIST_ROW_MAX_BYTES;
        if !is_over && self.bytes_of(start) > ROW_MAX_BYTES {
            return Err(Malformed::RowTooLong(start.line));
        }
        let step = match result {
            ReadRecordResult::InputEmpty if self.forgives && (is_end || is_over) => self.end_record(start),
            ReadRecordResult::InputEmpty if is_end => return Err(Malformed::OpenQuote(start.line)),
            ReadRecordResult::InputEmpty => Step::More,
            ReadRecordResult::OutputFull => grow(&mut self.text),
            ReadRecordResult::OutputEndsFull => grow(&mut self.ends),
            ReadRecordResult::Record => {
                self.start = None;
                self.record = start;
                Step::Record
            }
            ReadRecordResult::End => Step::End,
        };
        Ok((breaks + read, step))
    }

    fn bytes_of(&self, start: Cursor) -> i64 {
        self.at.byte - start.byte
    }

    /// What a record that forgives may take: up to its bound, and then the rest of its line.
    fn bounded<'a>(&self, input: &'a [u8], start: Cursor) -> &'a [u8] {
        let room = usize::try_from(LIST_ROW_MAX_BYTES - self.bytes_of(start)).unwrap_or(0);
        let line = |rest: &[u8]| {
            rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).map_or(rest.len(), |at| at + 1)
        };
        match self.forgives && input.len() > room {
            true => &input[..room + line(&input[room..]).min(LIST_ROW_MAX_BYTES as usize)],
            false => input,
        }
    }

    /// Ends a record within its quote.
    fn end_record(&mut self, start: Cursor) -> Step {
        self.csv = reader(self.delimiter);
        if self.fields == self.ends.len() {
            grow(&mut self.ends);
        }
        self.ends[self.fields] = self.text_bytes;
        self.fields += 1;
        self.start = None;
        self.record = start;
        Step::Record
    }

    /// Passes a whole line.
    pub fn skip_line(&mut self, input: &[u8]) {
        let end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(input.len());
        let breaks = if input[end..].starts_with(b"\r\n") { 2 } else { 1 };
        self.pass(&input[..input.len().min(end + breaks)]);
    }

    /// Passes the line breaks before a record, so that it starts at its first character; that ends what
    /// [`Self::record`] gave.
    pub fn skip_breaks(&mut self, input: &[u8]) -> usize {
        if self.start.is_some() {
            return 0;
        }
        let breaks = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.pass(&input[..breaks]);
        if breaks < input.len() {
            self.start = Some(self.at);
            (self.text_bytes, self.fields) = (0, 0);
        }
        breaks
    }

    /// Where reading is: the start of the next record, once [`Self::skip_breaks`] left some of its input.
    pub fn cursor(&self) -> Cursor {
        self.at
    }

    /// The record that [`Step::Record`] announced.
    pub fn record(&self) -> Result<Record<'_>, Malformed> {
        let text = std::str::from_utf8(&self.text[..self.text_bytes]);
        Ok(Record {
            line: self.record.line,
            // At least its own line break was passed, except at the end of the file.
            lines: (self.at.line - self.record.line).max(1),
            text: text.map_err(|_| Malformed::Text(self.record.line))?,
            ends: &self.ends[..self.fields],
        })
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.at.byte += bytes.len() as i64;
        for byte in bytes {
            let is_break = *byte == b'\r' || (*byte == b'\n' && !self.after_cr);
            self.at.line += i64::from(is_break);
            self.after_cr = *byte == b'\r';
        }
    }
}

fn reader(delimiter: u8) -> Reader {
    let mut csv = ReaderBuilder::new().delimiter(delimiter).build();
    // A reader takes a byte-order mark off the first bytes that it sees, which are not always the file's.
    csv.read_record(b"\n", &mut [0; 1], &mut [0; 1]);
    csv
}

fn grow<T: Clone + Default>(buffer: &mut Vec<T>) -> Step {
    buffer.resize(buffer.len() * 2, T::default());
    Step::More
}

#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    /// The line where it starts.
    pub line: i64,
    /// The lines that it runs over.
    pub lines: i64,
    text: &'a str,
    ends: &'a [usize],
}

impl<'a> Record<'a> {
    pub fn fields(&self) -> usize {
        self.ends.len()
    }

    /// All fields.
    pub fn text(&self) -> impl Iterator<Item = &'a str> {
        (0..self.fields()).map(|index| self.field(index))
    }

    /// The field at this place from 0, without white space around it; empty where there is none.
    pub fn field(&self, index: usize) -> &'a str {
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let field = self.ends.get(index).and_then(|end| self.text.get(start..*end));
        trimmed(field.unwrap_or_default())
    }
}

/// Without what cannot be seen around it, and without `="…"`, by which a CSV keeps a spreadsheet from changing a cell.
pub(super) fn trimmed(field: &str) -> &str {
    let unseen =
        |c: char| c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
    let field = field.trim_matches(unseen);
    let kept = field.strip_prefix("=\"").and_then(|rest| rest.strip_suffix('"'));
    kept.map_or(field, |kept| kept.trim_matches(unseen))
}

#[cfg(test)]
mod tests;
