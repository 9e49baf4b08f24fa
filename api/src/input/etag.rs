//! Versions as entity tags (RFC 9110 sections 8.8.3 and 13.1.1).

use crate::problem::ApiError;
use domain::Sequence;
use http::{HeaderMap, HeaderValue, header};

pub(crate) fn etag(version: i64) -> HeaderValue {
    // A quoted number is a valid header.
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The version that the client has seen. `*` asks for any that exists, which every command does anyway.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<Sequence>, ApiError> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = || ApiError::Malformed("If-Match takes one entity tag, as ETag gave it, or *".to_owned());
    let value = value.to_str().map_err(|_| malformed())?.trim();
    if values.next().is_some() {
        return Err(malformed());
    }
    if value == "*" {
        return Ok(None);
    }
    let quoted = value.strip_prefix("W/").unwrap_or(value);
    let tag = quoted.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(malformed)?;
    if tag.contains('"') {
        return Err(malformed());
    }
    // A tag that is not one of ours names no version there ever was.
    tag.parse().map(Some).map_err(|_| ApiError::Stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<Option<Sequence>, ApiError> {
        let headers = [(header::IF_MATCH, HeaderValue::from_str(value).unwrap())];
        if_match(&HeaderMap::from_iter(headers))
    }

    #[test]
    fn tags_are_versions() {
        assert_eq!(etag(7), "\"7\"");
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
        for (value, version) in [("\"7\"", Some(7)), ("W/\"7\"", Some(7)), (" \"7\" ", Some(7)), ("*", None)]
        {
            assert_eq!(parse(value).unwrap(), version, "{value}");
        }
    }

    #[test]
    fn what_is_no_tag_is_malformed_and_what_is_not_ours_is_stale() {
        for value in ["7", "\"7", "\"", "", "\"7\", \"8\"", "w/\"7\""] {
            assert!(matches!(parse(value), Err(ApiError::Malformed(_))), "{value}");
        }
        for value in ["\"abc\"", "\"\"", "\"-1\"", "\"99999999999999999999\""] {
            assert!(matches!(parse(value), Err(ApiError::Stale)), "{value}");
        }
    }
}
