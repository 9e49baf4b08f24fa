//! Puts styles and attributes into the elements that their selectors mean.

use super::super::markup::{self, Open, Token};
use super::super::{Fault, MAX_FAULTS, MAX_RENDERED_BYTES, marks::Marked};
use super::css::{self, Declaration, Rule};
use super::extras::{At, HtmlAttribute};
use super::select;
use std::collections::BTreeMap;
use std::ops::Range;

const TOO_MUCH: &str = "too much for so many elements, or elements that nest too deep: nothing of it is done";

/// As MJML has it, the attributes are those of the body's elements, and come before the styles.
pub(super) fn attributes(html: &str, wanted: &[HtmlAttribute<'_>], notes: &mut Notes<'_>) -> String {
    let pieces = markup::pieces(html);
    let body = pieces.iter().position(|piece| matches!(&piece.token, Token::Open(tag) if tag.is("body")));
    let paths: Vec<&str> = wanted.iter().map(|attribute| attribute.path.text).collect();
    // A comma makes a list of selectors.
    let split: Vec<(usize, &str)> = paths
        .iter()
        .enumerate()
        .flat_map(|(of, path)| css::selectors(path).map(move |selector| (of, selector)))
        .collect();
    let selectors: Vec<&str> = split.iter().map(|(_, selector)| *selector).collect();
    let Some(found) = select::elements(&pieces, &selectors) else {
        notes.add(wanted.first().map(|first| &first.path), 0, TOO_MUCH.into());
        return html.to_owned();
    };
    let (mut edits, mut used) = (Vec::new(), vec![false; selectors.len()]);
    let mut bytes = 0_usize;
    for (at, numbers) in found.iter().filter(|(at, _)| Some(**at) >= body) {
        let Token::Open(tag) = &pieces[*at].token else { continue };
        bytes += numbers.iter().map(|number| wanted[split[*number].0].value.len()).sum::<usize>();
        if bytes > MAX_RENDERED_BYTES {
            notes.add(wanted.first().map(|first| &first.path), 0, TOO_MUCH.into());
            return html.to_owned();
        }
        let mut values: Vec<(&str, &str)> = Vec::new();
        for number in numbers {
            used[*number] = true;
            let attribute = &wanted[split[*number].0];
            values.retain(|(name, _)| !name.eq_ignore_ascii_case(attribute.name));
            values.push((attribute.name, attribute.value));
        }
        edits.extend(values.into_iter().map(|(name, value)| edit(html, tag, name, value)));
    }
    for ((of, selector), _) in split.iter().zip(used).filter(|(_, used)| !used) {
        notes.add(Some(&wanted[*of].path), 0, without_effect(selector, "no element gets its attributes"));
    }
    edited(html, edits)
}

pub(super) fn styles(html: &str, sheets: &[At<'_>], notes: &mut Notes<'_>) -> String {
    let rules: Vec<(&At<'_>, Rule<'_>)> = sheets
        .iter()
        .flat_map(|sheet| css::rules(sheet.text).into_iter().map(move |rule| (sheet, rule)))
        .collect();
    let pieces = markup::pieces(html);
    let selectors: Vec<&str> = rules.iter().map(|(_, rule)| rule.selector).collect();
    let Some(found) = select::elements(&pieces, &selectors) else {
        notes.add(sheets.first(), 0, TOO_MUCH.into());
        return html.to_owned();
    };
    let mut used = vec![false; rules.len()];
    let weights: Vec<_> = selectors.iter().map(|selector| select::specificity(selector)).collect();
    let (mut edits, mut bytes) = (Vec::new(), 0_usize);
    for (at, mut numbers) in found {
        let Token::Open(tag) = &pieces[at].token else { continue };
        bytes += numbers.iter().map(|number| rules[*number].1.block.len()).sum::<usize>();
        if bytes > MAX_RENDERED_BYTES {
            notes.add(sheets.first(), 0, TOO_MUCH.into());
            return html.to_owned();
        }
        numbers.iter().for_each(|number| used[*number] = true);
        numbers.sort_by_key(|number| (weights[*number], *number));
        let own = tag.attribute("style").unwrap_or_default();
        let blocks = numbers.iter().map(|number| Block::new(rules[*number].1.block, notes.marked));
        let style = merged(blocks, own, notes.marked);
        let sizes = ["width", "height"].map(|name| (name, size(tag, &style, name)));
        edits.push(edit(html, tag, "style", &style));
        edits.extend(sizes.iter().filter_map(|(name, size)| Some(edit(html, tag, name, size.as_deref()?))));
    }
    for ((sheet, rule), _) in rules.iter().zip(used).filter(|(_, used)| !used) {
        notes.add(Some(sheet), rule.start, without_effect(rule.selector, "it is put into no element"));
    }
    edited(html, edits)
}

fn without_effect(selector: &str, what: &str) -> String {
    let shown: String = selector.chars().take(60).collect();
    match select::refused(selector) {
        Some(why) => format!("`{shown}`: {what}: {why}"),
        None => format!("`{shown}`: {what}: none is meant by it"),
    }
}

/// What is not done, with its line.
pub(super) struct Notes<'m> {
    pub marked: &'m Marked<'m>,
    pub found: Vec<Fault>,
}

impl Notes<'_> {
    fn add(&mut self, at: Option<&At<'_>>, behind: usize, text: String) {
        if self.found.len() < MAX_FAULTS {
            let text = self.marked.restore(&text);
            let line = at.map(|at| self.marked.line_after(&self.marked.text[..at.start + behind]));
            let note = Fault { line, reason: text };
            if !self.found.contains(&note) {
                self.found.push(note);
            }
        }
    }
}

