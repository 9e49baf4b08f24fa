//! Whether a reader sees a link to leave. That a template names the link says little: it may stand in a comment, in a hidden
//! element, or in an `{% if %}` that is false for this reader.
//!
//! Colours and style sheets are not looked at: a link in white on white, or hidden by a class, counts as seen.

use super::jinja::{Kind, Tag, Word};
use super::marks::{Marked, Part};
use super::markup::{self, Open, Piece, Token};

/// The fields that are a way out.
pub(super) const FIELDS: [&str; 2] = ["unsubscribe_url", "preferences_url"];

/// Elements whose content nobody sees.
const UNSEEN: [&str; 11] = [
    "head", "script", "style", "title", "template", "textarea", "select", "svg", "object", "noscript",
    "iframe",
];

pub(super) fn is_unseen(tag: &Open<'_>) -> bool {
    UNSEEN.iter().any(|name| tag.is(name)) || is_hidden(tag)
}

/// By the element's own attributes.
fn is_hidden(tag: &Open<'_>) -> bool {
    let style = tag.attribute("style").unwrap_or_default();
    let hides = |(name, value): (String, String)| match name.as_str() {
        "display" => value == "none",
        "visibility" => value == "hidden",
        "opacity" | "max-height" => is_zero(&value),
        _ => false,
    };
    tag.attribute("hidden").is_some() || declarations(style).any(hides)
}

/// A link of this size can't be read. Around it the size says nothing: layouts set 0 outside and a real one inside.
fn is_too_small(link: &Open<'_>) -> bool {
    let style = link.attribute("style").unwrap_or_default();
    declarations(style).any(|(name, value)| name == "font-size" && is_zero(&value))
}

fn declarations(style: &str) -> impl Iterator<Item = (String, String)> + '_ {
    style.split(';').filter_map(|declaration| {
        let (name, value) = declaration.split_once(':')?;
        let value = value.trim().to_ascii_lowercase();
        let value = value.trim_end_matches("!important").trim_end().to_owned();
        Some((name.trim().to_ascii_lowercase(), value))
    })
}

fn is_zero(value: &str) -> bool {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    number.parse::<f64>().is_ok_and(|number| number == 0.0)
}

/// Whether the HTML of one mail shows a link to one of these addresses.
pub(super) fn is_seen(html: &str, addresses: &[&str]) -> bool {
    let leads_out = |href: &str| {
        let href = html_escape::decode_html_entities(href.trim());
        addresses.iter().any(|address| !address.is_empty() && href.starts_with(address))
    };
    let has_words = |text: &str| !html_escape::decode_html_entities(text).trim().is_empty();
    let mut links = Links::default();
    markup::pieces(html).iter().any(|piece| links.sees(piece, &leads_out, &has_words))
}

