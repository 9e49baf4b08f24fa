//! Paths and query strings.

use super::json::field_error;
use super::timestamp;
use crate::problem::ApiError;
use axum::extract::{FromRequestParts, Path, Query};
use chrono::{DateTime, Utc};
use http::request::Parts;
use projections::{Cursor, Slice};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::error::Error;
use utoipa::IntoParams;
use uuid::Uuid;

const LIMIT: i64 = 50;
const LIMIT_MAX: i64 = 500;

/// The ids in a path, as a UUID or a tuple of them. What is no id is no id that is known.
pub(crate) struct Ids<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Ids<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(ids)| Self(ids)).map_err(|_| ApiError::NotFound("id"))
    }
}

/// A query string, all of it: its type refuses parameters that it does not know.
pub(crate) struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|Query(params)| Self(params)).map_err(|rejection| {
            // serde's own message is the innermost one.
            let mut cause: &dyn Error = &rejection;
            while let Some(source) = cause.source() {
                cause = source;
            }
            // With the parameter before it, where one is to blame.
            let message = cause.to_string();
            let (path, message) = message.split_once(": ").unwrap_or(("", &message));
            ApiError::Invalid(vec![field_error(path, message)])
        })
    }
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParams {
    /// How many items, 50 by default.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    pub limit: Option<String>,
    /// The last page's `next_cursor`.
    pub cursor: Option<String>,
}

/// What is there and says something.
pub(crate) fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().map(str::trim).filter(|value| !value.is_empty())
}

pub(crate) fn limit(limit: &Option<String>) -> Result<i64, ApiError> {
    let Some(limit) = given(limit) else { return Ok(LIMIT) };
    let number = limit.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    number.ok_or_else(|| ApiError::invalid("limit", format!("is not a number from 1 to {LIMIT_MAX}")))
}

pub(crate) fn cursor(cursor: &Option<String>) -> Result<Option<Cursor>, ApiError> {
    let cursor = given(cursor).map(str::parse::<Cursor>).transpose();
    cursor.map_err(|_| ApiError::invalid("cursor", "is not a cursor that a list gave"))
}

pub(crate) fn slice(of: &Option<String>, at: &Option<String>) -> Result<Slice, ApiError> {
    Ok(Slice::new(cursor(at)?, limit(of)?))
}

/// For lists by falling id: the last page's last.
pub(crate) fn before(cursor: &Option<String>) -> Result<Option<Uuid>, ApiError> {
    let before = given(cursor).map(Uuid::try_parse).transpose();
    before.map_err(|_| ApiError::invalid("cursor", "is not a cursor that a list gave"))
}

/// Of a group, a campaign.
pub(crate) fn id(field: &str, value: &Option<String>) -> Result<Option<Uuid>, ApiError> {
    let id = given(value).map(Uuid::try_parse).transpose();
    id.map_err(|_| ApiError::invalid(field, "is not an id"))
}

pub(crate) fn time(field: &str, value: &Option<String>) -> Result<Option<DateTime<Utc>>, ApiError> {
    let Some(text) = given(value) else { return Ok(None) };
    timestamp::parse(&with_plus(text)).map(Some).ok_or_else(|| ApiError::invalid(field, timestamp::EXPECTED))
}

/// In a query a `+` means a blank unless it is written `%2B`: `T18:00:00+01:00` arrives as `T18:00:00 01:00`.
fn with_plus(time: &str) -> Cow<'_, str> {
    match time.rsplit_once(' ') {
        Some((time, offset)) if offset.len() == "01:00".len() => format!("{time}+{offset}").into(),
        _ => time.into(),
    }
}

/// One of a few words.
pub(crate) fn word<'a>(
    field: &str,
    value: &'a Option<String>,
    words: &[&str],
) -> Result<Option<&'a str>, ApiError> {
    match given(value) {
        Some(word) if !words.contains(&word) => {
            Err(ApiError::invalid(field, format!("is not one of {}", words.join(", "))))
        }
        word => Ok(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_that_became_a_blank_is_meant() {
        let of = |text: &str| time("from", &Some(text.to_owned())).map(|time| time.unwrap().to_rfc3339());
        for text in ["2026-12-24T18:00:00+01:00", "2026-12-24T18:00:00 01:00", "2026-12-24T17:00:00Z"] {
            assert_eq!(of(text).unwrap(), "2026-12-24T17:00:00+00:00", "{text}");
        }
        for bad in ["2026-12-24 18:00", "2026-12-24T18:00:00 01:0", "2026-12-24T18:00:00  01:00", " 01:00"] {
            assert!(matches!(of(bad), Err(ApiError::Invalid(_))), "{bad}");
        }
    }

    #[test]
    fn limits_are_bounded() {
        let of = |limit: &str| super::limit(&Some(limit.to_owned()));
        assert_eq!(limit(&None).unwrap(), 50);
        assert_eq!((of("1").unwrap(), of("500").unwrap(), of("").unwrap()), (1, 500, 50));
        for bad in ["0", "501", "-1", "1.5", "x", "99999999999999999999"] {
            assert!(matches!(of(bad), Err(ApiError::Invalid(_))), "{bad}");
        }
    }
}
