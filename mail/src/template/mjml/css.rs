//! A style sheet as rules, without a look at what they mean. Linear, and without recursion.

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule<'c> {
    /// A selector without commas, or an at-rule's beginning.
    pub selector: &'c str,
    pub block: &'c str,
    /// Where the selector begins.
    pub start: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Declaration<'c> {
    pub name: &'c str,
    /// Without `!important`.
    pub value: &'c str,
    pub important: bool,
}

/// `a, b { … }` is two rules. An at-rule is one, whatever is in it.
pub(super) fn rules(css: &str) -> Vec<Rule<'_>> {
    let (mut rules, mut start) = (Vec::new(), 0);
    while let Some((at, sign)) = next(css, start, "{;") {
        let (prelude, from) = without_comments_before(&css[start..at], start);
        start = at + 1;
        if sign == ';' {
            if !prelude.is_empty() {
                rules.push(Rule { selector: prelude, block: "", start: from });
            }
            continue;
        }
        let end = block_end(css, start);
        let block = &css[start..end];
        start = (end + 1).min(css.len());
        if prelude.starts_with('@') {
            rules.push(Rule { selector: prelude, block, start: from });
            continue;
        }
        for (selector, place) in split(prelude, ",") {
            let (selector, start) = without_comments_before(selector, from + place);
            rules.push(Rule { selector, block, start });
        }
    }
    let (rest, from) = without_comments_before(css.get(start..).unwrap_or_default(), start);
    if !rest.is_empty() {
        rules.push(Rule { selector: rest, block: "", start: from });
    }
    rules
}

/// The selectors of a list.
pub(super) fn selectors(list: &str) -> impl Iterator<Item = &str> {
    split(list, ",").into_iter().map(|(selector, _)| without_comments_before(selector, 0).0)
}

pub(super) fn declarations(block: &str) -> Vec<Declaration<'_>> {
    let parts = split(block, ";").into_iter();
    parts.filter_map(|(part, _)| declaration(without_comments_before(part, 0).0)).collect()
}

fn declaration(text: &str) -> Option<Declaration<'_>> {
    let (name, value) = text.split_once(':')?;
    let value = value.trim();
    let plain = value
        .get(value.len().saturating_sub("important".len())..)
        .filter(|end| end.eq_ignore_ascii_case("important"))
        .and_then(|end| value[..value.len() - end.len()].trim_end().strip_suffix('!'));
    let (value, important) = (plain.map_or(value, str::trim_end), plain.is_some());
    (!name.trim().is_empty() && !value.is_empty()).then_some(Declaration {
        name: name.trim(),
        value,
        important,
    })
}

/// Split at a sign that stands in no text, bracket or comment: the parts, and where each begins.
fn split<'c>(css: &'c str, sign: &str) -> Vec<(&'c str, usize)> {
    let (mut parts, mut start) = (Vec::new(), 0);
    while let Some((at, _)) = next(css, start, sign) {
        parts.push((&css[start..at], start));
        start = at + 1;
    }
    parts.push((&css[start..], start));
    parts
}

/// The next of these signs that stands in no text, bracket or comment.
fn next(css: &str, from: usize, signs: &str) -> Option<(usize, char)> {
    let (mut chars, mut brackets) = (css[from..].char_indices().peekable(), 0_usize);
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '"' | '\'' => while chars.next().is_some_and(|(_, inside)| inside != c) {},
            '/' if chars.peek().is_some_and(|(_, next)| *next == '*') => {
                let end = css[from + i + 2..].find("*/").map_or(css.len(), |end| from + i + 2 + end + 2);
                while chars.peek().is_some_and(|(i, _)| from + i < end) {
                    chars.next();
                }
            }
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            _ if brackets == 0 && signs.contains(c) => return Some((from + i, c)),
            _ => {}
        }
    }
    None
}

fn block_end(css: &str, from: usize) -> usize {
    let (mut at, mut depth) = (from, 1_usize);
    while let Some((found, sign)) = next(css, at, "{}") {
        depth = if sign == '{' { depth + 1 } else { depth - 1 };
        if depth == 0 {
            return found;
        }
        at = found + 1;
    }
    css.len()
}

/// Comments and the signs of one around a whole sheet are left out where something begins.
fn without_comments_before(css: &str, start: usize) -> (&str, usize) {
    let mut rest = css.trim_start();
    loop {
        let after = match rest {
            _ if rest.starts_with("/*") => rest.find("*/").map_or("", |end| &rest[end + 2..]),
            _ => rest.trim_start_matches('}').trim_start_matches("<!--").trim_start_matches("-->"),
        };
        let after = after.trim_start();
        if after.len() == rest.len() {
            break;
        }
        rest = after;
    }
    (rest.trim_end(), start + css.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selectors(css: &str) -> Vec<(&str, &str)> {
        rules(css).into_iter().map(|rule| (rule.selector, rule.block)).collect()
    }

    #[test]
    fn rules_are_found_whatever_is_in_them() {
        let css = "/* a{} */ .a > b, td[x=\",{\"] { color: red } @media (x) { .b { c: d } } @import 'x'; p{a:url(;{)}";
        let expected = [
            (".a > b", " color: red "),
            ("td[x=\",{\"]", " color: red "),
            ("@media (x)", " .b { c: d } "),
            ("@import 'x'", ""),
            ("p", "a:url(;{)"),
        ];
        assert_eq!(selectors(css), expected);
        for rule in rules(css) {
            assert!(css[rule.start..].starts_with(rule.selector), "{rule:?}");
        }
        assert_eq!(selectors("a{b:c"), [("a", "b:c")]);
        assert_eq!(selectors("a"), [("a", "")]);
        assert_eq!(selectors("}} a{b:c}}"), [("a", "b:c")]);
        assert_eq!(selectors(" /* x"), []);
    }

    #[test]
    fn declarations_are_found_whatever_is_in_them() {
        let found = declarations("/* x:y; */ a: b;; c : url(a;b) ! IMPORTANT ;d:';'/*;*/;e:; :f; g");
        let found: Vec<_> = found.iter().map(|d| (d.name, d.value, d.important)).collect();
        assert_eq!(found, [("a", "b", false), ("c", "url(a;b)", true), ("d", "';'/*;*/", false)]);
        assert_eq!(declarations("a:łimportant").len(), 1);
    }
}
