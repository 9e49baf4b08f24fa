//! Where mrml makes something else than MJML: mended in what it is given, and in what it gives. What is left
//! is in `tests/official/known.txt`.

use super::super::markup::{Attribute, Open};
use std::borrow::Cow;

/// The value that mrml has to be given for the same result.
pub(super) fn value<'v>(tag: &Open<'_>, attribute: &Attribute<'v>) -> Cow<'v, str> {
    let Attribute { name, value, .. } = *attribute;
    match name {
        _ if !tag.name.starts_with("mj-") => value.into(),
        "cellpadding" => value.into(),
        _ if name.contains("padding") => with_units(value).into(),
        "border" | "inner-border" | "border-left" | "border-right" | "border-top" | "border-bottom" => {
            width_first(value)
        }
        "mode" if tag.name == "mj-hero" && value == "fluid-height" => "fluid".into(),
        _ => value.into(),
    }
}

/// Attributes that mrml lacks behind the others: a name and a value each.
pub(super) fn missing<'t>(tag: &'t Open<'_>) -> Vec<(&'static str, &'t str)> {
    const SIDES: [(&str, &str); 4] = [
        ("border-left", "left"),
        ("border-right", "right"),
        ("border-top", "top"),
        ("border-bottom", "bottom"),
    ];
    match tag.name {
        "mj-social-element" if tag.attribute("alt").is_none() => vec![("alt", "")],
        // mrml looks for an image's borders under these names.
        "mj-image" => SIDES.iter().filter_map(|(ours, mrmls)| Some((*mrmls, tag.attribute(ours)?))).collect(),
        _ => Vec::new(),
    }
}

/// `0 20px`, which MJML takes: mrml drops all of it.
fn with_units(lengths: &str) -> String {
    let is_bare =
        |length: &str| length.parse::<f32>().is_ok() && !length.contains(|c: char| c.is_ascii_alphabetic());
    let unit = |length: &str| if is_bare(length) { format!("{length}px") } else { length.to_owned() };
    lengths.split_whitespace().map(unit).collect::<Vec<_>>().join(" ")
}

/// `solid 4px red`: mrml takes the first word for the width, and leaves no room for it.
fn width_first(border: &str) -> Cow<'_, str> {
    let is_width = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let words: Vec<&str> = border.split_whitespace().collect();
    match words.iter().position(|word| is_width(word)) {
        Some(place) if place > 0 && !border.contains('(') => {
            let others = words.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, word)| *word);
            std::iter::once(words[place]).chain(others).collect::<Vec<_>>().join(" ").into()
        }
        _ => border.into(),
    }
}

/// In mrml's own HTML, before the template's is put back.
pub(super) fn html(html: &str) -> String {
    percent_of_heroes(&whole_pixels(html))
}

/// Outlook is told widths in whole pixels: mrml writes `width:199.98003px`.
fn whole_pixels(html: &str) -> String {
    let mut parts = html.split("width:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("width:");
        let number = part.find(|c: char| !c.is_ascii_digit() && c != '.').map(|end| &part[..end]);
        let pixels = number.filter(|number| number.contains('.') && part[number.len()..].starts_with("px"));
        match pixels.and_then(|number| number.parse::<f64>().ok().map(|value| (number, value))) {
            Some((number, value)) => {
                out.push_str(&value.round().to_string());
                out.push_str(&part[number.len()..]);
            }
            None => out.push_str(part),
        }
    }
    out
}

/// The cells beside a hero of `mode="fluid-height"` hold its height, a part of its width.
fn percent_of_heroes(html: &str) -> String {
    const BEFORE: &str = "mso-padding-bottom-alt:0;padding-bottom:";
    let mut parts = html.split(BEFORE);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(BEFORE);
        match part.split_once(';') {
            Some((number, rest)) if number.parse::<f64>().is_ok() => {
                out.push_str(&format!("{number}%;{rest}"))
            }
            _ => out.push_str(part),
        }
    }
    out
}
