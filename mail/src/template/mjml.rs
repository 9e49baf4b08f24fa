//! MJML into HTML, once per template version. Readers' data never gets here: the fields are still marks.

use super::jinja::Kind;
use super::marks::{Marked, Part};
use super::markup::{self, Piece};
use super::{Fault, MAX_FAULTS};
use htmlparser::{ElementEnd, Token, Tokenizer};
use mrml::prelude::parser::Error as ParseError;
use mrml::prelude::render::RenderOptions;

/// The elements that MJML has. The renderer would pass others on as they are, and no mail program knows them.
const ELEMENTS: [&str; 33] = [
    "mj-accordion",
    "mj-accordion-element",
    "mj-accordion-text",
    "mj-accordion-title",
    "mj-all",
    "mj-attributes",
    "mj-body",
    "mj-breakpoint",
    "mj-button",
    "mj-carousel",
    "mj-carousel-image",
    "mj-class",
    "mj-column",
    "mj-divider",
    "mj-font",
    "mj-group",
    "mj-head",
    "mj-hero",
    "mj-image",
    "mj-navbar",
    "mj-navbar-link",
    "mj-preview",
    "mj-raw",
    "mj-section",
    "mj-social",
    "mj-social-element",
    "mj-spacer",
    "mj-style",
    "mj-table",
    "mj-text",
    "mj-title",
    "mj-wrapper",
    "mjml",
];

/// Elements within each other: the parser calls itself for each level.
pub(super) const MAX_DEPTH: usize = 100;

/// Elements that hold text, where a line break between two tags is a space.
const TEXT_ELEMENTS: [&str; 8] = [
    "mj-text",
    "mj-button",
    "mj-table",
    "mj-accordion-text",
    "mj-accordion-title",
    "mj-navbar-link",
    "mj-social-element",
    "mj-raw",
];

/// Turns marked MJML into marked HTML.
pub(super) fn to_html(marked: &Marked<'_>) -> Result<String, Vec<Fault>> {
    let pieces = markup::pieces(&marked.text);
    let faults = misplaced(&pieces, marked);
    if !faults.is_empty() {
        return Err(faults);
    }
    let source = prepare(&marked.text, &pieces);
    if let Some(start) = too_deep(&source) {
        let reason = format!("elements may be nested {MAX_DEPTH} deep at the most");
        return Err(vec![Fault::at(line(&source, start, marked), reason)]);
    }
    let parsed = mrml::parse(&source).map_err(|error| vec![parse_fault(&error, &source, marked)])?;
    // No fonts but those that the template asks for: a font of someone else's server tells them who reads.
    let options = RenderOptions { fonts: Default::default(), ..RenderOptions::default() };
    let html = parsed.element.render(&options).map_err(|error| vec![Fault::new(error.to_string())])?;
    match lost(marked, &html) {
        faults if faults.is_empty() => Ok(html),
        faults => Err(faults),
    }
}

