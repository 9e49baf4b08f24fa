//! Looks at a body chunk by chunk while it is uploaded: what cannot be imported as a whole is refused before anything
//! is promised, with the line where it is.

use super::dates::DateOrder;
use super::header::Header;
use super::layout::Layout;
use super::scan::{Scan, Scanned};
use super::splitter::{Cursor, Malformed, Splitter, Step};
use super::{ColumnMapping, ImportedStatus};
use crate::FieldError;
use chrono::{DateTime, Utc};

/// How somebody wants a file to be read.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub status: ImportedStatus,
    pub columns: ColumnMapping,
    pub date_order: Option<DateOrder>,
}

pub(super) struct Inspector {
    wanted: Wanted,
    /// When the upload began.
    now: DateTime<Utc>,
    text: Text,
    body: Option<Body>,
}

struct Body {
    splitter: Splitter,
    start: Cursor,
    rows: i64,
    scan: Scan,
    is_scanned: bool,
}

/// What a whole body was found to be.
pub(super) struct Inspected {
    pub rows: i64,
    pub scanned: Scanned,
}

impl Inspector {
    pub fn new(wanted: Wanted, now: DateTime<Utc>) -> Self {
        Self { wanted, now, text: Text::default(), body: None }
    }

    /// Chunks in order; the first holds the whole header row. Errors are for whoever uploads it.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), Vec<FieldError>> {
        self.text.feed(chunk).map_err(of_body)?;
        match &mut self.body {
            Some(body) => body.feed(chunk).map_err(malformed),
            None => {
                let header = self.header(chunk)?;
                let start = header.rows;
                let rows = chunk.get(start.byte as usize..).unwrap_or_default();
                let body = self.body.insert(Body::new(header, &self.wanted, self.now));
                body.feed(rows).map_err(malformed)
            }
        }
    }

    fn header(&self, chunk: &[u8]) -> Result<Header, Vec<FieldError>> {
        let header = match (Header::read(chunk, &self.wanted.columns), self.wanted.status) {
            (Ok(header), _) => header,
            (Err(_), ImportedStatus::OptedOut)
                if self.wanted.columns.is_empty() && !chunk.trim_ascii().is_empty() =>
            {
                Header::of_bare_list(chunk)
            }
            (Err(reason), _) => return Err(of_body(reason)),
        };
        let unknown: Vec<&str> = self.wanted.columns.unknown(&header.layout).collect();
        match unknown.is_empty() {
            true => Ok(header),
            false => Err(vec![FieldError {
                field: "columns".into(),
                reason: format!("the file has no column {}", unknown.join(", ")),
            }]),
        }
    }

    /// Where the first row starts, once there was a chunk.
    pub fn start(&self) -> Option<Cursor> {
        self.body.as_ref().map(|body| body.start)
    }

    /// Whether the file will be refused for what its rows say, whatever follows.
    pub fn is_refused(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.scan.is_refused())
    }

    /// Why it will be refused, as far as it was read.
    pub fn refusal(self) -> Vec<FieldError> {
        let mut faults = self.body.map(|body| body.scan.end().faults).unwrap_or_default();
        // The order of dates may yet have been told.
        faults.retain(|fault| fault.field == "columns");
        faults
    }

    /// The end of the body.
    pub fn end(mut self) -> Result<Inspected, Vec<FieldError>> {
        self.text.end().map_err(of_body)?;
        let Some(mut body) = self.body.take() else {
            return Err(of_body("is empty: a header row and a row for each reader are expected".into()));
        };
        body.end().map_err(malformed)?;
        Ok(Inspected { rows: body.rows, scanned: body.scan.end() })
    }
}

fn of_body(reason: String) -> Vec<FieldError> {
    vec![FieldError { field: "body".into(), reason }]
}

fn malformed(error: Malformed) -> Vec<FieldError> {
    of_body(error.to_string())
}

