//! What is allowed in a template and yet not what its writer wants: told when it is saved and previewed.

use super::jinja::{self, Piece};
use super::marks::Marked;
use super::markup::{self, Open, Token};
use super::{Body, TemplateSource};
use std::collections::{BTreeMap, BTreeSet};

/// Gmail shows a link to the rest instead: <https://support.google.com/mail/answer/6594> names no size; 102 kB is what senders
/// see ("Message clipped").
const GMAIL_SHOWS_BYTES: usize = 102_000;
/// Warnings of one template; the rest is left out.
const MAX_WARNINGS: usize = 50;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// `clipped`, `image_without_alt`, `foreign_image`, `foreign_merge_tag`, `two_previews`, `not_inlined` or
    /// `text_as_truth`
    pub code: &'static str,
    /// The part, and its line where there is one: `html, line 3`.
    pub place: String,
    pub text: String,
}

/// Where a template asks whether an attribute is true.
#[derive(Debug)]
pub(super) struct Asked {
    pub name: String,
    pub place: String,
    /// It is asked for, and nowhere shown or compared.
    pub alone: bool,
}

/// Texts that say no, and are true as all texts are.
const NO: [&str; 8] = ["0", "false", "no", "n", "f", "off", "nein", "non"];

/// What is true by mistake: surely for this reader, or most likely for some.
pub(super) fn true_by_mistake(
    asked: &[Asked],
    attributes: &BTreeMap<String, String>,
) -> impl Iterator<Item = Warning> {
    let says_no = |text: &String| NO.contains(&text.trim().to_lowercase().as_str());
    asked.iter().filter(move |asked| asked.alone || attributes.get(&asked.name).is_some_and(says_no)).map(
        |Asked { name, place, .. }| Warning {
            code: "text_as_truth",
            place: place.clone(),
            text: format!(
                "`{name}` is text, and every text but an empty one counts as true, \"0\", \"false\" and \"no\" too: \
                 write what it has to be, as in `{name} == 'yes'` or `{name} in ['1', 'true', 'yes']`"
            ),
        },
    )
}

/// `noted`: by the compiler. `html`: the mail of one reader. `own_hosts`: hosts whose pictures tell nobody else who reads.
pub fn warnings(
    source: &TemplateSource,
    noted: Vec<Warning>,
    html: &str,
    own_hosts: &[&str],
) -> Vec<Warning> {
    let (part, body) = match &source.body {
        Body::Html(html) => ("html", html),
        Body::Mjml(mjml) => ("mjml", mjml),
    };
    let mut found = noted;
    if html.len() > GMAIL_SHOWS_BYTES {
        let text = format!(
            "the mail has {} kB of HTML: Gmail cuts it off after 102 kB, and with the end goes the link to unsubscribe",
            html.len() / 1000
        );
        found.push(Warning { code: "clipped", place: part.into(), text });
    }
    if let Ok(marked) = Marked::new(body) {
        found.extend(images_without_alt(part, &marked));
        found.extend(two_previews(part, &marked, source.preheader.as_deref()));
    }
    found.extend(foreign_images(part, body, html, own_hosts));
    let lines = [("subject", Some(&source.subject)), ("preheader", source.preheader.as_ref())];
    for (part, text) in lines.into_iter().chain([(part, Some(body)), ("text", source.text.as_ref())]) {
        found.extend(text.into_iter().flat_map(|text| foreign_merge_tags(part, text)));
    }
    found.truncate(MAX_WARNINGS);
    found
}

pub(super) fn at(part: &str, line: usize) -> String {
    format!("{part}, line {line}")
}

fn images_without_alt(part: &str, marked: &Marked<'_>) -> Vec<Warning> {
    let lacks = |tag: &Open<'_>| {
        ["img", "mj-image", "mj-carousel-image"].iter().any(|name| tag.is(name))
            && tag.attribute("alt").is_none()
    };
    let pieces = markup::pieces(&marked.text);
    let found = pieces.iter().filter(|piece| matches!(&piece.token, Token::Open(tag) if lacks(tag)));
    found
        .take(MAX_WARNINGS)
        .map(|piece| Warning {
            code: "image_without_alt",
            place: at(part, marked.line_after(&marked.text[..piece.start])),
            text: "an image has no alt: readers who see no images, or hear the mail, get nothing (alt=\"\" for decoration)"
                .into(),
        })
        .collect()
}

