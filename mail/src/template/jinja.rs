//! Finds the Jinja tags in a template: `{{ … }}`, `{% … %}`, `{# … #}` and raw blocks.
//!
//! The engine has a lexer of its own, which is private. This one is needed before it (limits, refused statements),
//! beside it (which names a template uses) and around it (tags are taken out while MJML or text is made).

use super::Fault;
use std::ops::Range;

/// A long chain in one tag (`a + a + …`) would overflow the engine's stack, which no one could catch.
pub(super) const MAX_TAG_BYTES: usize = 1_000;
/// In one part of a template.
pub(super) const MAX_TAGS: usize = 5_000;
/// Each `elif` is a level deeper on the engine's stack.
const MAX_ELIF: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `{{ … }}`
    Expression,
    /// `{% … %}`
    Statement,
    /// `{# … #}`
    Comment,
    /// `{% raw %} … {% endraw %}`, whole
    Raw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag<'s> {
    pub source: &'s str,
    pub kind: Kind,
    /// From 1.
    pub line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'s> {
    Text(&'s str),
    Tag(Tag<'s>),
}

/// Splits a template into text and tags; both together are the whole source.
pub(super) fn pieces(source: &str) -> Result<Vec<Piece<'_>>, Fault> {
    let mut pieces = Vec::new();
    let (mut at, mut line) = (0, 1);
    let mut counts = Counts::default();
    let styles = styles(source);
    while let Some((start, kind)) = next_opening(source, at, &styles) {
        push_text(&mut pieces, &source[at..start]);
        line += newlines(&source[at..start]);
        let (kind, end) = tag_end(source, start, kind).ok_or_else(|| unclosed(source, start, line))?;
        let tag = Tag { source: &source[start..end], kind, line };
        counts.add(&tag)?;
        line += newlines(tag.source);
        pieces.push(Piece::Tag(tag));
        at = end;
    }
    push_text(&mut pieces, &source[at..]);
    Ok(pieces)
}

#[derive(Default)]
struct Counts {
    tags: usize,
    elifs: usize,
}

impl Counts {
    fn add(&mut self, tag: &Tag<'_>) -> Result<(), Fault> {
        let is_code = matches!(tag.kind, Kind::Expression | Kind::Statement);
        if is_code && tag.source.len() > MAX_TAG_BYTES {
            return Err(Fault::at(tag.line, format!("a tag may be {MAX_TAG_BYTES} bytes long at the most")));
        }
        self.tags += 1;
        self.elifs += usize::from(tag.keyword() == Some("elif"));
        match (self.tags > MAX_TAGS, self.elifs > MAX_ELIF) {
            (true, _) => Err(Fault::at(tag.line, format!("there may be {MAX_TAGS} tags at the most"))),
            (_, true) => Err(Fault::at(tag.line, format!("there may be {MAX_ELIF} elif at the most"))),
            _ => Ok(()),
        }
    }
}

pub(super) fn newlines(text: &str) -> usize {
    text.bytes().filter(|b| *b == b'\n').count()
}

fn push_text<'s>(pieces: &mut Vec<Piece<'s>>, text: &'s str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
}

fn unclosed(source: &str, start: usize, line: usize) -> Fault {
    let opening: String = source[start..].chars().take(30).collect();
    Fault::at(line, format!("the tag that begins with `{}` is not closed", opening.trim_end()))
}

/// A style sheet, and the last end of a comment in it.
struct Style {
    range: Range<usize>,
    last_end: Option<usize>,
}

impl Style {
    fn of(source: &str, range: Range<usize>) -> Self {
        let last_end = source[range.clone()].rfind("#}").map(|end| range.start + end);
        Self { range, last_end }
    }

    /// `{#a{color:red}}` is a rule of a style sheet unless a comment's end follows there.
    fn has_no_comment_at(&self, at: usize) -> bool {
        self.range.contains(&at) && self.last_end.is_none_or(|end| end < at + 2)
    }
}

