//! What one row says, or why it cannot be taken.

use super::dates::given_at;
use super::layout::{Column, Layout};
use super::meaning::Meaning;
use super::splitter::Record;
use super::words::{Says, says};
use super::{NAME_MAX_BYTES, REJECTED_VALUE_MAX_BYTES, addresses, columns};
use crate::attributes::{Attributes, VALUE_MAX_BYTES};
use chrono::{DateTime, Utc};
use domain::{AddressHash, EmailAddress};
use eventstore::keys::MasterKey;
use std::net::IpAddr;

pub(super) struct Row {
    pub line: i64,
    pub address: EmailAddress,
    pub hash: AddressHash,
    /// Of a column of its own.
    pub name: Option<String>,
    /// Those that are not empty.
    pub attributes: Attributes,
    pub given_at: Option<DateTime<Utc>>,
    pub given_from: Option<IpAddr>,
}

pub(super) struct Rejection {
    /// The line where the row starts.
    pub line: i64,
    /// The address cell, cut.
    pub value: String,
    pub reason: String,
}

impl Rejection {
    pub fn new(line: i64, value: &str, reason: String) -> Self {
        Self { line, value: cut(value).to_owned(), reason }
    }
}

/// At the most so many bytes, and no part of an address: an erasure could not find it.
fn cut(value: &str) -> &str {
    let short = &value[..value.floor_char_boundary(REJECTED_VALUE_MAX_BYTES)];
    match short.len() == value.len() {
        true => short,
        false => short.trim_end_matches(|c| addresses::in_local(c) || addresses::in_host(c) || c == '@'),
    }
}

impl Row {
    /// `now` is when the file was uploaded.
    pub fn read(
        record: Record<'_>,
        layout: &Layout,
        now: DateTime<Utc>,
        master: &MasterKey,
    ) -> Result<Self, Rejection> {
        let cell = layout.address().map_or("", |column| record.field(column));
        let rejected = |reason| Rejection::new(record.line, cell, reason);
        check_width(&record, layout).map_err(rejected)?;
        let address = EmailAddress::parse(unquoted(cell)).map_err(|error| rejected(error.to_string()))?;
        check_standing(&record, layout).map_err(rejected)?;
        let mut row = Self::of(record.line, address, master);
        if let Some(column) = layout.name() {
            row.name = name(record.field(column)).map_err(rejected)?;
        }
        row.attributes = attributes(&record, layout).map_err(rejected)?;
        row.given_at = consent_date(&record, layout, now);
        row.given_from = consent_ip(&record, layout);
        Ok(row)
    }

    /// Every address that can be read in a row of a list of people who opted out. A row as the header has it names them
    /// in its columns of addresses; of any other row every place counts, since it may hold others.
    pub fn read_opted_out(
        record: Record<'_>,
        layout: &Layout,
        master: &MasterKey,
    ) -> Result<Vec<Self>, Rejection> {
        let is_address = |column: &Column| {
            let is_other = column.meaning == Meaning::Attribute && columns::is_other_address(&column.name);
            column.meaning == Meaning::Email || columns::meaning(&column.name) == Meaning::Email || is_other
        };
        let columns = layout.columns.iter().enumerate().filter(|(_, column)| is_address(column));
        let cells: Vec<&str> = columns.map(|(place, _)| record.field(place)).collect();
        let is_sound = record.lines == 1 && record.fields() == layout.columns.len();
        let mut found: Vec<EmailAddress> = cells.iter().flat_map(|cell| in_cell(cell)).collect();
        if !is_sound || found.is_empty() {
            found.extend(record.text().flat_map(in_cell));
        }
        let mut rows: Vec<Self> = Vec::new();
        for address in found {
            let row = Self::of(record.line, address, master);
            if rows.iter().all(|other| other.hash != row.hash) {
                rows.push(row);
            }
        }
        match rows.is_empty() {
            false => Ok(rows),
            true => {
                let value = cells.first().copied().or_else(|| record.text().next()).unwrap_or_default();
                Err(Rejection::new(record.line, value, "no address can be read in this row".into()))
            }
        }
    }

