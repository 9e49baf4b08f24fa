//! The header row: where it is, which delimiter the file has, and what each column means.

use super::columns::{ADDRESS_SPELLINGS, key, may_be_address, meaning};
use super::layout::{Column, Layout};
use super::meaning::Meaning;
use super::splitter::{Cursor, Splitter, Step, trimmed};
use super::{CHUNK_BYTES, ColumnMapping, HEADER_MAX_BYTES};
use domain::EmailAddress;

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Records that are looked at to find the header row, and a column of addresses below it.
const HEAD_RECORDS: usize = 32;
/// Lines above the header row that hold a title.
const TITLES_MAX: usize = 8;
/// Of the columns that an error names.
const SHOWN_MAX: usize = 20;
const SHOWN_MAX_CHARS: usize = 40;
const _: () = assert!(HEADER_MAX_BYTES < CHUNK_BYTES);

pub(super) struct Header {
    pub layout: Layout,
    /// Where the first row starts.
    pub rows: Cursor,
    /// What was passed over or read in an unusual way.
    pub notes: Vec<String>,
}

struct Head {
    delimiter: u8,
    /// The first records, each with the place behind it.
    records: Vec<(Vec<String>, Cursor)>,
}

/// A record that is taken for the header row.
struct Found<'a> {
    head: &'a Head,
    place: usize,
    /// The column of the addresses, where its name alone does not say so.
    address: Option<usize>,
}

impl Header {
    /// Reads the header from the first chunk of a body; errors are for whoever uploads it.
    pub fn read(chunk: &[u8], mapping: &ColumnMapping) -> Result<Self, String> {
        let (start, only) = start_of(chunk);
        let delimiters = only.map_or(DELIMITERS.to_vec(), |only| vec![only]);
        let heads: Vec<Result<Head, String>> =
            delimiters.iter().map(|delimiter| Head::read(chunk, *delimiter, start)).collect();
        let mut read: Vec<&Head> = heads.iter().flatten().collect();
        // The widest; of those as wide, the first.
        read.sort_by_key(|head| std::cmp::Reverse(head.width()));
        let by_name = read.iter().find_map(|head| head.by_name(mapping));
        let found = by_name.or_else(|| read.iter().find_map(|head| head.by_rows(mapping)));
        match (found, read.first(), heads.first()) {
            (Some(found), _, _) => found.header(mapping),
            (None, Some(head), _) => Err(head.no_address(mapping)),
            (None, None, Some(Err(error))) => Err(error.clone()),
            (None, None, _) => Err(String::new()),
        }
    }

    /// A list of people who opted out needs no header: every address in it counts.
    pub fn of_bare_list(chunk: &[u8]) -> Self {
        let (start, only) = start_of(chunk);
        let heads = DELIMITERS.iter().filter_map(|delimiter| Head::read(chunk, *delimiter, start).ok());
        let widest = heads.max_by_key(Head::width).map_or(b',', |head| head.delimiter);
        let layout = Layout { delimiter: only.unwrap_or(widest), columns: Vec::new() };
        let notes = vec!["no column is known to hold addresses: every address in the file is taken".into()];
        Self { layout, rows: start, notes }
    }
}

/// Behind the byte-order mark and Excel's line `sep=;`, which names the delimiter.
fn start_of(chunk: &[u8]) -> (Cursor, Option<u8>) {
    let mark = if chunk.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let text = &chunk[mark..];
    let line = text.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let named = match line.trim_ascii().split_at_checked(4) {
        Some((sep, [delimiter])) if sep.eq_ignore_ascii_case(b"sep=") && delimiter.is_ascii_punctuation() => {
            Some(*delimiter).filter(|delimiter| *delimiter != b'"')
        }
        Some((sep, [])) if sep.eq_ignore_ascii_case(b"sep=") && line.ends_with(b"\t") => Some(b'\t'),
        _ => None,
    };
    let start = Cursor { byte: mark as i64, line: 1 };
    let Some(delimiter) = named else { return (start, None) };
    let mut splitter = Splitter::new(delimiter, start);
    splitter.skip_line(text);
    (splitter.cursor(), Some(delimiter))
}