fn two_previews(part: &str, marked: &Marked<'_>, preheader: Option<&str>) -> Option<Warning> {
    preheader.filter(|text| !text.trim().is_empty())?;
    let pieces = markup::pieces(&marked.text);
    let preview =
        pieces.iter().find(|piece| matches!(&piece.token, Token::Open(tag) if tag.is("mj-preview")))?;
    Some(Warning {
        code: "two_previews",
        place: at(part, marked.line_after(&marked.text[..preview.start])),
        text: "there is an mj-preview beside the preheader: mailboxes show both, one behind the other".into(),
    })
}

/// A host each. Those of fields are looked at as well, since it is the mail of a reader.
fn foreign_images(part: &str, body: &str, html: &str, own_hosts: &[&str]) -> Vec<Warning> {
    let hosts: BTreeSet<String> = image_urls(html).into_iter().filter_map(|url| host(&url)).collect();
    let foreign = hosts.into_iter().filter(|host| !own_hosts.contains(&host.as_str()));
    foreign
        .take(MAX_WARNINGS)
        .map(|host| {
            let line = body.lines().position(|line| line.contains(&host)).map(|line| line + 1);
            let cause = match line {
                Some(_) => "",
                None => " (icons of mj-social, mj-carousel or mj-accordion: give each a src of your own)",
            };
            Warning {
                code: "foreign_image",
                place: line.map_or(part.to_owned(), |line| at(part, line)),
                text: format!("a picture is loaded from {host}, whose owner sees who reads the mail{cause}"),
            }
        })
        .collect()
}

fn image_urls(html: &str) -> Vec<String> {
    let mut urls = Vec::new();
    for piece in markup::pieces(html) {
        match &piece.token {
            Token::Open(tag) => {
                let named = ["src", "background", "poster"].iter().filter_map(|name| tag.attribute(name));
                urls.extend(named.map(|url| html_escape::decode_html_entities(url.trim()).into_owned()));
                urls.extend(in_css(&html_escape::decode_html_entities(
                    tag.attribute("style").unwrap_or_default(),
                )));
            }
            Token::RawText(text) => urls.extend(in_css(text)),
            Token::Close(_) | Token::Text(_) | Token::Other(_) => {}
        }
    }
    urls
}

fn in_css(css: &str) -> Vec<String> {
    let urls = css.split("url(").skip(1).filter_map(|rest| rest.split_once(')'));
    urls.map(|(url, _)| url.trim().trim_matches(['"', '\'']).to_owned()).collect()
}

/// Of an address that a browser would load.
fn host(url: &str) -> Option<String> {
    let lower = url.get(..8).unwrap_or(url).to_ascii_lowercase();
    let start = ["https://", "http://", "//"].iter().find(|scheme| lower.starts_with(**scheme))?.len();
    let authority = url[start..].split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// How other tools write their fields: Mailchimp, ActiveCampaign, HubSpot and Salesforce, ERB and EJS, Smarty, others.
const FOREIGN_FORMS: [(&str, &str); 6] =
    [("*|", "|*"), ("[%", "%]"), ("%%", "%%"), ("<%", "%>"), ("{$", "}"), ("${", "}")];
const FOREIGN_TAG_MAX_BYTES: usize = 60;

fn foreign_merge_tags(part: &str, source: &str) -> Vec<Warning> {
    let (mut found, mut line) = (Vec::new(), 1);
    for piece in jinja::pieces(source).unwrap_or_default() {
        let text = match piece {
            Piece::Text(text) => text,
            Piece::Tag(tag) => tag.source,
        };
        if let Piece::Text(_) = piece {
            found.extend(FOREIGN_FORMS.iter().flat_map(|form| tags_in(text, *form)).map(|(start, tag)| Warning {
                code: "foreign_merge_tag",
                place: at(part, line + jinja::newlines(&text[..start])),
                text: format!(
                    "`{tag}` is a field of another tool and is mailed as it stands: here fields are written as {{{{ first_name }}}}"
                ),
            }));
        }
        line += jinja::newlines(text);
    }
    found
}

/// Where they begin, and what they are.
fn tags_in<'t>(text: &'t str, (opening, closing): (&str, &str)) -> Vec<(usize, &'t str)> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(start) = text[from..].find(opening).map(|i| from + i) {
        from = start + opening.len();
        let end =
            text[from..].find(closing).filter(|len| *len <= FOREIGN_TAG_MAX_BYTES).map(|len| from + len);
        if let Some(end) = end.filter(|end| is_name(&text[from..*end])) {
            from = end + closing.len();
            found.push((start, &text[start..from]));
        }
        if found.len() > MAX_WARNINGS {
            break;
        }
    }
    found
}

