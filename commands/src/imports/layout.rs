//! Which place of a row holds what. Kept with the import, so that whoever works on it reads the file as it was
//! understood when it was uploaded.

use super::dates::DateOrder;
use super::header::shown;
use super::meaning::Meaning;
use crate::attributes::{self, NAME_MAX_BYTES, snake_case};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Meanings that somebody gave to columns, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnMapping(BTreeMap<String, Meaning>);

impl FromIterator<(String, Meaning)> for ColumnMapping {
    fn from_iter<I: IntoIterator<Item = (String, Meaning)>>(columns: I) -> Self {
        Self(columns.into_iter().map(|(name, meaning)| (name.trim().to_owned(), meaning)).collect())
    }
}

impl ColumnMapping {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn meaning(&self, column: &str) -> Option<Meaning> {
        self.0.get(column).copied()
    }

    /// Names that no column has.
    pub(super) fn unknown<'a>(&'a self, layout: &'a Layout) -> impl Iterator<Item = &'a str> {
        let is_known = |name: &str| layout.columns.iter().any(|column| column.name == name);
        self.0.keys().map(String::as_str).filter(move |name| !is_known(name))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    pub delimiter: u8,
    /// In the order of the file; none where a list has no header row.
    pub columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    pub name: String,
    pub meaning: Meaning,
    /// The merge field that its values become.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_order: Option<DateOrder>,
}

impl Column {
    pub fn new(name: &str, meaning: Meaning) -> Self {
        Self { name: name.to_owned(), meaning, key: None, date_order: None }
    }
}

impl Layout {
    /// Gives every column a key of its own where it needs one.
    pub fn of(delimiter: u8, mut columns: Vec<Column>, notes: &mut Vec<String>) -> Result<Self, String> {
        let mut keys = Keys::default();
        let (mut address, mut name) = (None, None);
        for (place, column) in columns.iter_mut().enumerate() {
            let once = match column.meaning {
                Meaning::Email => Some(&mut address),
                Meaning::Name => Some(&mut name),
                _ => None,
            };
            if let Some(once) = once {
                if once.is_some() {
                    // The first counts; this one is kept under another key.
                    column.meaning = Meaning::Attribute;
                } else {
                    *once = Some(place);
                }
            }
            if column.meaning == Meaning::Ignore && column.name.is_empty() {
                notes.push(format!("column {} has no name and is ignored", place + 1));
            }
            if column.meaning.has_key() {
                let (key, is_usual) = keys.take(column, place);
                if !is_usual {
                    notes.push(format!("column {}, {}, is kept as {key}", place + 1, shown(&column.name)));
                }
                column.key = Some(key);
            }
        }
        let count = columns.iter().filter(|column| column.key.is_some()).count();
        if count > attributes::COUNT_MAX {
            return Err(format!(
                "has more than {} columns of attributes: leave some out by columns={{\"its name\":\"ignore\"}}",
                attributes::COUNT_MAX
            ));
        }
        Ok(Self { delimiter, columns })
    }

    pub fn address(&self) -> Option<usize> {
        self.places(Meaning::Email).next()
    }

    pub fn name(&self) -> Option<usize> {
        self.places(Meaning::Name).next()
    }

    pub fn places(&self, meaning: Meaning) -> impl Iterator<Item = usize> {
        let has = move |(_, column): &(usize, &Column)| column.meaning == meaning;
        self.columns.iter().enumerate().filter(has).map(|(place, _)| place)
    }

    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.columns.iter().filter_map(|column| column.key.as_ref())
    }
}

/// Keys that are taken.
#[derive(Default)]
struct Keys(BTreeSet<String>);

impl Keys {
    /// The key of a column, and whether it is the one that its name suggests.
    fn take(&mut self, column: &Column, place: usize) -> (String, bool) {
        let usual = match column.meaning {
            Meaning::FirstName => Some("first_name".to_owned()),
            Meaning::LastName => Some("last_name".to_owned()),
            _ => snake_case(&column.name),
        };
        let is_free = |key: &String, taken: &BTreeSet<String>| {
            let built_in = attributes::is_reserved(key);
            let part = matches!(key.as_str(), "first_name" | "last_name")
                && !matches!(column.meaning, Meaning::FirstName | Meaning::LastName);
            !taken.contains(key) && !built_in && !part
        };
        if let Some(key) = usual.as_ref().filter(|key| is_free(key, &self.0)) {
            self.0.insert(key.clone());
            return (key.clone(), true);
        }
        let stem = usual.or_else(|| odd(&column.name)).unwrap_or_else(|| format!("field_{}", place + 1));
        let numbered = (2..).map(|number| format!("{}_{number}", cut(&stem, NAME_MAX_BYTES - 6)));
        let plain = std::iter::once(cut(&stem, NAME_MAX_BYTES).to_owned());
        let key = plain.chain(numbered).find(|key| is_free(key, &self.0)).unwrap_or_default();
        self.0.insert(key.clone());
        (key, false)
    }
}

/// Of a name that begins with a digit, or is too long.
fn odd(name: &str) -> Option<String> {
    let short = cut(name, NAME_MAX_BYTES / 2);
    let begins_well = short.starts_with(char::is_alphabetic);
    snake_case(&if begins_well { short.to_owned() } else { format!("field {short}") })
        .filter(|key| key != "field")
}

fn cut(text: &str, max_bytes: usize) -> &str {
    text[..text.floor_char_boundary(max_bytes)].trim_end_matches('_')
}
