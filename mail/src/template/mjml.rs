//! MJML into HTML, once per template version. Readers' data never gets here: the fields are still marks.

mod apply;
mod css;
mod extras;
mod mend;
mod select;

use super::jinja::Kind;
use super::marks::{Marked, Part};
use super::markup::{self, Piece};
use super::{Fault, MAX_FAULTS};
use extras::Extras;
use htmlparser::{ElementEnd, Token, Tokenizer};
use mrml::prelude::parser::{Error as ParseError, Warning, WarningKind};
use mrml::prelude::render::RenderOptions;

/// The elements that MJML has. The renderer would pass others on as they are, and no mail program knows them.
pub(super) const ELEMENTS: [&str; 36] = [
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
    "mj-html-attribute",
    "mj-html-attributes",
    "mj-image",
    "mj-navbar",
    "mj-navbar-link",
    "mj-preview",
    "mj-raw",
    "mj-section",
    "mj-selector",
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

/// Elements that hold HTML. As MJML has it, their content is taken over as it stands, whatever it is: mrml would read
/// it as XML, and refuse `<li>` without its end.
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

/// Ends the number in the place of a content.
const CONTENT_END: char = 'z';

/// Marked HTML, and what the MJML asks for and did not get.
pub(super) struct Html {
    pub html: String,
    pub notes: Vec<Fault>,
}

/// Turns marked MJML into marked HTML. `strict` is for what is saved now: what mrml would leave out is an error.
pub(super) fn to_html(marked: &Marked<'_>, strict: bool) -> Result<Html, Vec<Fault>> {
    let pieces = markup::pieces(&marked.text);
    let mut faults = misplaced(&pieces, marked);
    let ends = ends(&pieces);
    let extras = extras::find(&pieces, &ends, marked);
    if strict {
        faults.extend_from_slice(&extras.faults);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let Prepared { source, contents } = prepare(marked, &pieces, &ends, &extras);
    if let Some(start) = too_deep(&source) {
        let reason = format!("elements may be nested {MAX_DEPTH} deep at the most");
        return Err(vec![Fault::at(line(&source, start, marked), reason)]);
    }
    let parsed = mrml::parse(&source).map_err(|error| vec![parse_fault(&error, &source, marked)])?;
    let mut faults: Vec<Fault> = match strict {
        true => parsed
            .warnings
            .iter()
            .map(|warning| left_out(warning, &source, marked))
            .take(MAX_FAULTS)
            .collect(),
        false => Vec::new(),
    };
    // No fonts but those that the template asks for: a font of someone else's server tells them who reads.
    let options = RenderOptions { fonts: Default::default(), ..RenderOptions::default() };
    let html = parsed.element.render(&options).map_err(|error| vec![Fault::new(error.to_string())])?;
    let html = put_back(&mend::html(&html), &contents, marked);
    let html = with_extras(html, &extras, marked);
    faults.extend(lost(marked, &html.html));
    if faults.is_empty() { Ok(html) } else { Err(faults) }
}

fn with_extras(mut html: String, extras: &Extras<'_>, marked: &Marked<'_>) -> Html {
    let mut notes = apply::Notes { marked, found: Vec::new() };
    if !extras.attributes.is_empty() {
        html = apply::attributes(&html, &extras.attributes, &mut notes);
    }
    if !extras.styles.is_empty() {
        html = apply::styles(&html, &extras.styles, &mut notes);
    }
    if !extras.file_start.is_empty() {
        html = format!("{}\n{html}", extras.file_start.join("\n"));
    }
    Html { html, notes: notes.found }
}

/// What mrml is given.
struct Prepared<'s> {
    source: String,
    /// What stands in the elements that hold HTML, by the numbers in their places.
    contents: Vec<&'s str>,
}

/// Stands for content: no mark of a tag is followed by a letter.
fn content_mark(marked: &Marked<'_>) -> String {
    format!("{}c", marked.prefix())
}

fn put_back(html: &str, contents: &[&str], marked: &Marked<'_>) -> String {
    let mark = content_mark(marked);
    let mut parts = html.split(mark.as_str());
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_once(CONTENT_END).unwrap_or((part, ""));
        let content = number.parse().ok().and_then(|number: usize| contents.get(number));
        whole.push_str(content.copied().unwrap_or_default());
        whole.push_str(rest);
    }
    whole
}