/// What names a field: no other use of such signs looks like it.
fn is_name(text: &str) -> bool {
    let mut chars = text.trim().trim_start_matches('=').trim_start().chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-' | ' ' | '|'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(body: Body) -> TemplateSource {
        TemplateSource { subject: "Hello".into(), preheader: None, body, text: None, attributes: vec![] }
    }

    fn found(source: &TemplateSource, html: &str) -> Vec<(&'static str, String)> {
        warnings(source, vec![], html, &["media.example.com"])
            .into_iter()
            .map(|w| (w.code, w.place))
            .collect()
    }

    fn html(body: &str) -> Vec<(&'static str, String)> {
        found(&source(Body::Html(body.into())), body)
    }

    #[test]
    fn a_good_template_has_no_warning() {
        let body = "<style>p{color:red} .a::after{content:'100%%'}</style><p>Hi {{ first_name }}, 5 % {x} [a]</p>\
                    <img src='https://media.example.com/a.png' alt='A'><img src='cid:x' alt=''><a href='https://x.example'>x</a>";
        assert_eq!(html(body), []);
    }

    #[test]
    fn each_kind_is_told_with_its_place() {
        assert_eq!(html(&"x".repeat(GMAIL_SHOWS_BYTES + 1)), [("clipped", "html".into())]);
        assert_eq!(
            html("a\n{{ name }}\n<IMG src='https://media.example.com/a'>"),
            [("image_without_alt", "html, line 3".into())]
        );
        for foreign in [
            "<img src='https://other.example/a' alt=''>",
            "<img src='//other.example:80/a' alt=''>",
            "<td background='http://other.example'>",
            "<p style=\"background:url('https://other.example/a')\">",
            "<style>p{background:url(https://other.example/a)}</style>",
        ] {
            assert_eq!(html(foreign), [("foreign_image", "html, line 1".into())], "{foreign}");
        }
        let twice = "<img src='https://other.example/a' alt=''><img src='https://other.example/b' alt=''>";
        assert_eq!(html(twice).len(), 1);
    }

    #[test]
    fn icons_of_mjml_come_from_somebody_else() {
        let mjml = source(Body::Mjml("<mj-social-element name='facebook'/>".into()));
        let rendered = "<img src='https://www.mailjet.com/images/f.png' alt=''>";
        let told = warnings(&mjml, vec![], rendered, &[]);
        assert_eq!((told[0].code, told[0].place.as_str()), ("foreign_image", "mjml"));
        assert!(told[0].text.contains("mj-social"), "{told:?}");
    }

    #[test]
    fn a_preview_beside_the_preheader_is_told() {
        let body = Body::Mjml("<mjml><mj-head>\n<mj-preview>a</mj-preview></mj-head></mjml>".into());
        let both = TemplateSource { preheader: Some("b".into()), ..source(body.clone()) };
        assert_eq!(found(&both, ""), [("two_previews", "mjml, line 2".into())]);
        assert_eq!(found(&source(body), ""), []);
    }

    #[test]
    fn fields_of_other_tools_are_told_in_every_part() {
        for tag in [
            "*|FNAME|*",
            "[%first_name%]",
            "%%emailaddr%%",
            "<%= user.name %>",
            "{$name}",
            "${name}",
            "*|FNAME:there|*",
        ] {
            let everywhere = TemplateSource {
                subject: tag.into(),
                preheader: Some(tag.into()),
                text: Some(format!("{{{{ name }}}}\n{tag}")),
                ..source(Body::Html(format!("<p>\n{{# x #}}{tag}</p>")))
            };
            let expected = ["subject, line 1", "preheader, line 1", "html, line 2", "text, line 2"];
            let expected = expected.map(|place| ("foreign_merge_tag", place.to_owned()));
            assert_eq!(found(&everywhere, ""), expected, "{tag}");
        }
    }

    #[test]
    fn there_is_an_end_to_warnings() {
        assert_eq!(html(&"*|A|*".repeat(10_000)).len(), MAX_WARNINGS);
    }
}
