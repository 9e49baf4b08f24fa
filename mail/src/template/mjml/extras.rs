//! What MJML has and mrml lacks: styles that are put into elements, attributes for elements by a selector,
//! and text before the document. It is taken out of what mrml is given, and done to what mrml gives.

use super::super::markup::{Open, Piece, Token};
use super::super::{Fault, MAX_FAULTS, marks::Marked};
use std::collections::BTreeMap;

/// What stands in the source, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct At<'s> {
    pub text: &'s str,
    pub start: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct HtmlAttribute<'s> {
    pub path: At<'s>,
    pub name: &'s str,
    pub value: &'s str,
}

#[derive(Debug, Default)]
pub(super) struct Extras<'s> {
    pub styles: Vec<At<'s>>,
    pub attributes: Vec<HtmlAttribute<'s>>,
    pub file_start: Vec<&'s str>,
    /// The pieces that they take: from the first to the last one.
    pub taken: BTreeMap<usize, usize>,
    pub faults: Vec<Fault>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Head,
    Body,
}

/// `ends`: for each element that holds HTML, where it ends.
pub(super) fn find<'s>(pieces: &[Piece<'s>], ends: &[Option<usize>], marked: &'s Marked<'_>) -> Extras<'s> {
    let mut finder = Finder { pieces, marked, extras: Extras::default() };
    let (mut place, mut at) = (Place::Outside, 0);
    while at < pieces.len() {
        let found = match &pieces[at].token {
            Token::Open(tag) => {
                place = match tag.name {
                    "mj-head" if !tag.closed => Place::Head,
                    "mj-body" => Place::Body,
                    _ => place,
                };
                finder.element(at, tag, place, ends[at])
            }
            Token::Close("mj-head") => {
                place = Place::Outside;
                None
            }
            _ => None,
        };
        if let Some(end) = found {
            finder.extras.taken.insert(at, end);
        }
        // Within HTML nothing of it is looked for.
        at = found.or(ends[at]).unwrap_or(at) + 1;
    }
    finder.extras
}

struct Finder<'p, 's, 'm> {
    pieces: &'p [Piece<'s>],
    marked: &'s Marked<'m>,
    extras: Extras<'s>,
}

impl<'s> Finder<'_, 's, '_> {
    /// Where an element ends that was taken.
    fn element(&mut self, at: usize, tag: &Open<'s>, place: Place, end: Option<usize>) -> Option<usize> {
        match (tag.name, place) {
            ("mj-style", Place::Head) if tag.attribute("inline") == Some("inline") => self.style(at, tag),
            ("mj-raw", Place::Outside) if tag.attribute("position") == Some("file-start") => {
                let end = end?;
                self.extras.file_start.push(self.between(at, end).trim());
                Some(end)
            }
            ("mj-html-attributes", Place::Head) => self.html_attributes(at, tag),
            ("mj-html-attributes" | "mj-selector" | "mj-html-attribute", _) => {
                self.fail(
                    at,
                    format!("{} can't stand here: mj-html-attributes belongs into mj-head", tag.name),
                );
                None
            }
            _ => None,
        }
    }

    fn fail(&mut self, at: usize, reason: impl Into<String>) {
        if self.extras.faults.len() < MAX_FAULTS {
            let before = &self.marked.text[..self.pieces[at].end];
            let blank = before[self.pieces[at].start..].trim_start().len();
            let line = self.marked.line_after(&before[..before.len() - blank]);
            self.extras.faults.push(Fault::at(line, reason.into()));
        }
    }

    fn between(&self, open: usize, close: usize) -> &'s str {
        &self.marked.text[self.pieces[open].end..self.pieces[close].start]
    }

    fn closing(&self, from: usize, name: &str) -> Option<usize> {
        let rest = self.pieces.get(from + 1..)?;
        rest.iter().position(|piece| piece.token == Token::Close(name)).map(|i| from + 1 + i)
    }

    fn style(&mut self, at: usize, tag: &Open<'s>) -> Option<usize> {
        if tag.closed {
            return Some(at);
        }
        let end = self.closing(at, "mj-style")?;
        if let Some(other) = tag.attributes.iter().find(|attribute| attribute.name != "inline") {
            self.fail(at, format!("the attribute {} has no effect here", other.name));
        }
        self.extras.styles.push(At { text: self.between(at, end), start: self.pieces[at].end });
        Some(end)
    }

    fn html_attributes(&mut self, at: usize, tag: &Open<'s>) -> Option<usize> {
        if tag.closed {
            return Some(at);
        }
        let end = self.closing(at, "mj-html-attributes")?;
        let (mut path, mut next) = (None, at + 1);
        while next < end {
            let here = next;
            next += 1;
            match &self.pieces[here].token {
                Token::Text(text) if text.trim().is_empty() => {}
                Token::Other(_) => {}
                Token::Open(tag) if tag.name == "mj-selector" && path.is_none() && !tag.closed => {
                    path = self.path(here, tag);
                    // Whatever is in it is a fault then, and one is enough.
                    path?;
                }
                Token::Close("mj-selector") => path = None,
                Token::Open(tag) if tag.name == "mj-html-attribute" => {
                    next = self.html_attribute(here, tag, path, end)? + 1;
                }
                _ => {
                    self.fail(here, "this can't stand in mj-html-attributes");
                    return Some(end);
                }
            }
        }
        Some(end)
    }

    /// The selector, and where it stands.
    fn path(&mut self, at: usize, tag: &Open<'s>) -> Option<(&'s str, usize)> {
        let attribute = tag.attributes.iter().find(|attribute| attribute.name == "path");
        if let Some(attribute) = attribute.filter(|attribute| !attribute.value.trim().is_empty()) {
            return Some((attribute.value.trim(), attribute.range.start));
        }
        self.fail(at, "the attribute path is missing");
        None
    }

    /// Where it ends.
    fn html_attribute(
        &mut self,
        at: usize,
        tag: &Open<'s>,
        path: Option<(&'s str, usize)>,
        before: usize,
    ) -> Option<usize> {
        let end = if tag.closed {
            at
        } else {
            self.closing(at, "mj-html-attribute").filter(|end| *end < before)?
        };
        let value = if tag.closed { "" } else { self.between(at, end).trim() };
        let name = tag.attributes.iter().find(|attribute| attribute.name == "name").map(|name| name.value);
        match (path, name.filter(|name| is_name(name))) {
            (None, _) => self.fail(at, "mj-html-attribute belongs into an mj-selector"),
            (_, None) => self.fail(at, "the attribute name is missing, or is no name of an attribute"),
            (Some((path, start)), Some(name)) => {
                self.extras.attributes.push(HtmlAttribute { path: At { text: path, start }, name, value });
            }
        }
        Some(end)
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.'))
}
