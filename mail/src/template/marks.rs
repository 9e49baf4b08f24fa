//! Takes the Jinja tags out of a template and puts them back.
//!
//! While MJML is turned into HTML, and HTML into text, each tag is a mark of plain letters and digits. So no parser
//! sees a tag's quotes, `<` and `&`, and no line is broken within one.

use super::Fault;
use super::jinja::{self, Piece, Tag};

/// A template with a mark in the place of each tag.
#[derive(Debug)]
pub(super) struct Marked<'s> {
    pub text: String,
    pub tags: Vec<Tag<'s>>,
    prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'t> {
    Text(&'t str),
    /// An index into the tags.
    Mark(usize),
}

/// Ends a mark, so that a digit after it isn't taken for its own.
const END: char = 'z';

impl<'s> Marked<'s> {
    pub fn new(source: &'s str) -> Result<Self, Fault> {
        let pieces = jinja::pieces(source)?;
        let mut marked =
            Self { text: String::with_capacity(source.len()), tags: Vec::new(), prefix: prefix(source) };
        for piece in pieces {
            match piece {
                Piece::Text(text) => marked.text.push_str(text),
                Piece::Tag(tag) => marked.push(tag),
            }
        }
        Ok(marked)
    }

    fn push(&mut self, tag: Tag<'s>) {
        // The same tag gets the same mark, so that a link whose text is its address is seen as such.
        let known = self.tags.iter().position(|t| t.source == tag.source);
        let index = known.unwrap_or_else(|| {
            self.tags.push(tag);
            self.tags.len() - 1
        });
        self.text.push_str(&format!("{}{index}{END}", self.prefix));
    }

    /// How all marks begin, and nothing else in the source.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Text made from this template, split at its marks.
    pub fn split<'t>(&self, text: &'t str) -> Vec<Part<'t>> {
        let mut parts = Vec::new();
        let (mut start, mut from) = (0, 0);
        while let Some(at) = text[from..].find(&self.prefix).map(|i| from + i) {
            let digits = at + self.prefix.len();
            let end = text[digits..].find(END).map(|i| digits + i);
            let index = end.and_then(|end| text[digits..end].parse().ok());
            match (index, end) {
                (Some(index), Some(end)) if index < self.tags.len() => {
                    if start < at {
                        parts.push(Part::Text(&text[start..at]));
                    }
                    parts.push(Part::Mark(index));
                    (start, from) = (end + 1, end + 1);
                }
                _ => from = digits,
            }
        }
        if start < text.len() {
            parts.push(Part::Text(&text[start..]));
        }
        parts
    }

    /// Puts the tags back. What looks like a tag, and was none in the source, stays text.
    pub fn restore(&self, text: &str) -> String {
        let parts = self.split(text);
        let mut restored = String::with_capacity(text.len() * 2);
        for part in parts {
            match part {
                Part::Mark(index) => restored.push_str(self.tags[index].source),
                Part::Text(text) => push_literal(&mut restored, text),
            }
        }
        restored
    }

    /// The source's line of the place in the marked text that follows `before`.
    pub fn line_after(&self, before: &str) -> usize {
        let parts = self.split(before);
        let lines = parts.iter().map(|part| match part {
            Part::Text(text) => jinja::newlines(text),
            Part::Mark(index) => jinja::newlines(self.tags[*index].source),
        });
        1 + lines.sum::<usize>()
    }
}

/// Letters that the source doesn't hold.
fn prefix(source: &str) -> String {
    let mut prefix = String::from("jtag");
    while source.contains(&prefix) {
        prefix.push('q');
    }
    prefix
}

/// Writes text so that the engine finds no tag in it, or in it and what may follow it.
fn push_literal(out: &mut String, text: &str) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let opens = match chars.peek() {
            Some(next) => matches!(next, '{' | '%' | '#'),
            None => true,
        };
        match c == '{' && opens {
            true => out.push_str("{{ '{' }}"),
            false => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_out_comes_back() {
        let sources = [
            "",
            "no tags",
            "{{ a }}",
            "x{{ a }}5{{ a }}{{ b }}y",
            "jtag0z {{ a }} jtagq0z",
            "{ {{ a }} }",
            "{% raw %}{{ x }}{% endraw %}",
            "łódź {{ \"浩\" }} 浩",
        ];
        for source in sources {
            let marked = Marked::new(source).unwrap();
            assert!(!marked.text.contains("{{"), "{source}");
            assert_eq!(marked.restore(&marked.text), source);
        }
    }

    #[test]
    fn text_that_turned_into_a_tag_is_shown_and_not_run() {
        let marked = Marked::new("{{ a }}").unwrap();
        let restored = marked.restore(&format!("{{{{ 7*7 }}}} {{% x %}} {{{}", marked.text));
        let env = minijinja::Environment::new();
        let shown = env.render_str(&restored, minijinja::context! { a => "A" }).unwrap();
        assert_eq!(shown, "{{ 7*7 }} {% x %} {A");
    }

    #[test]
    fn lines_are_the_sources() {
        let marked = Marked::new("one\n{{ two\n }} {{ three }}\nfour").unwrap();
        let before = marked.text.split("four").next().unwrap();
        assert_eq!(marked.line_after(before), 4);
    }
}