/// The declarations of a rule; a text as it is where statements are among them.
enum Block<'c> {
    Declarations(Vec<Declaration<'c>>),
    Text(&'c str),
}

impl<'c> Block<'c> {
    fn new(css: &'c str, marked: &Marked<'_>) -> Self {
        let css = css.trim().trim_end_matches(';');
        match marked.split(css).len() > 1 || css.starts_with(marked.prefix()) {
            true => Self::Text(css),
            false => Self::Declarations(css::declarations(css)),
        }
    }
}

/// As MJML has it, for Outlook: the size of a table, cell or image is its attribute as well.
fn size(tag: &Open<'_>, style: &str, name: &str) -> Option<String> {
    let is_table = ["table", "td", "th"].iter().any(|table| tag.is(table));
    let declared =
        css::declarations(style).into_iter().find(|one| one.name.eq_ignore_ascii_case(name))?.value;
    match declared.strip_suffix("px") {
        Some(pixels) if is_table || tag.is("img") => Some(pixels.to_owned()),
        None if is_table && declared.ends_with('%') => Some(declared.to_owned()),
        _ => None,
    }
}

/// In the order of the cascade: the sheet's, the element's own, and what is important of the sheet's. The
/// last counts, and not by the word: Outlook drops what has it.
fn merged<'c>(blocks: impl Iterator<Item = Block<'c>>, own: &'c str, marked: &Marked<'_>) -> String {
    let own = html_escape::decode_html_entities(own);
    let (mut all, mut important) = (Cascade::default(), Cascade::default());
    for block in blocks {
        match block {
            Block::Text(text) => all.text(text),
            Block::Declarations(declarations) => declarations
                .iter()
                .for_each(|one| if one.important { important.put(one) } else { all.put(one) }),
        }
    }
    match Block::new(&own, marked) {
        Block::Text(text) => all.text(text),
        Block::Declarations(declarations) => declarations.iter().for_each(|one| {
            all.put(one);
            if one.important {
                important.remove(one.name);
            }
        }),
    }
    important.ordered.values().for_each(|one| all.put(one));
    all.css().replace('&', "&amp;")
}

/// Declarations of which the last of each name counts.
#[derive(Default)]
struct Cascade<'c> {
    /// Without a name it is a text.
    ordered: BTreeMap<usize, Declaration<'c>>,
    places: BTreeMap<String, usize>,
    next: usize,
}

impl<'c> Cascade<'c> {
    fn text(&mut self, text: &'c str) {
        self.next += 1;
        self.ordered.insert(self.next, Declaration { name: "", value: text, important: false });
    }

    fn put(&mut self, one: &Declaration<'c>) {
        self.remove(one.name);
        self.next += 1;
        self.ordered.insert(self.next, *one);
        self.places.insert(one.name.to_ascii_lowercase(), self.next);
    }

    fn remove(&mut self, name: &str) {
        if let Some(place) = self.places.remove(&name.to_ascii_lowercase()) {
            self.ordered.remove(&place);
        }
    }

    fn css(&self) -> String {
        let written = self.ordered.values().map(|Declaration { name, value, .. }| match (*name, *value) {
            ("", "") => String::new(),
            ("", text) => format!("{text};"),
            (name, value) => format!("{name}:{value};"),
        });
        written.collect()
    }
}

/// What an attribute of an element is replaced by, or what is added behind its name.
fn edit(html: &str, tag: &Open<'_>, name: &str, value: &str) -> (Range<usize>, String) {
    let place = |text: &str| text.as_ptr().addr() - html.as_ptr().addr();
    let value = value.replace('"', "&quot;");
    match tag.attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name)) {
        Some(old) => {
            let has_quote = old.quoted && html[old.range.end..].starts_with(['"', '\'']);
            (place(old.name)..old.range.end + usize::from(has_quote), format!("{name}=\"{value}\""))
        }
        None => {
            let end = place(tag.name) + tag.name.len();
            (end..end, format!(" {name}=\"{value}\""))
        }
    }
}

fn edited(html: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    let (mut out, mut from) = (String::with_capacity(html.len() + edits.len() * 32), 0);
    for (range, text) in edits {
        out.push_str(&html[from..range.start]);
        out.push_str(&text);
        from = range.end;
    }
    out.push_str(&html[from..]);
    out
}
