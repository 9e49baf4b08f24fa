//! What one row says, or why it cannot be taken.

use super::columns::is_unwilling;
use super::consent::{given_at, given_from};
use super::header::Layout;
use super::splitter::Record;
use super::{NAME_MAX_BYTES, REJECTED_VALUE_MAX_BYTES};
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
        let end = value.floor_char_boundary(REJECTED_VALUE_MAX_BYTES);
        Self { line, value: value[..end].to_owned(), reason }
    }
}

impl Row {
    pub fn read(record: Record<'_>, layout: &Layout, master: &MasterKey) -> Result<Self, Rejection> {
        let rejected = |reason| Rejection::new(record.line, record.field(layout.address), reason);
        check_width(&record, layout).map_err(rejected)?;
        check_standing(&record, layout).map_err(rejected)?;
        let address = EmailAddress::parse(record.field(layout.address));
        let address = address.map_err(|error| rejected(error.to_string()))?;
        let field = |column: &usize| record.field(*column);
        Ok(Self {
            line: record.line,
            hash: master.address_hash(&address),
            address,
            name: layout.name.map_or(Ok(None), |column| name(record.field(column))).map_err(rejected)?,
            attributes: attributes(&record, layout).map_err(rejected)?,
            given_at: layout.consent_times.iter().map(field).find_map(given_at),
            given_from: layout.consent_addresses.iter().map(field).find_map(given_from),
        })
    }
}

fn check_width(record: &Record<'_>, layout: &Layout) -> Result<(), String> {
    let (found, expected) = (record.fields(), layout.columns);
    match (found == expected, record.lines) {
        (true, _) => Ok(()),
        (false, 1) => Err(format!("fields in the row: {found}, in the header: {expected}")),
        (false, lines) => Err(format!(
            "fields in the row: {found}, in the header: {expected}; it runs over {lines} lines: is a quote left open?"
        )),
    }
}

/// Whoever the file itself says has opted out, bounced or complained is not taken for a subscriber.
fn check_standing(record: &Record<'_>, layout: &Layout) -> Result<(), String> {
    let opted_out = layout.opt_out_times.iter().any(|column| !record.field(*column).is_empty());
    match opted_out || layout.standings.iter().any(|column| is_unwilling(record.field(*column))) {
        true => {
            Err("the row itself says that they are not to be written to; a list of such people is imported \
                     with status=opted_out"
                .into())
        }
        false => Ok(()),
    }
}

fn attributes(record: &Record<'_>, layout: &Layout) -> Result<Attributes, String> {
    let mut attributes = Attributes::new();
    for (column, name) in &layout.attributes {
        let value = record.field(*column);
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
