//! CSV that spreadsheets open without running what is in it.

use crate::problem::ApiError;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use eventstore::StoreError;
use futures::StreamExt;
use http::{HeaderMap, header};
use std::borrow::Cow;
use std::future::Future;
use std::io;

/// Cells that begin like this are formulas to a spreadsheet (OWASP, "CSV injection").
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

const CONTENT_TYPE: &str = "text/csv; charset=utf-8";

/// Where a file's rows come from, a thousand or so at once.
pub(crate) trait Rows: Send + 'static {
    /// `None` after the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, ApiError>> + Send;
}

/// A file of any length. An error cuts it off, so that nobody takes a part for the whole.
pub(crate) fn file<const N: usize>(
    name: &str,
    columns: [&str; N],
    rows: impl Rows,
) -> Result<Response, ApiError> {
    let header = Bytes::from(self::rows([columns.map(str::to_owned)])?);
    let body = futures::stream::unfold(Some((Some(header), rows)), async |state| {
        let (header, mut rows) = state?;
        if let Some(header) = header {
            return Some((Ok(header), Some((None, rows))));
        }
        match rows.next().await {
            Ok(Some(bytes)) => Some((Ok(Bytes::from(bytes)), Some((None, rows)))),
            Ok(None) => None,
            Err(_) => Some((Err(io::Error::other("the file was cut off")), None)),
        }
    });
    // What compresses it asks once more after the end.
    let body = body.fuse();
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [(header::CONTENT_TYPE, CONTENT_TYPE), (header::CONTENT_DISPOSITION, &disposition)];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// The first media type in `Accept` that we have decides.
pub(crate) fn prefers_csv(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut types = accept.split(',').filter_map(|range| range.split(';').next()).map(str::trim);
    types.find(|name| ["text/csv", "application/json", "*/*"].contains(name)) == Some("text/csv")
}

fn neutral(cell: &str) -> Cow<'_, str> {
    match cell.starts_with(FORMULA_STARTS) {
        true => Cow::Owned(format!("'{cell}")),
        false => Cow::Borrowed(cell),
    }
}

/// Rows as bytes, with CRLF (RFC 4180).
pub(crate) fn rows<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> Result<Vec<u8>, ApiError> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let failed = |error: csv::Error| StoreError::Format(format!("CSV: {:?}", error.kind()));
    for row in rows {
        writer.write_record(row.iter().map(|cell| neutral(cell).into_owned())).map_err(failed)?;
    }
    Ok(writer.into_inner().map_err(|error| StoreError::Format(error.error().to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_text() {
        let cells = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "plain", "a=b", "", "it's"];
        let expected = ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "'\rx", "plain", "a=b", "", "it's"];
        assert_eq!(cells.map(neutral), expected);
    }

    #[test]
    fn rows_are_quoted_where_they_must_be() {
        let row = ["a,b", "say \"x\"", "two\nlines", "=1"].map(str::to_owned);
        let bytes = rows([row]).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), "\"a,b\",\"say \"\"x\"\"\",\"two\nlines\",'=1\r\n");
    }
}