/// Where elements are nested too deep. It counts as mrml does: in the very text that mrml is given, by the same tokens, and
/// without a look at names but for [`is_void`].
fn too_deep(source: &str) -> Option<usize> {
    let (mut depth, mut void) = (0_usize, false);
    for token in Tokenizer::from(source).map_while(Result::ok) {
        match token {
            Token::ElementStart { local, .. } => void = is_void(local.as_str()),
            Token::ElementEnd { end: ElementEnd::Open, span } if !void => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(span.start());
                }
            }
            Token::ElementEnd { end: ElementEnd::Close(..), .. } => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Elements that have no end tag, as mrml knows them: in small letters alone, so that `<BR>` is an element that stays open.
fn is_void(name: &str) -> bool {
    markup::is_void(name) && name.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// What would be dropped without a word, or told in words about a place that the writer never saw.
fn misplaced(pieces: &[Piece<'_>], marked: &Marked<'_>) -> Vec<Fault> {
    let is_mark = |text: &str| marked.split(text).iter().any(|part| matches!(part, Part::Mark(_)));
    let faults = pieces.iter().filter_map(|piece| {
        let markup::Token::Open(tag) = &piece.token else { return None };
        let reason = match tag.name {
            "mj-include" => "mj-include is not available: a template is one document".to_owned(),
            name if name.starts_with("mj") && !ELEMENTS.contains(&name) => {
                format!("{name} is no MJML element")
            }
            name if is_mark(name) || tag.attributes.iter().any(|a| is_mark(a.name)) => {
                "within an element's tag, fields and statements can only stand in an attribute's value"
                    .to_owned()
            }
            _ => return None,
        };
        Some(Fault::at(marked.line_after(&marked.text[..piece.start]), reason))
    });
    // To find a line is linear: not for every fault that fits in.
    faults.take(MAX_FAULTS).collect()
}

/// Works around two habits of mrml: it writes attributes as Rust string literals, and drops line breaks between tags.
fn prepare(source: &str, pieces: &[Piece<'_>]) -> String {
    let mut prepared = String::with_capacity(source.len() + source.len() / 16);
    let mut text_depth = 0_usize;
    for piece in pieces {
        match &piece.token {
            markup::Token::Open(tag) => {
                text_depth += usize::from(TEXT_ELEMENTS.contains(&tag.name) && !tag.closed);
                let mut from = piece.start;
                for attribute in &tag.attributes {
                    prepared.push_str(&source[from..attribute.range.start]);
                    push_attribute_value(&mut prepared, attribute.value);
                    from = attribute.range.end;
                }
                prepared.push_str(&source[from..piece.end]);
            }
            markup::Token::Close(name) => {
                text_depth = text_depth.saturating_sub(usize::from(TEXT_ELEMENTS.contains(name)));
                prepared.push_str(&source[piece.start..piece.end]);
            }
            markup::Token::Text(text) => {
                if text_depth > 0 && text.starts_with('\n') && text.trim().is_empty() {
                    prepared.push(' ');
                }
                prepared.push_str(text);
            }
            markup::Token::RawText(text) | markup::Token::Other(text) => prepared.push_str(text),
        }
    }
    prepared
}

/// Writes as character references what Rust's `{:?}` would change.
fn push_attribute_value(out: &mut String, value: &str) {
    for c in value.chars() {
        let kept = c == '\'' || c.escape_debug().eq([c]);
        match kept && !is_mark_of_grapheme(c) {
            true => out.push(c),
            false => out.push_str(&format!("&#{};", u32::from(c))),
        }
    }
}

/// Variation selectors, joiners and combining marks are changed or not by where they stand: so all are references.
fn is_mark_of_grapheme(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}')
}

/// The tags that MJML had no place for. An `{% if %}` or a link to opt out must not vanish without a word.
fn lost(marked: &Marked<'_>, html: &str) -> Vec<Fault> {
    let mut found = vec![false; marked.tags.len()];
    for part in marked.split(html) {
        if let Part::Mark(index) = part {
            found[index] = true;
        }
    }
    let lost = marked.tags.iter().zip(found).filter(|(tag, found)| !found && tag.kind != Kind::Comment);
    lost.map(|(tag, _)| {
        let reason = format!("MJML drops `{}` in this place; put it into mj-text or mj-raw", tag.source);
        Fault::at(tag.line, reason)
    })
    .collect()
}

fn parse_fault(error: &ParseError, source: &str, marked: &Marked<'_>) -> Fault {
    use ParseError as E;
    let (start, reason) = match error {
        E::UnexpectedElement { position, .. } => (position.start, "this element can't stand here".to_owned()),
        E::UnexpectedToken { position, .. } => (position.start, "this can't stand here".to_owned()),
        E::MissingAttribute { position, name, .. } => {
            (position.start, format!("the attribute {name} is missing"))
        }
        E::InvalidAttribute { position, .. } => (position.start, "an attribute is not valid".to_owned()),
        E::InvalidFormat { position, .. } => (position.start, "the format is not valid".to_owned()),
        E::IncludeLoaderError { position, .. } => (position.start, "mj-include is not available".to_owned()),
        E::ParserError { source: cause, .. } => {
            (row_start(source, cause.pos().row), format!("no well-formed MJML: {cause}"))
        }
        E::EndOfStream { .. } => return whole("the document ends before its elements are closed"),
        E::SizeLimit { .. } => return whole("the document is too large"),
        E::NoRootNode => return whole("the document has no mjml element"),
    };
    Fault::at(line(source, start, marked), reason)
}

fn whole(reason: &str) -> Fault {
    Fault::new(reason.to_owned())
}

fn row_start(source: &str, row: u32) -> usize {
    let before = usize::try_from(row).unwrap_or(1).saturating_sub(1);
    source.split_inclusive('\n').take(before).map(str::len).sum()
}

fn line(source: &str, at: usize, marked: &Marked<'_>) -> usize {
    let before = source.get(..at).unwrap_or(source);
    // A line break in an attribute became a reference.
    marked.line_after(before) + before.matches("&#10;").count()
}