impl Head {
    fn read(chunk: &[u8], delimiter: u8, start: Cursor) -> Result<Self, String> {
        let mut splitter = Splitter::new(delimiter, start);
        let mut at = start.byte as usize;
        let mut records = Vec::new();
        while records.len() < HEAD_RECORDS {
            let end = if records.len() <= TITLES_MAX {
                chunk.len().min(at + HEADER_MAX_BYTES)
            } else {
                chunk.len()
            };
            match next_record(&mut splitter, chunk, &mut at, end) {
                Ok(Step::Record) => {}
                Ok(Step::End) => break,
                Ok(Step::More) if !records.is_empty() => break,
                Ok(Step::More) => {
                    return Err(format!("has a header row of more than {} KiB", HEADER_MAX_BYTES / 1024));
                }
                Err(_) if !records.is_empty() => break,
                Err(error) => return Err(error),
            }
            let Ok(record) = splitter.record() else { break };
            let cells = (0..record.fields()).map(|index| cleaned(record.field(index))).collect();
            at += splitter.skip_breaks(&chunk[at..]);
            records.push((cells, splitter.cursor()));
        }
        match records.is_empty() {
            true => Err("is empty: a header row and a row for each reader are expected".into()),
            false => Ok(Self { delimiter, records }),
        }
    }

    fn width(&self) -> usize {
        self.titles().map(|place| self.records[place].0.len()).max().unwrap_or_default()
    }

    /// The records that may be the header row: the first, and those below lines with one cell that is nobody's address.
    fn titles(&self) -> impl Iterator<Item = usize> {
        let is_title = |cells: &[String]| {
            let mut filled = cells.iter().filter(|cell| !cell.is_empty());
            filled.next().is_none_or(|cell| !is_address(cell)) && filled.next().is_none()
        };
        let titles =
            self.records.iter().take(TITLES_MAX).take_while(move |(cells, _)| is_title(cells)).count();
        0..(titles + 1).min(self.records.len())
    }

    fn by_name(&self, mapping: &ColumnMapping) -> Option<Found<'_>> {
        self.titles().find_map(|place| {
            let columns = &self.records[place].0;
            let means_email = |column: &String| mapping.meaning(column) == Some(Meaning::Email);
            let named =
                |column: &String| mapping.meaning(column).is_none() && meaning(column) == Meaning::Email;
            let address = columns.iter().position(means_email).or_else(|| columns.iter().position(named));
            let address = address.or_else(|| own_address(columns))?;
            Some(Found { head: self, place, address: Some(address) })
        })
    }

    /// By a column that may hold addresses, and does.
    fn by_rows(&self, mapping: &ColumnMapping) -> Option<Found<'_>> {
        let place = self.titles().last()?;
        let columns = &self.records[place].0;
        if columns.iter().any(|column| column.contains('@')) {
            return None;
        }
        let address = columns.iter().enumerate().find(|(index, column)| {
            let mut cells = self.records[place + 1..].iter().filter_map(|(cells, _)| cells.get(*index));
            mapping.meaning(column).is_none()
                && may_be_address(column)
                && cells.find(|cell| !cell.is_empty()).is_some_and(|cell| is_address(cell))
        });
        address.map(|(index, _)| Found { head: self, place, address: Some(index) })
    }

    /// Names the columns, unless they look like a reader's row: errors hold no personal data.
    fn no_address(&self, mapping: &ColumnMapping) -> String {
        let columns = &self.records[0].0;
        if columns.iter().any(|column| column.contains('@')) {
            return "starts with a row that looks like a reader's: a header row that names the columns is needed".into();
        }
        let given = if mapping.is_empty() { "" } else { " where columns maps none" };
        let shown: Vec<String> = columns.iter().take(SHOWN_MAX).map(|column| shown(column)).collect();
        format!(
            "has no column for the address{given}; its columns are {}; understood are {ADDRESS_SPELLINGS} and the like; \
             another one is named by columns={{\"its name\":\"email\"}}",
            shown.join(", ")
        )
    }
}

