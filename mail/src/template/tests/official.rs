//! Our HTML beside that of MJML's own compiler: the same elements in the same order, with the same attributes
//! and styles.
//!
//! Beside each template of `official/` stands what the npm package makes of it (`e2e/mjml/golden.js`). Where
//! ours is another, the difference has a name in `official/known.txt`; a known difference that is gone fails as
//! well.

use super::super::marks::Marked;
use super::super::markup::{self, Open, Token};
use super::super::mjml;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/template/tests/official")
}

fn templates() -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = files.filter_map(|file| Some(file.strip_suffix(".mjml")?.to_owned())).collect();
    names.sort();
    names
}

fn ours(name: &str) -> String {
    let source = fs::read_to_string(folder().join(format!("{name}.mjml"))).unwrap();
    let marked = Marked::new(&source).unwrap();
    mjml::to_html(&marked, true).map(|made| made.html).unwrap_or_else(|faults| panic!("{name}: {faults:?}"))
}

/// A line for each tag, text and rule of a style sheet, in a form that leaves out what no mail program sees.
fn normal(html: &str) -> Vec<String> {
    let mut lines = Vec::new();
    push_normal(&mut lines, &without_drawn_ids(html));
    // `<!--[if x]>a<![endif]--><!--[if x]>b<![endif]-->` is the same as both in one, and two style sheets as
    // one.
    let mut merged: Vec<String> = Vec::new();
    for line in lines {
        match (merged.last().map(String::as_str), line.as_str()) {
            (Some("[endif]"), "[if mso | IE]") | (Some("</style>"), "<style type=\"text/css\">") => {
                merged.pop();
            }
            _ => merged.push(line),
        }
    }
    // The rules for columns are sorted: which stands first says nothing.
    for rules in merged.chunk_by_mut(|a, b| a.contains(".mj-column-") && b.contains(".mj-column-")) {
        rules
            .iter_mut()
            .for_each(|rule| *rule = rule.replace("@media only screen and (min-width:480px){", "@media{"));
        rules.sort();
    }
    let whole = merged.join("\n");
    short_numbers(&whole).lines().map(str::to_owned).collect()
}

/// Three digits behind the point: `33.333332` is `33.333333333333336`.
fn short_numbers(text: &str) -> String {
    let (mut out, mut digits, mut behind) = (String::new(), 0, false);
    for c in text.chars() {
        match c {
            '.' | '-' if out.ends_with(|c: char| c.is_ascii_digit()) => (digits, behind) = (0, true),
            _ if c.is_ascii_digit() => digits += 1,
            _ => (digits, behind) = (0, false),
        }
        if !(behind && c.is_ascii_digit() && digits > 3) {
            out.push(c);
        }
    }
    out.replace("0.099,", "0.1,") // 0.099999994
}

/// Which are in the order in which they were drawn.
fn without_drawn_ids(text: &str) -> String {
    (0..10).fold(text.to_owned(), |text, n| text.replace(&format!("0000000{n}"), &format!("id-{}", n + 1)))
}

fn push_normal(lines: &mut Vec<String>, html: &str) {
    for piece in markup::pieces(html) {
        match piece.token {
            Token::Text(text) => lines.extend(Some(words(text)).filter(|text| !text.is_empty())),
            Token::RawText(css) => push_rules(lines, css),
            Token::Open(tag) => lines.push(element(&tag)),
            Token::Close(name) => lines.push(format!("</{name}>")),
            Token::Other(other) => {
                match other.strip_prefix("<!--[if ").and_then(|rest| rest.split_once("]>")) {
                    Some((condition, "<!-->")) | Some((condition, "<!--")) => {
                        lines.push(format!("[if {condition}] shown"))
                    }
                    Some((condition, rest)) => {
                        lines.push(format!("[if {condition}]"));
                        push_normal(lines, rest.trim_end_matches("<![endif]-->"));
                        lines.push("[endif]".into());
                    }
                    None if other.starts_with("<!--") && !other.contains("endif") => {}
                    None => lines.push(other.to_ascii_lowercase()),
                }
            }
        }
    }
}

/// Single blanks alone.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Around these signs blanks mean nothing.
fn tight(css: &str) -> String {
    let mut css = words(css);
    for sign in [":", ";", ",", "{", "}", ">", "(", ")"] {
        css = css.replace(&format!(" {sign}"), sign).replace(&format!("{sign} "), sign);
    }
    css.trim_end_matches(';').to_owned()
}

fn push_rules(lines: &mut Vec<String>, css: &str) {
    let css = tight(css)
        .replace(";}", "}")
        .replace(" + ", "+")
        .replace(" !important", "!important")
        .replace("! important", "!important");
    lines.extend(css.split_inclusive('}').map(|rule| rule.trim().to_owned()).filter(|rule| !rule.is_empty()));
}

fn element(tag: &Open<'_>) -> String {
    let mut attributes: BTreeMap<&str, String> = BTreeMap::new();
    for attribute in &tag.attributes {
        let value = match attribute.name {
            "style" => styles(attribute.value),
            "class" => {
                let names: BTreeSet<_> = attribute.value.split_whitespace().collect();
                names.into_iter().collect::<Vec<_>>().join(" ")
            }
            "bgcolor" => normal_word(attribute.value),
            _ => words(attribute.value),
        };
        if !(value.is_empty() && ["style", "class"].contains(&attribute.name)) {
            attributes.insert(attribute.name, value);
        }
    }
    let attributes: String = attributes.iter().map(|(name, value)| format!(" {name}=\"{value}\"")).collect();
    format!("<{}{attributes}>", tag.name)
}

