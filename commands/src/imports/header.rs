//! The header row: which delimiter the file has, and what each column means.

use super::columns::{ADDRESS_SPELLINGS, Meaning, meaning};
use super::splitter::{Cursor, Splitter, Step, trimmed};
use super::{CHUNK_BYTES, HEADER_MAX_BYTES};
use crate::attributes::{self, snake_case};
use std::collections::HashMap;

const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Of the columns that an error names.
const SHOWN_MAX: usize = 20;
const SHOWN_MAX_CHARS: usize = 40;
const _: () = assert!(HEADER_MAX_BYTES < CHUNK_BYTES);

pub(super) struct Header {
    pub delimiter: u8,
    pub layout: Layout,
    /// Where the first row starts.
    pub rows: Cursor,
}

/// Which place of a row holds what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub columns: usize,
    pub address: usize,
    pub name: Option<usize>,
    /// By the names that templates use. Times of consent are among them, network addresses are not: those live
    /// sealed in the consent alone.
    pub attributes: Vec<(usize, String)>,
    /// In the order in which they count.
    pub consent_times: Vec<usize>,
    pub consent_addresses: Vec<usize>,
    pub standings: Vec<usize>,
    pub opt_out_times: Vec<usize>,
}

struct Candidate {
    delimiter: u8,
    columns: Vec<String>,
    rows: Cursor,
}

impl Header {
    /// Reads the header from the first chunk of a body; errors are for whoever uploads it.
    pub fn read(chunk: &[u8]) -> Result<Self, String> {
        let read = DELIMITERS.map(|delimiter| Candidate::read(chunk, delimiter));
        let mut candidates: Vec<&Candidate> = read.iter().flatten().collect();
        // The widest; of those as wide, the first.
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.columns.len()));
        let with_address = candidates.iter().find(|candidate| candidate.has_address());
        let Some(Candidate { delimiter, columns, rows }) = with_address else {
            return Err(match (candidates.first(), &read[0]) {
                (Some(candidate), _) => candidate.no_address(),
                (None, Err(error)) => error.clone(),
                (None, Ok(_)) => String::new(),
            });
        };
        Ok(Self { delimiter: *delimiter, layout: Layout::of(columns)?, rows: *rows })
    }
}

impl Candidate {
    fn read(chunk: &[u8], delimiter: u8) -> Result<Self, String> {
        let start = if chunk.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let mut splitter = Splitter::new(delimiter, Cursor { byte: start as i64, line: 1 });
        let end = chunk.len().min(start + HEADER_MAX_BYTES);
        let mut at = start;
        loop {
            let (taken, step) = splitter.step(&chunk[at..end]).map_err(|error| error.to_string())?;
            at += taken;
            match step {
                Step::Record => break,
                Step::End => {
                    return Err("is empty: a header row and a row for each reader are expected".into());
                }
                Step::More if at == end && end < chunk.len() => {
                    return Err(format!("has a header row of more than {} KiB", HEADER_MAX_BYTES / 1024));
                }
                Step::More => {}
            }
        }
        let record = splitter.record().map_err(|error| error.to_string())?;
        let columns = (0..record.fields()).map(|index| cleaned(record.field(index))).collect();
        splitter.skip_breaks(&chunk[at..]);
        Ok(Self { delimiter, columns, rows: splitter.cursor() })
    }

    fn has_address(&self) -> bool {
        self.columns.iter().any(|column| meaning(column) == Meaning::Address)
    }

    /// Names the columns, unless they look like a reader's row: errors hold no personal data.
    fn no_address(&self) -> String {
        if self.columns.iter().any(|column| column.contains('@')) {
            return "starts with a row that looks like a reader's: a header row that names the columns is needed".into();
        }
        let shown: Vec<String> = self.columns.iter().take(SHOWN_MAX).map(|column| shown(column)).collect();
        format!(
            "has no column for the address; its columns are {}; understood are {ADDRESS_SPELLINGS} and the like",
            shown.join(", ")
        )
    }
}

impl Layout {
    /// In a list of people who opted out, the columns that say so are no reason to reject a row.
    pub fn of_opted_out(self) -> Self {
        Self { standings: Vec::new(), opt_out_times: Vec::new(), ..self }
    }

    fn of(columns: &[String]) -> Result<Self, String> {
        let mut seen = Seen::default();
        let mut attributes = Vec::new();
        let (mut times, mut addresses) = (Vec::new(), Vec::new());
        let (mut standings, mut opt_out_times) = (Vec::new(), Vec::new());
        for (index, column) in columns.iter().enumerate() {
            match meaning(column) {
                Meaning::Address => seen.once("\0address".into(), index, column)?,
                Meaning::Name => seen.once("\0name".into(), index, column)?,
                Meaning::ConsentAddress(rank) => addresses.push((rank, index)),
                Meaning::ConsentTime(rank) => {
                    times.push((rank, index));
                    attributes.push((index, attribute(index, column)?));
                }
                Meaning::Standing => {
                    standings.push(index);
                    attributes.push((index, attribute(index, column)?));
                }
                Meaning::OptOutTime => {
                    opt_out_times.push(index);
                    attributes.push((index, attribute(index, column)?));
                }
                Meaning::FirstName => attributes.push((index, "first_name".into())),
                Meaning::LastName => attributes.push((index, "last_name".into())),
                Meaning::Attribute => attributes.push((index, attribute(index, column)?)),
            }
        }
        for (index, name) in &attributes {
            seen.once(name.clone(), *index, &columns[*index])?;
        }
        if attributes.len() > attributes::COUNT_MAX {
            return Err(format!("has more than {} columns of attributes", attributes::COUNT_MAX));
        }
        let address = seen.place("\0address").ok_or("has no column for the address")?;
        let name = seen.place("\0name");
        let (consent_times, consent_addresses) = (by_rank(times), by_rank(addresses));
        Ok(Self {
            columns: columns.len(),
            address,
            name,
            attributes,
            consent_times,
            consent_addresses,
            standings,
            opt_out_times,
        })
    }
}

/// What is taken already, with the column that took it.
#[derive(Default)]
struct Seen<'a>(HashMap<String, (usize, &'a str)>);

impl<'a> Seen<'a> {
    fn once(&mut self, what: String, index: usize, column: &'a str) -> Result<(), String> {
        match self.0.insert(what, (index, column)) {
            None => Ok(()),
            Some((_, earlier)) => {
                Err(format!("has two columns for the same thing: {} and {}", shown(earlier), shown(column)))
            }
        }
    }

    fn place(&self, what: &str) -> Option<usize> {
        self.0.get(what).map(|(index, _)| *index)
    }
}

fn by_rank(mut columns: Vec<(u8, usize)>) -> Vec<usize> {
    columns.sort_unstable();
    columns.into_iter().map(|(_, index)| index).collect()
}

fn attribute(index: usize, column: &str) -> Result<String, String> {
    let place = index + 1;
    match (snake_case(column), column.is_empty()) {
        (Some(name), _) => Ok(name),
        (None, true) => Err(format!("has no name for column {place}")),
        (None, false) => Err(format!(
            "has a column, {} at place {place}, whose name cannot be a field's: it starts with a letter and has at most {} bytes",
            shown(column),
            attributes::NAME_MAX_BYTES
        )),
    }
}

/// Some tools quote a name twice.
fn cleaned(column: &str) -> String {
    trimmed(column.trim_matches('"')).to_owned()
}

fn shown(column: &str) -> String {
    format!("{:?}", column.chars().take(SHOWN_MAX_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests;