/// Whether every reader's mail shows one: nothing in the part depends on the reader but what fields hold, and the link has words
/// of its own. `pieces` have marks in place of tags.
pub(super) fn is_certain(pieces: &[Piece<'_>], marked: &Marked<'_>) -> bool {
    let leads_out = |href: &str| match marked.split(href.trim())[..] {
        [Part::Mark(index)] => is_field(&marked.tags[index]),
        _ => false,
    };
    let has_words = |text: &str| {
        marked.split(text).iter().any(|part| matches!(part, Part::Text(text) if !text.trim().is_empty()))
    };
    let mut links = Links::default();
    marked.tags.iter().all(|tag| tag.kind != Kind::Statement)
        && pieces.iter().any(|piece| links.sees(piece, &leads_out, &has_words))
}

fn is_field(tag: &Tag<'_>) -> bool {
    let words = tag.words();
    tag.kind == Kind::Expression && matches!(words[..], [Word::Name(name)] if FIELDS.contains(&name))
}

/// Where a reading of the HTML is: in a link to leave, in what nobody sees.
#[derive(Default)]
struct Links {
    /// The element that nobody sees, and how often it is open.
    unseen: Option<(String, usize)>,
    inside: bool,
}

impl Links {
    /// Whether this piece is what a reader sees of such a link: words, or the words of an image.
    fn sees(
        &mut self,
        piece: &Piece<'_>,
        leads_out: &impl Fn(&str) -> bool,
        has_words: &impl Fn(&str) -> bool,
    ) -> bool {
        match &piece.token {
            Token::Open(tag) => self.open(tag, leads_out, has_words),
            Token::Close(name) => {
                self.close(name);
                false
            }
            Token::Text(text) => self.inside && self.unseen.is_none() && has_words(text),
            Token::RawText(_) | Token::Other(_) => false,
        }
    }

    fn open(
        &mut self,
        tag: &Open<'_>,
        leads_out: &impl Fn(&str) -> bool,
        has_words: &impl Fn(&str) -> bool,
    ) -> bool {
        if let Some((name, depth)) = &mut self.unseen {
            *depth += usize::from(tag.is(name) && !tag.closed);
            return false;
        }
        if is_unseen(tag) {
            let stays_open = !tag.closed && !markup::is_void(tag.name);
            self.unseen = stays_open.then(|| (tag.name.to_owned(), 1));
            return false;
        }
        if tag.is("a") {
            self.inside = tag.attribute("href").is_some_and(leads_out) && !is_too_small(tag);
        }
        self.inside && tag.is("img") && tag.attribute("alt").is_some_and(has_words)
    }

    fn close(&mut self, name: &str) {
        if let Some((unseen, depth)) = &mut self.unseen {
            *depth -= usize::from(unseen.eq_ignore_ascii_case(name));
            if *depth == 0 {
                self.unseen = None;
            }
        } else if name.eq_ignore_ascii_case("a") {
            self.inside = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: &str = "https://x.example/u?t=a&b=1";

    #[test]
    fn a_link_with_words_is_seen() {
        for html in [
            "<a href='https://x.example/u?t=a&amp;b=1'>Leave</a>",
            "<A HREF=\"https://x.example/u?t=a&amp;b=1\"><b>Leave</b></A>",
            "<td style='font-size:0px'><a style='opacity:0.9' href='https://x.example/u?t=a&amp;b=1'>x</a></td>",
            "<a href='https://x.example/u?t=a&amp;b=1'><img src='x' alt='Leave'></a>",
            "<!--[if !mso]><!--><a href='https://x.example/u?t=a&amp;b=1'>x</a><!--<![endif]-->",
            "<p hidden>x</p><div style='display:none'><div></div></div><a href='https://x.example/u?t=a&amp;b=1'>x</a>",
        ] {
            assert!(is_seen(html, &[OUT, ""]), "{html}");
        }
    }

    #[test]
    fn a_link_that_nobody_sees_is_none() {
        for html in [
            "",
            "https://x.example/u?t=a&amp;b=1",
            "<a href='https://x.example/u?t=other'>Leave</a>",
            "<a href='https://y.example/?to=https://x.example/u?t=a&amp;b=1'>Leave</a>",
            "<a href='https://x.example/u?t=a&amp;b=1'></a>Leave",
            "<a href='https://x.example/u?t=a&amp;b=1'>&nbsp;&#32;</a>",
            "<a href='https://x.example/u?t=a&amp;b=1'><img src='x'></a>",
            "<!-- <a href='https://x.example/u?t=a&amp;b=1'>x</a> -->",
            "<!--[if mso]><a href='https://x.example/u?t=a&amp;b=1'>x</a><![endif]-->",
            "<head><a href='https://x.example/u?t=a&amp;b=1'>x</a></head>",
            "<title><a href='https://x.example/u?t=a&amp;b=1'>x</a></title>",
            "<noscript><a href='https://x.example/u?t=a&amp;b=1'>x</a></noscript>",
            "<div style='DISPLAY : None !important'><div></div><a href='https://x.example/u?t=a&amp;b=1'>x</a></div>",
            "<p style='visibility:hidden'><a href='https://x.example/u?t=a&amp;b=1'>x</a></p>",
            "<p style='opacity: 0.0'><a href='https://x.example/u?t=a&amp;b=1'>x</a></p>",
            "<p style='max-height:0px;overflow:hidden'><a href='https://x.example/u?t=a&amp;b=1'>x</a></p>",
            "<p hidden><a href='https://x.example/u?t=a&amp;b=1'>x</a></p>",
            "<a style='font-size:0' href='https://x.example/u?t=a&amp;b=1'>x</a>",
            "<a href='https://x.example/u?t=a&amp;b=1'><span hidden>x</span></a>",
        ] {
            assert!(!is_seen(html, &[OUT, ""]), "{html}");
        }
    }

    #[test]
    fn only_what_no_statement_can_change_is_certain() {
        let certain = |source: &str| {
            let marked = Marked::new(source).unwrap();
            is_certain(&markup::pieces(&marked.text), &marked)
        };
        assert!(certain("<p>{{ name }}</p><a href=\"{{preferences_url}}\">Leave {{ name }}</a>"));
        for source in [
            "{% if a %}<a href='{{ unsubscribe_url }}'>{% endif %}Leave</a>",
            "<a href='{{ unsubscribe_url }}'>{{ city }}</a>",
            "<a href='{{ unsubscribe_url|upper }}'>Leave</a>",
            "<a href='{{ city }}{{ unsubscribe_url }}'>Leave</a>",
            "<!-- <a href='{{ unsubscribe_url }}'>Leave</a> -->",
            "{% set b %}<a href='{{ unsubscribe_url }}'>Leave</a>{% endset %}",
        ] {
            assert!(!certain(source), "{source}");
        }
    }
}