/// By name: the last of each counts.
fn styles(style: &str) -> String {
    let decoded = html_escape::decode_html_entities(style).replace('"', "'");
    let pairs: BTreeMap<String, String> = decoded
        .split(';')
        .filter_map(|pair| pair.split_once(':'))
        .map(|(name, value)| (tight(name), value_of(name, value)))
        .collect();
    pairs.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(";")
}

fn value_of(name: &str, value: &str) -> String {
    let mut words: Vec<String> = tight(value).split(' ').map(normal_word).collect();
    if name.trim().starts_with("border") {
        words.sort();
    }
    words.join(" ")
}

/// `0` is `0px`, and `#f00` is `#ff0000`.
fn normal_word(word: &str) -> String {
    match word.strip_prefix('#') {
        Some(short) if short.len() == 3 => {
            format!("#{}", short.chars().flat_map(|c| [c, c]).collect::<String>())
        }
        _ if word == "0" => "0px".into(),
        _ => word.to_ascii_lowercase(),
    }
}

/// What has to go and to come, in one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Difference {
    official: Vec<String>,
    ours: Vec<String>,
}

/// By the longest common part.
fn differences(official: &[String], ours: &[String]) -> Vec<Difference> {
    let mut common = vec![vec![0_usize; ours.len() + 1]; official.len() + 1];
    for i in (0..official.len()).rev() {
        for j in (0..ours.len()).rev() {
            common[i][j] = match official[i] == ours[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    let mut open = Difference { official: vec![], ours: vec![] };
    while i < official.len() || j < ours.len() {
        if i < official.len() && j < ours.len() && official[i] == ours[j] {
            (i, j) = (i + 1, j + 1);
            let whole = std::mem::replace(&mut open, Difference { official: vec![], ours: vec![] });
            found.extend(Some(whole).filter(|whole| !(whole.official.is_empty() && whole.ours.is_empty())));
        } else if j == ours.len() || (i < official.len() && common[i + 1][j] >= common[i][j + 1]) {
            open.official.push(official[i].clone());
            i += 1;
        } else {
            open.ours.push(ours[j].clone());
            j += 1;
        }
    }
    found.extend(Some(open).filter(|open| !(open.official.is_empty() && open.ours.is_empty())));
    found
}
/// By their names: blocks of lines that begin with `-` and `+`, under `## name`.
fn known() -> BTreeMap<Difference, String> {
    let text = fs::read_to_string(folder().join("known.txt")).unwrap();
    let mut known = BTreeMap::new();
    for part in text.split("\n## ").skip(1) {
        let (name, blocks) = part.split_once('\n').unwrap();
        for block in blocks.split("\n\n").filter(|block| !block.trim().is_empty()) {
            let lines = |sign: &str| {
                block.lines().filter_map(|line| line.strip_prefix(sign)).map(str::to_owned).collect()
            };
            let difference = Difference { official: lines("- "), ours: lines("+ ") };
            assert!(known.insert(difference, name.to_owned()).is_none(), "{name}: told twice:\n{block}");
        }
    }
    known
}

#[test]
fn our_html_is_that_of_mjml_but_for_known_differences() {
    let known = known();
    let mut found: BTreeMap<Difference, String> = BTreeMap::new();
    for name in templates() {
        let official = fs::read_to_string(folder().join(format!("{name}.html"))).unwrap();
        let ours = normal(&ours(&name));
        assert!(ours.len() > 50, "{name}: {ours:?}");
        found.extend(
            differences(&normal(&official), &ours).into_iter().map(|difference| (difference, name.clone())),
        );
    }
    let new = found.iter().filter(|(difference, _)| !known.contains_key(difference));
    let gone = known.iter().filter(|(difference, _)| !found.contains_key(difference));
    let shown = |(Difference { official, ours }, name): (&Difference, &String)| {
        let lines = |sign: &str, lines: &[String]| {
            lines.iter().map(|line| format!("{sign} {line}\n")).collect::<String>()
        };
        format!("{name}\n{}{}", lines("-", official), lines("+", ours))
    };
    let [new, gone] =
        [new.map(shown).collect::<Vec<_>>(), gone.map(shown).collect()].map(|all| all.join("\n"));
    assert!(new.is_empty() && gone.is_empty(), "not in known.txt:\n{new}\n\nin known.txt, and gone:\n{gone}");
}

/// Every element that we know is in one of the templates, so that what is compared is all of MJML.
#[test]
fn every_element_is_compared() {
    let all: String = templates()
        .iter()
        .map(|name| fs::read_to_string(folder().join(format!("{name}.mjml"))).unwrap())
        .collect();
    for element in mjml::ELEMENTS {
        let is_there = [" ", ">"].iter().any(|end| all.contains(&format!("<{element}{end}")));
        assert!(is_there, "{element} is in no template of {}", folder().display());
    }
}
