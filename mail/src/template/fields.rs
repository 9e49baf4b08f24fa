//! The merge fields: which names there are, which of them a template uses, and what they hold for one reader.

use super::jinja::{Tag, Word};
use super::{Fault, MAX_FAULTS, MergeData, media, types};
use minijinja::{Template, Value};
use std::collections::BTreeSet;

/// The merge fields that every reader has.
pub const BUILT_IN: &[&str] = &[
    "email",
    "name",
    "first_name",
    "last_name",
    "unsubscribe_url",
    "preferences_url",
    "campaign.name",
    "group.name",
    "postal_address",
];

/// What the HTML calls the rendered preheader. No template can use it, as it is no known field.
pub(super) const PREHEADER: &str = "preheader_of_this_mail";

/// Names that are called. What can't be called is refused with the reason by `types`.
fn is_function(name: &str) -> bool {
    name == media::FUNCTION || name == "namespace" || types::FUNCTIONS.contains(&name)
}

const MAX_ATTRIBUTES: usize = 200;
const MAX_NAME_BYTES: usize = 64;

/// Whether the attributes that a template declares can be fields: names in snake_case that are not built in.
pub(super) fn check_declared(attributes: &[String]) -> Vec<Fault> {
    if attributes.len() > MAX_ATTRIBUTES {
        return vec![Fault::new(format!("there may be {MAX_ATTRIBUTES} attributes at the most"))];
    }
    attributes.iter().filter(|name| !is_name(name)).map(|name| Fault::new(bad_name(name))).collect()
}

fn bad_name(name: &str) -> String {
    let shown: String = name.chars().take(MAX_NAME_BYTES).collect();
    format!("`{shown}` is no attribute name: lower-case letters, digits and _, beginning with a letter")
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(char::is_alphabetic)
        && name.chars().all(|c| (c.is_alphanumeric() && !c.is_uppercase()) || c == '_')
}

/// Names the fields of one part of a template that nobody knows.
pub(super) fn unknown(template: &Template<'_, '_>, tags: &[Tag<'_>], known: &BTreeSet<String>) -> Vec<Fault> {
    let locals: BTreeSet<&str> = tags.iter().flat_map(assigned).collect();
    let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    names.sort();
    let is_known = |name: &str| {
        let root = name.split('.').next().unwrap_or(name);
        known.contains(name) || BUILT_IN.contains(&name) || locals.contains(root) || is_function(name)
    };
    let unknown = names.iter().filter(|name| !is_known(name)).take(MAX_FAULTS);
    unknown.map(|name| Fault { line: line_of(name, tags), reason: reason(name, known) }).collect()
}

/// The names that a statement makes: the engine thinks that those set within an `if` end with it.
fn assigned<'s>(tag: &Tag<'s>) -> Vec<&'s str> {
    let names =
        tag.words().into_iter().take_while(|word| *word != Word::Sign('=')).filter_map(|word| match word {
            Word::Name(name) => Some(name),
            Word::Sign(_) | Word::Literal(_) => None,
        });
    match tag.keyword() {
        Some("set") => names.skip(1).collect(),
        Some("macro") => names.skip(1).take(1).collect(),
        _ => Vec::new(),
    }
}

fn line_of(name: &str, tags: &[Tag<'_>]) -> Option<usize> {
    let mut path = Vec::new();
    for part in name.split('.') {
        path.extend([Word::Sign('.'), Word::Name(part)]);
    }
    tags.iter()
        .find(|tag| tag.words().windows(path.len() - 1).any(|words| words == &path[1..]))
        .map(|tag| tag.line)
}

fn reason(name: &str, known: &BTreeSet<String>) -> String {
    let is_text = |root: &str| known.contains(root) || BUILT_IN.contains(&root);
    match name.split_once('.') {
        Some((root, _)) if is_text(root) => {
            return format!(
                "`{name}` is no field: `{root}` is text, which filters change, as in {{{{ {root} | upper }}}}"
            );
        }
        None if matches!(name, "campaign" | "group") => {
            return format!("`{name}` is no field; write `{name}.name`");
        }
        _ => {}
    }
    match nearest(name, known) {
        Some(near) => format!("`{name}` is no known field; did you mean `{near}`?"),
        None => format!(
            "`{name}` is no known field; if readers will have it, list it in the template's attributes"
        ),
    }
}

fn nearest<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let candidates = known.iter().map(String::as_str).chain(BUILT_IN.iter().copied());
    let near = candidates.map(|known| (strsim::damerau_levenshtein(name, known), known)).min()?;
    // Farther than half of the name, it is another word.
    (near.0 <= name.len().div_ceil(2)).then_some(near.1)
}

