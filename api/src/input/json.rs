//! JSON into typed bodies: what is no JSON is malformed, what does not fit is named by its field.

use crate::problem::ApiError;
use commands::FieldError;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // A list would do for a struct, its fields by their places: nobody means that.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| malformed(&error))?;
        return Err(ApiError::Malformed("the body has to be a JSON object".to_owned()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        match error.inner().classify() {
            Category::Data => ApiError::Invalid(vec![field_error(&path, &error.inner().to_string())]),
            Category::Io | Category::Syntax | Category::Eof => malformed(error.inner()),
        }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(parsed)
}

/// Where JSON's syntax ends; its text quotes nothing of the body.
fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::Malformed(format!("the body is no JSON: {error}"))
}

/// Serde's message, made into a field and a reason that does not quote the value.
pub(crate) fn field_error(path: &str, message: &str) -> FieldError {
    let path = if path == "." { "" } else { path };
    let message = message.split(" at line ").next().unwrap_or(message);
    let named = |start: &str| message.strip_prefix(start)?.split('`').next();
    let below = |name: &str| match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}.{name}"),
    };
    if let Some(name) = named("missing field `") {
        return FieldError { field: below(name), reason: "is missing".to_owned() };
    }
    if let Some(name) = named("duplicate field `") {
        return FieldError { field: below(name), reason: "is given twice".to_owned() };
    }
    if let Some(name) = named("unknown field `") {
        let field = if path.rsplit('.').next() == Some(name) { path.to_owned() } else { below(name) };
        return FieldError { field, reason: "is not a known field".to_owned() };
    }
    let reason = match message.split_once(", expected ") {
        Some((_, "a sequence")) => "is not a list".to_owned(),
        Some((_, "u64")) => "is not a whole number from 0".to_owned(),
        Some((_, expected)) => format!("is not {expected}"),
        None if message.starts_with("UUID parsing failed") => "is not an id".to_owned(),
        None => message.to_owned(),
    };
    FieldError { field: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use uuid::Uuid;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Outer {
        name: String,
        inner: Option<Inner>,
        #[serde(default)]
        ids: Vec<Uuid>,
        size: Option<u64>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        source: String,
        word: Option<Word>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Hold,
        Resend,
    }

    fn fault(json: &str) -> (String, String) {
        match parse::<Outer>(json.as_bytes()) {
            Err(ApiError::Invalid(mut errors)) => {
                let error = errors.pop().unwrap();
                (error.field, error.reason)
            }
            other => panic!("{json}: {other:?}"),
        }
    }

    #[test]
    fn fields_are_named_by_their_path() {
        let cases = [
            (r#"{}"#, "name", "is missing"),
            (r#"{"name": "x", "nmae": 1}"#, "nmae", "is not a known field"),
            (r#"{"name": "x", "name": "y"}"#, "name", "is given twice"),
            (r#"{"name": 5}"#, "name", "is not a string"),
            (r#"{"name": "x", "size": "5"}"#, "size", "is not a whole number from 0"),
            (r#"{"name": "x", "size": -5}"#, "size", "is not a whole number from 0"),
            (r#"{"name": "x", "inner": {}}"#, "inner.source", "is missing"),
            (
                r#"{"name": "x", "inner": {"source": "s", "bogus": {}}}"#,
                "inner.bogus",
                "is not a known field",
            ),
            (
                r#"{"name": "x", "inner": {"source": "s", "word": "both"}}"#,
                "inner.word",
                "is not `hold` or `resend`",
            ),
            (
                r#"{"name": "x", "inner": {"source": "s", "word": "both"}}"#,
                "inner.word",
                "is not `hold` or `resend`",
            ),
        ];
        for (json, field, reason) in cases {
            let expected = (field.to_owned(), reason.to_owned());
            assert_eq!(fault(json).0, expected.0, "{json}");
            assert!(fault(json).1.starts_with(&expected.1), "{json}: {:?}", fault(json));
        }
        let (field, _) = fault(r#"{"name": "x", "ids": ["0192ce7e-0000-7000-8000-000000000000", "secret"]}"#);
        assert_eq!(field, "ids[1]");
        assert_eq!(fault(r#"{"name": {"secret": 1}}"#).1, "is not a string");
    }

    /// Our types do not nest. Were there one that takes any value, this is how deep it would go.
    #[test]
    fn nesting_ends_at_127_levels() {
        let nested =
            |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        let refused = |json: &str| match parse::<serde_json::Value>(json.as_bytes()) {
            Ok(_) => None,
            Err(ApiError::Malformed(reason)) => Some(reason.contains("recursion limit exceeded")),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(refused(&nested(127)), None);
        assert_eq!(refused(&nested(128)), Some(true));
        // What is refused, or skipped as a list is, takes no stack: a quarter of a thread's is enough.
        let deep = move || {
            assert_eq!(refused(&nested(1_000_000)), Some(true));
            assert!(matches!(parse::<Outer>("[".repeat(1_000_000).as_bytes()), Err(ApiError::Malformed(_))));
        };
        std::thread::Builder::new().stack_size(512 * 1024).spawn(deep).unwrap().join().unwrap();
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        let deep = format!("{{\"inner\": {}", "[".repeat(10_000));
        let cases = [
            "",
            " ",
            "{",
            "{\"name\": }",
            "{\"name\": \"x\"} x",
            "nonsense",
            "[\"x\"]",
            "\"x\"",
            "null",
            &deep,
        ];
        for json in cases {
            let parsed = parse::<Outer>(json.as_bytes());
            let is_refused = matches!(parsed, Err(ApiError::Malformed(_) | ApiError::Invalid(_)));
            assert!(is_refused && (json == deep || matches!(parsed, Err(ApiError::Malformed(_)))), "{json}");
        }
        assert!(matches!(parse::<Outer>(b"{\"name\": \"\xff\"}"), Err(ApiError::Malformed(_))));
    }
}
