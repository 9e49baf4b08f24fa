//! Reading a file as an import would.

use super::dates::DateOrder;
use super::decode::Decoder;
use super::inspect::{Inspected, Inspector};
use super::layout::{Column, Layout};
use super::meaning::Meaning;
use super::scan::{SampleRow, Scanned, Warning, WarningCode};
use super::start::{broken_off, check_size};
use super::{CHUNK_BYTES, ImportRequest};
use crate::{CommandError, Commands};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::Serialize;

/// A file as it would be imported; nothing is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DryRun {
    pub columns: Vec<ReadColumn>,
    pub sample: Vec<SampleRow>,
    pub warnings: Vec<Warning>,
    pub rows: i64,
    pub encoding: &'static str,
    /// False: the import would be refused, as the warnings say.
    pub can_be_imported: bool,
}

/// What a column was understood to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadColumn {
    pub name: String,
    pub meaning: Meaning,
    /// The merge field that its values become.
    pub key: Option<String>,
    /// Of a column of dates whose order matters.
    pub date_order: Option<DateOrder>,
}

pub(super) fn read_columns(layout: Layout) -> Vec<ReadColumn> {
    let read = |Column { name, meaning, key, date_order }| ReadColumn { name, meaning, key, date_order };
    layout.columns.into_iter().map(read).collect()
}

impl Commands {
    /// Reads a CSV file as an import would, and keeps nothing.
    pub async fn try_import<S, E>(&self, request: ImportRequest, mut body: S) -> Result<DryRun, CommandError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::error::Error + Send + Sync + 'static,
    {
        request.check()?;
        let mut read = Read::new(&request);
        let mut bytes_read = 0;
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(broken_off)?;
            bytes_read += bytes.len() as i64;
            check_size(bytes_read)?;
            read.decoder.decode(&bytes, &mut read.text);
            while let Some(chunk) = read.chunk() {
                read.inspector.chunk(&chunk).map_err(CommandError::Invalid)?;
            }
        }
        read.end()?;
        let encoding = read.decoder.name();
        let Inspected { rows, scanned } = read.inspector.end().map_err(CommandError::Invalid)?;
        let Scanned { layout, mut warnings, faults, sample } = scanned;
        warnings.extend(encoding_note(encoding));
        let can_be_imported = faults.is_empty();
        Ok(DryRun { columns: read_columns(layout), sample, warnings, rows, encoding, can_be_imported })
    }
}

pub(super) fn encoding_note(encoding: &str) -> Option<Warning> {
    (encoding != "utf-8").then(|| Warning {
        code: WarningCode::Note,
        column: None,
        line: None,
        text: format!("the file is read as {encoding}"),
    })
}

/// A body on its way from bytes to chunks of UTF-8, looked at as they come.
pub(super) struct Read {
    pub decoder: Decoder,
    pub inspector: Inspector,
    /// What was decoded and is no whole chunk yet.
    pub text: Vec<u8>,
}

impl Read {
    pub fn new(request: &ImportRequest) -> Self {
        Self { decoder: request.decoder(), inspector: request.inspector(), text: Vec::new() }
    }

    /// The next whole chunk.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        (self.text.len() >= CHUNK_BYTES).then(|| {
            let rest = self.text.split_off(CHUNK_BYTES);
            std::mem::replace(&mut self.text, rest)
        })
    }

    /// The end of the body: what is left is the last chunk.
    pub fn end(&mut self) -> Result<Vec<u8>, CommandError> {
        self.decoder.end(&mut self.text);
        let last = std::mem::take(&mut self.text);
        self.inspector.chunk(&last).map_err(CommandError::Invalid)?;
        Ok(last)
    }
}