/// In a list of people who opted out no quote may hide anybody.
pub(super) fn splitter(status: ImportedStatus, layout: &Layout, at: Cursor) -> Splitter {
    match status {
        ImportedStatus::Active => Splitter::new(layout.delimiter, at),
        ImportedStatus::OptedOut => Splitter::forgiving(layout.delimiter, at),
    }
}

impl Body {
    fn new(header: Header, wanted: &Wanted, now: DateTime<Utc>) -> Self {
        let Header { layout, rows: start, notes } = header;
        let splitter = splitter(wanted.status, &layout, start);
        let mut scan = Scan::new(layout, &wanted.columns, wanted.date_order, now);
        scan.notes = notes;
        Self { splitter, start, rows: 0, scan, is_scanned: wanted.status == ImportedStatus::Active }
    }

    fn feed(&mut self, chunk: &[u8]) -> Result<(), Malformed> {
        let mut rest = chunk;
        while !rest.is_empty() {
            let (taken, step) = self.splitter.step(rest)?;
            rest = &rest[taken..];
            self.count(step)?;
        }
        Ok(())
    }

    fn count(&mut self, step: Step) -> Result<(), Malformed> {
        if step == Step::Record {
            self.rows += 1;
            self.scan.row(&self.splitter.record()?, self.is_scanned);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Malformed> {
        loop {
            match self.splitter.step(&[])?.1 {
                Step::End => return Ok(()),
                step => self.count(step)?,
            }
        }
    }
}

/// Whether a text that arrives in pieces is UTF-8 without NUL, which Postgres cannot keep.
#[derive(Default)]
struct Text {
    /// The first bytes of a character whose others are to come: three at the most.
    partial: Vec<u8>,
    breaks: u64,
    begun: bool,
}

impl Text {
    fn feed(&mut self, chunk: &[u8]) -> Result<(), String> {
        if !self.begun && (chunk.starts_with(&[0xff, 0xfe]) || chunk.starts_with(&[0xfe, 0xff])) {
            return Err("is UTF-16: save it as UTF-8".into());
        }
        self.begun = true;
        let rest = self.complete(chunk)?;
        let (valid, partial) = match std::str::from_utf8(rest) {
            Ok(_) => (rest, &[][..]),
            Err(error) if error.error_len().is_none() => rest.split_at(error.valid_up_to()),
            Err(error) => return Err(self.not_utf8(&rest[..error.valid_up_to()])),
        };
        if let Some(nul) = valid.iter().position(|byte| *byte == 0) {
            let line = self.line_after(&valid[..nul]);
            return Err(format!("has a NUL character in line {line}: is it UTF-16? Save it as UTF-8"));
        }
        self.partial.extend(partial);
        self.breaks += breaks(valid);
        Ok(())
    }

    /// Ends the character that the last piece began; returns what follows it.
    fn complete<'a>(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], String> {
        while !self.partial.is_empty() {
            let Some((byte, others)) = rest.split_first() else { break };
            self.partial.push(*byte);
            rest = others;
            match std::str::from_utf8(&self.partial) {
                Ok(_) => self.partial.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(self.not_utf8(&[])),
            }
        }
        Ok(rest)
    }

    fn end(&self) -> Result<(), String> {
        match self.partial.is_empty() {
            true => Ok(()),
            false => Err(self.not_utf8(&[])),
        }
    }

    fn not_utf8(&self, before: &[u8]) -> String {
        format!(
            "is not UTF-8 in line {}: save it as UTF-8 (in Excel: \"CSV UTF-8\")",
            self.line_after(before)
        )
    }

    fn line_after(&self, before: &[u8]) -> u64 {
        self.breaks + breaks(before) + 1
    }
}

/// Line breaks for an error's line: counted by line feeds, in a file without any by carriage returns.
fn breaks(text: &[u8]) -> u64 {
    let count = |wanted: u8| text.iter().filter(|byte| **byte == wanted).count() as u64;
    match count(b'\n') {
        0 => count(b'\r'),
        feeds => feeds,
    }
}

#[cfg(test)]
mod tests;