    fn of(line: i64, address: EmailAddress, master: &MasterKey) -> Self {
        Self {
            line,
            hash: master.address_hash(&address),
            address,
            name: None,
            attributes: Attributes::new(),
            given_at: None,
            given_from: None,
        }
    }
}

fn in_cell(cell: &str) -> Vec<EmailAddress> {
    let whole = EmailAddress::parse(cell.trim_start_matches(['\'', '`'])).ok();
    whole.map_or_else(|| addresses::readable(cell).collect(), |whole| vec![whole])
}

/// Without the apostrophe by which a CSV keeps a spreadsheet from running a cell, as ours do.
fn unquoted(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if rest.starts_with(['=', '+', '-', '@']) => rest,
        _ => cell,
    }
}

/// A short row is filled, as many tools leave out what is empty at its end.
fn check_width(record: &Record<'_>, layout: &Layout) -> Result<(), String> {
    let (found, expected) = (record.fields(), layout.columns.len());
    let is_longer = (expected..found).any(|place| !record.field(place).is_empty());
    match (is_longer, found < expected, record.lines) {
        (false, false, _) | (false, true, 1) => Ok(()),
        (_, _, 1) => Err(format!("fields in the row: {found}, in the header: {expected}")),
        (_, _, lines) => Err(format!(
            "fields in the row: {found}, in the header: {expected}; it runs over {lines} lines: is a quote left open?"
        )),
    }
}

/// What the row's own cells say of whether they may be written to. Yes is what some cell says, where the file has a column
/// that may, and none denies.
pub(super) fn check_standing(record: &Record<'_>, layout: &Layout) -> Result<(), String> {
    let (mut may_say_yes, mut yes) = (false, false);
    for (place, column) in layout.columns.iter().enumerate() {
        may_say_yes |=
            matches!(column.meaning, Meaning::Subscribed | Meaning::Status | Meaning::RecipientState);
        match says(column.meaning, record.field(place)) {
            Says::Yes => yes = true,
            Says::Nothing => {}
            Says::No => {
                return Err("the row itself says that they are not to be written to; a list of such people is imported \
                            with status=opted_out"
                    .into());
            }
            Says::NotUnderstood => return Err("it is not understood whether they may be written to".into()),
        }
    }
    match yes || !may_say_yes {
        true => Ok(()),
        false => Err("the row does not say that they may be written to, as others of the file do".into()),
    }
}

/// The first that can be read. The others were told when the file was uploaded.
fn consent_date(record: &Record<'_>, layout: &Layout, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let places = layout.places(Meaning::ConsentDate).chain(layout.places(Meaning::ConfirmationDate));
    let read =
        |place: usize| given_at(record.field(place), layout.columns[place].date_order, now).ok().flatten();
    places.filter_map(read).next()
}

fn consent_ip(record: &Record<'_>, layout: &Layout) -> Option<IpAddr> {
    let places = layout.places(Meaning::ConsentIp).chain(layout.places(Meaning::ConfirmationIp));
    places.filter_map(|place| record.field(place).parse().ok()).next()
}

fn attributes(record: &Record<'_>, layout: &Layout) -> Result<Attributes, String> {
    let mut attributes = Attributes::new();
    for (place, column) in layout.columns.iter().enumerate() {
        let Some(name) = &column.key else { continue };
        let value = record.field(place);
        if value.len() > VALUE_MAX_BYTES {
            return Err(format!("{name} is longer than {VALUE_MAX_BYTES} bytes"));
        }
        if !value.is_empty() {
            attributes.insert(name.clone(), value.to_owned());
        }
    }
    Ok(attributes)
}

/// A name stands in a mail's header: on one line, without control characters.
pub(super) fn name(written: &str) -> Result<Option<String>, String> {
    let words = written.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let name = words.collect::<Vec<_>>().join(" ");
    match name.len() {
        0 => Ok(None),
        1..=NAME_MAX_BYTES => Ok(Some(name)),
        _ => Err(format!("the name is longer than {NAME_MAX_BYTES} bytes")),
    }
}

#[cfg(test)]
mod tests;