/// Every name in a template's tags, the first parts of paths among them. It may list what is no field, never too little.
pub(super) fn used(tags: &[Tag<'_>]) -> BTreeSet<String> {
    let names = tags.iter().flat_map(Tag::words).filter_map(|word| match word {
        Word::Name(name) => Some(name.to_owned()),
        Word::Sign(_) | Word::Literal(_) => None,
    });
    names.collect()
}

/// What the fields hold for one reader. A field that is blank is left out, so that `is defined` tells.
pub(super) fn values(used: &BTreeSet<String>, data: &MergeData<'_>, preheader: Option<&str>) -> Value {
    let fields = used.iter().filter_map(|name| Some((name.as_str(), value(name, data)?)));
    Value::from_pairs(fields.chain(preheader.map(|text| (PREHEADER, Value::from(text)))))
}

fn value(name: &str, data: &MergeData<'_>) -> Option<Value> {
    let text = match name {
        "email" => data.email,
        "name" => data.name,
        "first_name" => attribute(name, data).unwrap_or_else(|| split_name(data.name).0),
        "last_name" => attribute(name, data).unwrap_or_else(|| split_name(data.name).1),
        "unsubscribe_url" => data.unsubscribe_url,
        "preferences_url" => data.preferences_url,
        "postal_address" => data.postal_address.unwrap_or_default(),
        "campaign" => return Some(Value::from_pairs([("name", data.campaign_name)])),
        "group" => return Some(Value::from_pairs([("name", data.group_name)])),
        // An attribute of that name must not take the function's place.
        media::FUNCTION => return None,
        _ => attribute(name, data)?,
    };
    (!text.trim().is_empty()).then(|| Value::from(text))
}

fn attribute<'a>(name: &str, data: &MergeData<'a>) -> Option<&'a str> {
    data.attributes.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
}

/// The first word of a name, and the rest.
fn split_name(name: &str) -> (&str, &str) {
    let name = name.trim();
    name.split_once(char::is_whitespace).map_or((name, ""), |(first, rest)| (first, rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::super::marks::Marked;
    use super::*;

    fn reasons(source: &str, known: &[&str]) -> Vec<String> {
        let marked = Marked::new(source).unwrap();
        let known = known.iter().map(|name| (*name).to_owned()).collect();
        let env = super::super::engine::environment();
        let template = env.template_from_str(source).unwrap();
        unknown(&template, &marked.tags, &known).into_iter().map(|fault| fault.reason).collect()
    }

    #[test]
    fn known_names_and_a_templates_own_are_no_faults() {
        let sources = [
            "{{ email }}{{ campaign.name }}{{ group.name }}{{ city }}{{ city[0] }}{{ city | d }}",
            "{% for n in range(3) %}{{ loop.index }}{{ n }}{% endfor %}",
            "{% if city %}{% set greeting = 'a' %}{% else %}{% set greeting = 'b' %}{% endif %}{{ greeting }}",
            "{% set a, b = [1, 2] %}{{ a }}{{ b }}{% set c %}x{% endset %}{{ c }}",
            "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(city) }}{% with w = 1 %}{{ w }}{% endwith %}",
        ];
        for source in sources {
            assert_eq!(reasons(source, &["city"]), [""; 0], "{source}");
        }
    }

    #[test]
    fn an_unknown_name_comes_with_the_nearest_known() {
        let cases = [
            ("{{ frist_name }}", "did you mean `first_name`?"),
            ("{{ campain.name }}", "did you mean `campaign.name`?"),
            ("{{ campaign.title }}", "did you mean `campaign.name`?"),
            ("{% if ctiy %}{% endif %}", "did you mean `city`?"),
            ("{{ city.upper() }}", "`city` is text"),
            ("{{ campaign }}", "write `campaign.name`"),
            ("{{ zzzzzzzz }}", "list it in the template's attributes"),
            ("{{ debug() }}", "`debug` is no known field"),
        ];
        for (source, expected) in cases {
            let found = reasons(source, &["city"]);
            assert!(found.len() == 1 && found[0].contains(expected), "{source}: {found:?}");
        }
    }

    #[test]
    fn a_fault_has_the_line_of_the_name() {
        let source = "{{ name }}\n{{ 'campain.name' }}\n{{ group.name ~ campain.name }}";
        let marked = Marked::new(source).unwrap();
        assert_eq!(line_of("campain.name", &marked.tags), Some(3));
        assert_eq!(line_of("no", &marked.tags), None);
    }

    #[test]
    fn names_are_split_at_the_first_blank() {
        let cases = [
            ("", ("", "")),
            ("Anna", ("Anna", "")),
            (" Anna  Maria Bell ", ("Anna", "Maria Bell")),
            ("浩", ("浩", "")),
        ];
        for (name, expected) in cases {
            assert_eq!(split_name(name), expected);
        }
    }

    #[test]
    fn declared_attributes_are_names() {
        let declared = |name: &str| check_declared(&[name.to_owned()]).is_empty();
        assert!(["city", "plan_2", "ł"].into_iter().all(declared));
        assert!(!["", "City", "2nd", "a-b", "a b", "Ł", "_a"].into_iter().any(declared));
        assert_eq!(check_declared(&vec!["a".to_owned(); 201]).len(), 1);
    }
}
