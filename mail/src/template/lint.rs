//! What the engine would accept, or find out only when it renders, and a template may not do.

use super::Fault;
use super::jinja::{Tag, Word};
use minijinja::{Environment, ErrorKind};

/// Faults in a part's tags that its syntax doesn't show.
pub(super) fn check(tags: &[Tag<'_>], env: &Environment<'_>) -> Vec<Fault> {
    let mut faults: Vec<Fault> = tags.iter().filter_map(refused).collect();
    faults.extend(tags.iter().flat_map(|tag| unknown_operations(tag, env)));
    faults
}

fn refused(tag: &Tag<'_>) -> Option<Fault> {
    let keyword = tag.keyword()?;
    let reason = match keyword {
        "include" | "import" | "from" | "extends" | "block" | "endblock" => {
            format!("{keyword} is not available: a template is one document")
        }
        "autoescape" | "endautoescape" => format!("{keyword} is not available: fields are always escaped"),
        _ => return None,
    };
    Some(Fault::at(tag.line, reason))
}

fn unknown_operations(tag: &Tag<'_>, env: &Environment<'_>) -> Vec<Fault> {
    let words = tag.words();
    let mut faults = Vec::new();
    for (i, pair) in words.windows(2).enumerate() {
        let filter = match pair {
            [Word::Sign('|'), Word::Name(name)] => Some(name),
            [Word::Name("filter"), Word::Name(name)] if i == 0 => Some(name),
            _ => None,
        };
        if let Some(name) = filter.filter(|name| !has_filter(env, name)) {
            faults.push(Fault::at(tag.line, unknown_filter(name)));
        }
        let test = match (pair, words.get(i + 2)) {
            ([Word::Name("is"), Word::Name("not")], Some(Word::Name(name))) => Some(name),
            ([Word::Name("is"), Word::Name(name)], _) if *name != "not" => Some(name),
            _ => None,
        };
        if let Some(name) = test.filter(|name| !has_test(env, name)) {
            faults.push(Fault::at(tag.line, format!("there is no test `{name}`")));
        }
    }
    faults
}

fn unknown_filter(name: &str) -> String {
    match name {
        "safe" | "tojson" => format!("the filter {name} is not available: fields are always escaped"),
        _ => format!("there is no filter `{name}`"),
    }
}

fn has_filter(env: &Environment<'_>, name: &str) -> bool {
    let result = env.empty_state().apply_filter(name, &[]);
    !result.is_err_and(|error| error.kind() == ErrorKind::UnknownFilter)
}

fn has_test(env: &Environment<'_>, name: &str) -> bool {
    let result = env.empty_state().perform_test(name, &[]);
    !result.is_err_and(|error| error.kind() == ErrorKind::UnknownTest)
}

#[cfg(test)]
mod tests {
    use super::super::marks::Marked;
    use super::*;

    fn reasons(source: &str) -> Vec<String> {
        let marked = Marked::new(source).unwrap();
        let env = super::super::engine::environment();
        check(&marked.tags, &env).into_iter().map(|fault| fault.reason).collect()
    }

    #[test]
    fn what_loads_or_unescapes_is_refused() {
        let cases = [
            ("{% include 'x' %}", "include is not available"),
            ("{%- extends 'x' %}", "extends is not available"),
            ("{% import 'x' as y %}", "import is not available"),
            ("{% from 'x' import y %}", "from is not available"),
            ("{% block x %}", "block is not available"),
            ("{% autoescape false %}", "autoescape is not available"),
            ("{{ x | safe }}", "filter safe is not available"),
            ("{% filter safe %}", "filter safe is not available"),
        ];
        for (source, expected) in cases {
            let found = reasons(source);
            assert!(found.len() == 1 && found[0].contains(expected), "{source}: {found:?}");
        }
    }

    #[test]
    fn filters_and_tests_have_to_exist() {
        assert_eq!(
            reasons("{{ x|frob|upper }}{% if x is frob %}{% elif x is not blob %}{% endif %}").len(),
            3
        );
        let fine = "{{ x|upper|default('|frob') }}{% if x is defined and x is not none %}{% endif %}{{ x|map('upper') }}";
        assert_eq!(reasons(fine), [""; 0]);
    }
}
