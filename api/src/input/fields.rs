//! Checks of single fields, collected so that an answer names all that is wrong.

use crate::problem::ApiError;
use commands::FieldError;

#[derive(Default)]
pub(crate) struct Fields(Vec<FieldError>);

impl Fields {
    pub fn fail(&mut self, field: &str, reason: impl Into<String>) {
        self.0.push(FieldError { field: field.to_owned(), reason: reason.into() });
    }

    /// What has to be there. Empty where it is not, which nobody sees: the check fails.
    pub fn needed(&mut self, field: &str, text: Option<String>) -> String {
        text.unwrap_or_else(|| {
            self.fail(field, "is missing");
            String::new()
        })
    }

    /// One line of text, trimmed, that says something.
    pub fn line(&mut self, field: &str, text: String, max_bytes: usize) -> String {
        let text = self.optional_line(field, text, max_bytes);
        if text.is_empty() && self.0.last().is_none_or(|last| last.field != field) {
            self.fail(field, "is empty");
        }
        text
    }

    /// One line of text, trimmed; it may be empty.
    pub fn optional_line(&mut self, field: &str, text: String, max_bytes: usize) -> String {
        self.bounded(field, text, max_bytes, char::is_control)
    }

    /// Text of any number of lines.
    pub fn text(&mut self, field: &str, text: String, max_bytes: usize) -> String {
        self.bounded(field, text, max_bytes, |c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    }

    fn bounded(
        &mut self,
        field: &str,
        text: String,
        max_bytes: usize,
        forbidden: fn(char) -> bool,
    ) -> String {
        let text = text.trim();
        if text.len() > max_bytes {
            self.fail(field, format!("has more than {max_bytes} bytes"));
        } else if text.contains(forbidden) {
            self.fail(field, "has control characters");
        } else {
            return text.to_owned();
        }
        String::new()
    }

    pub fn check(self) -> Result<(), ApiError> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(ApiError::Invalid(self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_field_is_named_once() {
        let mut fields = Fields::default();
        assert_eq!(fields.line("a", " x ".into(), 5), "x");
        assert_eq!(fields.text("b", "two\nlines".into(), 20), "two\nlines");
        fields.line("c", "  ".into(), 5);
        fields.line("d", "two\nlines".into(), 20);
        fields.text("e", "nul\0".into(), 20);
        fields.line("f", "łłł".into(), 5);
        let Err(ApiError::Invalid(errors)) = fields.check() else { panic!("nothing was wrong") };
        let errors: Vec<_> =
            errors.iter().map(|error| (error.field.as_str(), error.reason.as_str())).collect();
        let control = "has control characters";
        assert_eq!(
            errors,
            [("c", "is empty"), ("d", control), ("e", control), ("f", "has more than 5 bytes")]
        );
    }
}
