//! `{{ media("…") }}`: the URL of a file by its medium's id. The id is written out, so that what a template shows is known
//! before it meets a reader.

use super::Fault;
use super::jinja::{Tag, Word};
use minijinja::{Environment, Error, ErrorKind};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The URLs of files by their media's ids.
pub type MediaUrls = BTreeMap<Uuid, String>;

pub(super) const FUNCTION: &str = "media";

pub(super) fn add_to(env: &mut Environment<'_>, urls: &MediaUrls) {
    let urls = urls.clone();
    env.add_function(FUNCTION, move |id: &str| {
        let url = parse(id).and_then(|id| urls.get(&id)).cloned();
        url.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "there is no such medium"))
    });
}

/// The media that these tags show.
pub(super) fn ids(tags: &[Tag<'_>]) -> BTreeSet<Uuid> {
    tags.iter().flat_map(calls).filter_map(|call| parse(call?)).collect()
}

/// Calls without an id in quotes, and of media without a URL.
pub(super) fn check(tags: &[Tag<'_>], urls: &MediaUrls) -> Vec<Fault> {
    let faults = tags.iter().flat_map(|tag| calls(tag).into_iter().map(|call| (tag.line, call)));
    let faults = faults.filter_map(|(line, call)| match call {
        None => Some(Fault::at(line, "media takes the id of a medium, in quotes: media(\"…\")".to_owned())),
        Some(id) if parse(id).is_some_and(|id| urls.contains_key(&id)) => None,
        Some(_) => {
            Some(Fault::at(line, "media: there is no such medium, or its upload is not completed".to_owned()))
        }
    });
    faults.collect()
}

/// Of each use of the name, the text that it is called with; `None` where it is used otherwise.
fn calls<'s>(tag: &Tag<'s>) -> Vec<Option<&'s str>> {
    let words = tag.words();
    let mut calls = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let is_member = i > 0 && words[i - 1] == Word::Sign('.');
        if *word != Word::Name(FUNCTION) || is_member {
            continue;
        }
        calls.push(match words.get(i + 1..i + 4) {
            Some([Word::Sign('('), Word::Literal(text), Word::Sign(')')]) => quoted(text),
            _ => None,
        });
    }
    calls
}

fn quoted(text: &str) -> Option<&str> {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\''))
}

/// As the API writes it: a template is searched for it as it stands.
fn parse(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|id| id.to_string() == text)
}