fn styles(source: &str) -> Vec<Style> {
    let starts = |at: usize, prefix: &str| {
        source.get(at..at + prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let mut styles: Vec<Style> = Vec::new();
    let mut open = None;
    for (at, _) in source.match_indices('<') {
        match open {
            None if starts(at, "<style") || starts(at, "<mj-style") => open = Some(at),
            Some(start) if starts(at, "</style") || starts(at, "</mj-style") => {
                styles.push(Style::of(source, start..at));
                open = None;
            }
            _ => {}
        }
    }
    styles.extend(open.map(|start| Style::of(source, start..source.len())));
    styles
}

fn next_opening(source: &str, from: usize, styles: &[Style]) -> Option<(usize, Kind)> {
    let is_rule = |at: usize| {
        let style = styles.partition_point(|style| style.range.end <= at);
        styles.get(style).is_some_and(|style| style.has_no_comment_at(at))
    };
    let bytes = source.as_bytes();
    (from..bytes.len()).find_map(|i| match (bytes[i], bytes.get(i + 1)) {
        (b'{', Some(b'{')) => Some((i, Kind::Expression)),
        (b'{', Some(b'%')) => Some((i, Kind::Statement)),
        (b'{', Some(b'#')) if !is_rule(i) => Some((i, Kind::Comment)),
        _ => None,
    })
}

/// The end of the tag that opens at `start`; a statement `raw` becomes a whole raw block.
fn tag_end(source: &str, start: usize, kind: Kind) -> Option<(Kind, usize)> {
    let inside = start + 2;
    match kind {
        Kind::Comment => source[inside..].find("#}").map(|i| (kind, inside + i + 2)),
        Kind::Expression => code_end(source, inside, b"}}").map(|end| (kind, end)),
        Kind::Statement | Kind::Raw => {
            let end = code_end(source, inside, b"%}")?;
            match is_bare(&source[inside..end - 2], "raw") {
                true => endraw(source, end).map(|end| (Kind::Raw, end)),
                false => Some((Kind::Statement, end)),
            }
        }
    }
}

/// The end of code up to and with `close`, which counts neither in strings nor in brackets.
fn code_end(source: &str, from: usize, close: &[u8; 2]) -> Option<usize> {
    let bytes = source.as_bytes();
    let (mut i, mut depth) = (from, 0_usize);
    while i < bytes.len() {
        if depth == 0 && bytes[i..].starts_with(close) {
            return Some(i + 2);
        }
        match bytes[i] {
            quote @ (b'"' | b'\'') => i = string_end(bytes, i, quote)?,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        i += 1;
    }
    None
}

/// The index of the closing quote of the string that opens at `start`.
fn string_end(bytes: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut i = start + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b if b == quote => return Some(i),
            _ => {}
        }
        i += 1;
    }
    None
}

fn endraw(source: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let open = at + source[at..].find("{%")? + 2;
        let close = open + source[open..].find("%}")?;
        if is_bare(&source[open..close], "endraw") {
            return Some(close + 2);
        }
        at = open;
    }
}

/// Whether a statement's inside is one word alone, whitespace control (`-`, `+`) aside.
fn is_bare(inside: &str, word: &str) -> bool {
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    inside.strip_suffix(['-', '+']).unwrap_or(inside).trim() == word
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word<'s> {
    Name(&'s str),
    Sign(char),
    /// A string with its quotes, or a number: never a name.
    Literal(&'s str),
}

impl<'s> Tag<'s> {
    /// The names, signs and literals within an expression or a statement.
    pub fn words(&self) -> Vec<Word<'s>> {
        match self.kind {
            Kind::Expression | Kind::Statement => words(&self.source[2..self.source.len() - 2]),
            Kind::Comment | Kind::Raw => Vec::new(),
        }
    }

    /// The keyword of a statement.
    pub fn keyword(&self) -> Option<&'s str> {
        if self.kind != Kind::Statement {
            return None;
        }
        self.words().into_iter().find_map(|word| match word {
            Word::Name(name) => Some(name),
            Word::Sign(_) | Word::Literal(_) => None,
        })
    }
}

fn words(code: &str) -> Vec<Word<'_>> {
    let bytes = code.as_bytes();
    let mut words = Vec::new();
    let mut i = 0;
    while let Some(c) = code[i..].chars().next() {
        let end = match c {
            '"' | '\'' => string_end(bytes, i, c as u8).map_or(code.len(), |end| end + 1),
            c if c.is_alphanumeric() || c == '_' => i + word_len(&code[i..]),
            c => i + c.len_utf8(),
        };
        match c {
            '"' | '\'' | '0'..='9' => words.push(Word::Literal(&code[i..end])),
            c if c.is_alphabetic() || c == '_' => words.push(Word::Name(&code[i..end])),
            c if c.is_whitespace() => {}
            c => words.push(Word::Sign(c)),
        }
        i = end;
    }
    words
}