impl Found<'_> {
    fn header(&self, mapping: &ColumnMapping) -> Result<Header, String> {
        let (names, rows) = &self.head.records[self.place];
        let mut notes = Vec::new();
        match self.place {
            0 => {}
            1 => notes.push("the line above the header row was passed over as a title".to_owned()),
            lines => notes.push(format!("{lines} lines above the header row were passed over as titles")),
        }
        let meanings = meanings(names, mapping, self.address);
        let columns: Vec<Column> =
            names.iter().zip(meanings).map(|(name, meaning)| Column::new(name, meaning)).collect();
        let layout = Layout::of(self.head.delimiter, columns, &mut notes)?;
        Ok(Header { layout, rows: *rows, notes })
    }
}

fn meanings(names: &[String], mapping: &ColumnMapping, address: Option<usize>) -> Vec<Meaning> {
    let keys: Vec<String> = names.iter().map(|name| key(name)).collect();
    let has = |name: &str| keys.iter().any(|key| key == name);
    let own = Own::of(&keys);
    let by_name = |index: usize, name: &String| match mapping.meaning(name) {
        Some(given) => given,
        None if address == Some(index) => Meaning::Email,
        None if name.is_empty() => Meaning::Ignore,
        None => match (own.and_then(|own| own.meaning(&keys[index])), meaning(name)) {
            (Some(own), _) => own,
            // Substack says by another column who wants no mail.
            (None, _) if keys[index] == "activesubscription" && has("emaildisabled") => Meaning::Attribute,
            (None, meaning) => meaning,
        },
    };
    names.iter().enumerate().map(|(index, name)| by_name(index, name)).collect()
}

/// Our own files.
#[derive(Clone, Copy)]
enum Own {
    Recipients,
    OptOuts,
}

impl Own {
    fn of(keys: &[String]) -> Option<Self> {
        let has = |names: &[&str]| names.iter().all(|name| keys.iter().any(|key| key == name));
        match () {
            () if has(&["subscriberid", "address", "state", "dispatchid"]) => Some(Self::Recipients),
            () if has(&["position", "subscriberid", "scope", "channel"]) => Some(Self::OptOuts),
            () => None,
        }
    }

    fn meaning(self, key: &str) -> Option<Meaning> {
        Some(match (self, key) {
            (_, "address") => Meaning::Email,
            (Self::Recipients, "state") => Meaning::RecipientState,
            (Self::OptOuts, "channel") => Meaning::OptOutDate,
            _ => Meaning::Ignore,
        })
    }
}

fn own_address(columns: &[String]) -> Option<usize> {
    let keys: Vec<String> = columns.iter().map(|column| key(column)).collect();
    Own::of(&keys).and_then(|_| keys.iter().position(|key| key == "address"))
}

/// [`Step::More`]: it does not end before `end`.
fn next_record(splitter: &mut Splitter, chunk: &[u8], at: &mut usize, end: usize) -> Result<Step, String> {
    loop {
        let (taken, step) = splitter.step(&chunk[*at..end]).map_err(|error| error.to_string())?;
        *at += taken;
        let is_cut = end < chunk.len() || chunk.len() >= CHUNK_BYTES;
        match step {
            Step::More if *at == end && is_cut => return Ok(Step::More),
            Step::More => {}
            step => return Ok(step),
        }
    }
}

fn is_address(cell: &str) -> bool {
    EmailAddress::parse(cell).is_ok()
}

/// Some tools quote a name twice.
fn cleaned(column: &str) -> String {
    trimmed(column.trim_matches('"')).to_owned()
}

pub(super) fn shown(column: &str) -> String {
    format!("{:?}", column.chars().take(SHOWN_MAX_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests;