/// What mrml warns about: it would leave it out without a word.
fn left_out(warning: &Warning, source: &str, marked: &Marked<'_>) -> Fault {
    let what = source.get(warning.span.start..warning.span.end).unwrap_or_default();
    let name = what.split('=').next().unwrap_or_default().trim();
    let reason = match warning.kind {
        WarningKind::UnexpectedAttribute => format!("the attribute {name} has no effect here"),
        WarningKind::InlineStyleUnsupported => "styles are put into elements from mj-head alone".into(),
    };
    Fault::at(line(source, warning.span.start, marked), reason)
}

/// Where elements are nested too deep. It counts as mrml does: in the very text that mrml is given, by the same
/// tokens, and without a look at names but for [`is_void`].
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

/// Elements that have no end tag, as mrml knows them: in small letters alone, so that `<BR>` is an element that stays
/// open.
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

/// Works around habits of mrml: it writes attributes as Rust string literals, reads HTML as XML, and what `mend` has.
fn prepare<'s>(
    marked: &'s Marked<'_>,
    pieces: &[Piece<'s>],
    ends: &[Option<usize>],
    extras: &Extras<'s>,
) -> Prepared<'s> {
    let source = marked.text.as_str();
    let mut prepared =
        Prepared { source: String::with_capacity(source.len() + source.len() / 16), contents: Vec::new() };
    let mut skipped_to = 0;
    for (at, piece) in pieces.iter().enumerate() {
        if at < skipped_to {
            continue;
        }
        if let Some(last) = extras.taken.get(&at) {
            push_lines(&mut prepared.source, &source[piece.start..pieces[*last].end], marked);
            skipped_to = last + 1;
            continue;
        }
        let markup::Token::Open(tag) = &piece.token else {
            prepared.source.push_str(&source[piece.start..piece.end]);
            continue;
        };
        push_tag(&mut prepared.source, source, piece, tag);
        let Some(end) = ends[at] else { continue };
        let content = &source[piece.end..pieces[end].start];
        if !content.trim().is_empty() {
            let number = prepared.contents.len();
            prepared.contents.push(content.trim());
            prepared.source.push_str(&format!("{}{number}{CONTENT_END}</{}", content_mark(marked), tag.name));
            push_lines(&mut prepared.source, content, marked);
            prepared.source.push('>');
            skipped_to = end + 1;
        }
    }
    prepared
}

/// Faults behind what was taken out keep their lines.
fn push_lines(out: &mut String, taken: &str, marked: &Marked<'_>) {
    out.push_str(&"\n".repeat(marked.line_after(taken) - 1));
}

/// For each element that holds HTML, where it ends: at the first end tag of its name, as MJML has it.
fn ends(pieces: &[Piece<'_>]) -> Vec<Option<usize>> {
    let mut ends = vec![None; pieces.len()];
    let mut next: [Option<usize>; TEXT_ELEMENTS.len()] = [None; TEXT_ELEMENTS.len()];
    let place = |name: &str| TEXT_ELEMENTS.iter().position(|element| *element == name);
    for (at, piece) in pieces.iter().enumerate().rev() {
        match &piece.token {
            markup::Token::Open(tag) if !tag.closed => {
                ends[at] = place(tag.name).and_then(|place| next[place])
            }
            markup::Token::Close(name) => {
                if let Some(place) = place(name) {
                    next[place] = Some(at);
                }
            }
            _ => {}
        }
    }
    ends
}

fn push_tag(out: &mut String, source: &str, piece: &Piece<'_>, tag: &markup::Open<'_>) {
    let mut from = piece.start;
    for attribute in &tag.attributes {
        out.push_str(&source[from..attribute.range.start]);
        push_attribute_value(out, &mend::value(tag, attribute));
        from = attribute.range.end;
    }
    let end = piece.end - if source[..piece.end].ends_with("/>") { 2 } else { 1 };
    out.push_str(&source[from..end.max(from)]);
    for (name, value) in mend::missing(tag) {
        out.push_str(&format!(" {name}=\""));
        push_attribute_value(out, value);
        out.push('"');
    }
    out.push_str(&source[end.max(from)..piece.end]);
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