fn word_len(code: &str) -> usize {
    code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(source: &str) -> Vec<(Kind, &str, usize)> {
        let tags = pieces(source).unwrap().into_iter().filter_map(|piece| match piece {
            Piece::Tag(tag) => Some((tag.kind, tag.source, tag.line)),
            Piece::Text(_) => None,
        });
        tags.collect()
    }

    #[test]
    fn tags_end_where_the_engine_ends_them() {
        use Kind::*;
        let cases: [(&str, Kind, &str); 8] = [
            ("a {{ b }} c", Expression, "{{ b }}"),
            ("{{ '}}' ~ \"%}\" }}", Expression, "{{ '}}' ~ \"%}\" }}"),
            (r#"{{ "\"}}" }}x"#, Expression, r#"{{ "\"}}" }}"#),
            ("{{ {'a': {'b': 1}} }}x", Expression, "{{ {'a': {'b': 1}} }}"),
            ("{%- if a -%}x", Statement, "{%- if a -%}"),
            ("{# {{ no }} #}x", Comment, "{# {{ no }} #}"),
            ("{% raw %}{{ x }}{% no %}{%- endraw +%}y", Raw, "{% raw %}{{ x }}{% no %}{%- endraw +%}"),
            ("{%- raw -%}{{{% endraw %}", Raw, "{%- raw -%}{{{% endraw %}"),
        ];
        for (source, kind, tag) in cases {
            assert_eq!(tags(source), [(kind, tag, 1)], "{source}");
        }
    }

    #[test]
    fn pieces_make_up_the_source_and_know_their_lines() {
        let source = "one\n{{ two\n}} {\n{% four %}{#\n#}{{ five }}";
        let whole: String = pieces(source)
            .unwrap()
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => *text,
                Piece::Tag(tag) => tag.source,
            })
            .collect();
        assert_eq!(whole, source);
        assert_eq!(tags(source).iter().map(|t| t.2).collect::<Vec<_>>(), [2, 4, 4, 5]);
    }

    #[test]
    fn a_tag_that_does_not_end_is_named_with_its_line() {
        for source in ["\n{{ x", "\n{% if", "\n{# x", "\n{% raw %}x", "\n{{ 'x }}", "\n{{ (x }}"] {
            let fault = pieces(source).unwrap_err();
            assert_eq!(fault.line, Some(2), "{source}");
        }
    }

    #[test]
    fn a_rule_of_a_style_sheet_is_no_comment() {
        let none: [(Kind, &str, usize); 0] = [];
        for name in ["style", "STYLE", "mj-style"] {
            assert_eq!(tags(&format!("<{name} x>@media (y){{#a{{z}}}}</{name}>")), none, "{name}");
        }
        assert_eq!(
            tags("<style>{#a{b}} {{ c }}</style>{# d #}"),
            [(Kind::Expression, "{{ c }}", 1), (Kind::Comment, "{# d #}", 1)]
        );
        assert_eq!(tags("<style>{# a #}</style>"), [(Kind::Comment, "{# a #}", 1)]);
        assert!(pieces("<style></style>{#a{b}}").is_err());
        let many = format!("<style>{}", "{#".repeat(200_000));
        assert_eq!(tags(&many), none);
    }

    #[test]
    fn a_tag_may_not_be_long() {
        let long = format!("{{{{ 1{} }}}}", "+1".repeat(MAX_TAG_BYTES / 2));
        assert!(pieces(&long).unwrap_err().reason.contains("1000 bytes"));
        let comment = format!("{{# {} #}}", "x".repeat(MAX_TAG_BYTES));
        assert!(pieces(&comment).is_ok());
        assert!(pieces(&"{{a}}".repeat(MAX_TAGS + 1)).unwrap_err().reason.contains("5000 tags"));
        assert!(pieces(&"{% elif a %}".repeat(MAX_ELIF + 1)).unwrap_err().reason.contains("100 elif"));
    }

    #[test]
    fn words_leave_out_what_stands_in_strings() {
        use Word::*;
        let source = "{{ a.b|default('c d', 1e5) }}";
        let Piece::Tag(tag) = pieces(source).unwrap()[0] else { panic!("no tag") };
        assert_eq!(
            tag.words(),
            [
                Name("a"),
                Sign('.'),
                Name("b"),
                Sign('|'),
                Name("default"),
                Sign('('),
                Literal("'c d'"),
                Sign(','),
                Literal("1e5"),
                Sign(')')
            ]
        );
    }
}
