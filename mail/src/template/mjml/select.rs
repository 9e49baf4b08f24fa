//! Which elements a selector means. css-inline finds it out, in a copy of the HTML that has nothing but its
//! elements.
//!
//! The copy is for css-inline alone: the HTML itself is never written anew, so that conditional comments,
//! marks of tags and entities stay as they are. Each element of the copy has a name that HTML does not know,
//! and an end: so no rule of HTML moves, closes or doubles any, and what it takes is linear in the HTML.

use super::super::markup::{self, Open, Piece, Token};
use css_inline::{CSSInliner, InlineOptions};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Selectors of one kind in a template.
pub(super) const MAX_SELECTORS: usize = 500;
/// Elements times selectors: a second of work at the most.
pub(super) const MAX_MATCHES: usize = 1_000_000;
/// Elements within each other: css-inline calls itself for each level, and selectors look at all that are
/// around one.
const MAX_DEPTH: usize = 100;
const MAX_SELECTOR_BYTES: usize = 200;

const ELEMENT: &str = "data-element";

/// The names in the copy.
const PREFIX: &str = "x-";

/// Why a selector is not looked for.
pub(super) fn refused(selector: &str) -> Option<&'static str> {
    let outside = outside_brackets(selector);
    let pseudo = |part: &str| !["first-child", "last-child"].iter().any(|known| is_word(part, known));
    match () {
        () if selector.len() > MAX_SELECTOR_BYTES => Some("it is longer than 200 bytes"),
        () if selector.contains(['{', '}', ';', '<', '\\']) || selector.contains("/*") => {
            Some("a sign of it has no place there")
        }
        () if selector.starts_with('@') => Some("only a style sheet can have it"),
        () if outside.split(':').skip(1).any(pseudo) => {
            Some("only :first-child and :last-child have a place there")
        }
        () if outside.contains('~') => Some("there is no way to follow ~"),
        () => None,
    }
}

fn is_word(text: &str, word: &str) -> bool {
    let rest = text.get(word.len()..).unwrap_or("x");
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        && !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '(' | '\\'))
}

fn outside_brackets(selector: &str) -> String {
    let mut depth = 0_usize;
    let kept = selector.chars().filter(|c| {
        depth += usize::from(*c == '[');
        let outside = depth == 0;
        depth -= usize::from(*c == ']' && depth > 0);
        outside
    });
    kept.collect()
}

/// How it weighs against others: ids, classes and the like, names.
pub(super) fn specificity(selector: &str) -> (usize, usize, usize) {
    let outside = outside_brackets(selector);
    let count = |signs: &[char]| outside.matches(signs).count();
    let brackets = selector.matches('[').count();
    (count(&['#']), count(&['.', ':']) + brackets, renamed(selector).1)
}

/// With the names that elements have in the copy, and how many these are.
fn renamed(selector: &str) -> (String, usize) {
    let (mut out, mut count, mut before, mut depth) = (String::new(), 0, ' ', 0_usize);
    for c in selector.chars() {
        depth += usize::from(c == '[');
        if depth == 0 && c.is_ascii_alphabetic() && (before.is_whitespace() || matches!(before, '>' | '+')) {
            out.push_str(PREFIX);
            count += 1;
        }
        depth -= usize::from(c == ']' && depth > 0);
        out.push(c);
        before = c;
    }
    (out, count)
}

/// By the pieces of the elements that any means, the selectors, in their order. None: it would be too much.
pub(super) fn elements(pieces: &[Piece<'_>], selectors: &[&str]) -> Option<BTreeMap<usize, Vec<usize>>> {
    let open = pieces.iter().filter(|piece| matches!(piece.token, Token::Open(_))).count();
    if selectors.len() > MAX_SELECTORS || open.saturating_mul(selectors.len()) > MAX_MATCHES {
        return None;
    }
    let copy = copy(pieces, selectors.iter().any(|selector| selector.contains('[')))?;
    let rules = selectors.iter().enumerate().filter(|(_, selector)| refused(selector).is_none());
    let css: String = rules.map(|(n, selector)| format!("{}{{--m{n}:1}}\n", renamed(selector).0)).collect();
    let options = InlineOptions {
        inline_style_tags: false,
        load_remote_stylesheets: false,
        extra_css: Some(Cow::Owned(css)),
        ..InlineOptions::default()
    };
    let inlined = CSSInliner::new(options).inline(&copy).ok()?;
    let found = markup::pieces(&inlined);
    let found = found.iter().filter_map(|piece| match &piece.token {
        Token::Open(tag) => Some((tag.attribute(ELEMENT)?.parse().ok()?, matched(tag))),
        _ => None,
    });
    Some(found.filter(|(_, matched)| !matched.is_empty()).collect())
}

fn matched(tag: &Open<'_>) -> Vec<usize> {
    let style = tag.attribute("style").unwrap_or_default();
    let numbers = style.split("--m").skip(1).filter_map(|rest| rest.split(':').next()?.trim().parse().ok());
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

/// None: it nests too deep.
fn copy(pieces: &[Piece<'_>], with_attributes: bool) -> Option<String> {
    let (mut copy, mut open): (String, Vec<String>) = ("<!DOCTYPE html><html><body>".into(), Vec::new());
    for (at, piece) in pieces.iter().enumerate() {
        match &piece.token {
            Token::Open(tag) if is_plain(tag.name) => {
                let name = tag.name.to_ascii_lowercase();
                if open.last().is_some_and(|last| *last == name && ends_itself(&name)) {
                    open.pop();
                    copy.push_str(&format!("</{PREFIX}{name}>"));
                }
                copy.push_str(&format!("<{PREFIX}{name} {ELEMENT}=\"{at}\""));
                push_attributes(&mut copy, tag, with_attributes);
                copy.push('>');
                match tag.closed || markup::is_void(&name) {
                    true => copy.push_str(&format!("</{PREFIX}{name}>")),
                    false => open.push(name),
                }
                if open.len() > MAX_DEPTH {
                    return None;
                }
            }
            Token::Close(name) => {
                let name = name.to_ascii_lowercase();
                if let Some(place) = open.iter().rposition(|open| *open == name) {
                    for name in open.drain(place..).rev() {
                        copy.push_str(&format!("</{PREFIX}{name}>"));
                    }
                }
            }
            _ => {}
        }
    }
    Some(copy)
}

/// Elements whose end tags are seldom written.
fn ends_itself(name: &str) -> bool {
    ["p", "li", "tr", "td", "th", "dt", "dd", "option"].contains(&name)
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Selectors can see nothing of the others.
fn push_attributes(copy: &mut String, tag: &Open<'_>, all: bool) {
    for attribute in &tag.attributes {
        let name = attribute.name.to_ascii_lowercase();
        let seen = all || name == "class" || name == "id";
        // `style` is where what was found is written.
        if seen
            && is_plain(&name)
            && name != "style"
            && !name.starts_with("data-css-inline")
            && name != ELEMENT
        {
            copy.push_str(&format!(" {name}=\"{}\"", attribute.value.replace('"', "&quot;")));
        }
    }
}
