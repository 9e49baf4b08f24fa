//! What is added to a template that lacks it: the preheader's place, and the way out.
//!
//! CAN-SPAM (15 U.S.C. 7704(a)(5)) wants a postal address and a way to opt out in every campaign; RFC 8058 section 3.1
//! wants the header as well, but not every mail program shows it.

use super::fields::PREHEADER;
use super::markup::{Piece, Token};

/// Small, centred, with enough contrast to be read (WCAG 2.2, 1.4.3). Empty where a mail has no link to opt out.
const HTML: &str = concat!(
    "{% if group.name or unsubscribe_url or postal_address %}",
    r#"<div role="contentinfo" style="margin:0 auto;padding:24px 16px;max-width:600px;text-align:center;"#,
    r#"font-family:Arial,Helvetica,sans-serif;font-size:12px;line-height:18px;color:#595959;background-color:#ffffff">"#,
    r#"{% if group.name %}<p style="margin:0 0 8px">You get this e-mail as a subscriber of {{ group.name }}.</p>{% endif %}"#,
    r#"{% if unsubscribe_url %}<p style="margin:0 0 8px"><a href="{{ unsubscribe_url }}" "#,
    r#"style="color:#595959;text-decoration:underline">Unsubscribe</a></p>{% endif %}"#,
    r#"{% if postal_address %}<p style="margin:0;white-space:pre-line">{{ postal_address }}</p>{% endif %}</div>{% endif %}"#,
);

/// Begins with a line break, lest a `{` before it become part of a tag.
const TEXT: &str = concat!(
    "\n{% if group.name or unsubscribe_url or postal_address %}\n---\n",
    "{% if group.name %}You get this e-mail as a subscriber of {{ group.name }}.\n{% endif %}",
    "{% if unsubscribe_url %}Unsubscribe: {{ unsubscribe_url }}\n{% endif %}",
    "{% if postal_address %}{{ postal_address }}\n{% endif %}{% endif %}",
);

/// The names that the footers use.
pub(super) const FIELDS: [&str; 3] = ["group", "unsubscribe_url", "postal_address"];

/// Whether a part gets the footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Footer {
    /// It has no link to leave: the footer is a part of it.
    Always,
    /// Every reader sees a link of its own.
    Never,
    /// It names the link: whether a reader sees it is found out in what was rendered for them.
    IfUnseen,
}

/// Puts the footer into a mail's HTML.
pub(super) fn insert(html: &str, footer: &str) -> String {
    let at = body_end(&super::markup::pieces(html));
    [&html[..at], footer, &html[at..]].concat()
}

pub(super) fn html() -> &'static str {
    HTML
}

pub(super) fn text() -> &'static str {
    TEXT
}

/// The preview that mail programs show beside the subject: hidden in the mail, and filled up with blanks, so that
/// nothing of the mail's beginning follows it there.
pub(super) fn preheader() -> String {
    let blanks = "&#847;&zwnj;&nbsp;".repeat(40);
    format!(
        r#"<div style="display:none;max-height:0;max-width:0;overflow:hidden;opacity:0;font-size:1px;line-height:1px;mso-hide:all">{{{{ {PREHEADER} }}}}{blanks}</div>"#
    )
}

/// Where the preheader goes: after `<body>`, or after as much of a beginning as the document has.
pub(super) fn body_start(html: &[Piece<'_>]) -> usize {
    let mut start = 0;
    for piece in html {
        match &piece.token {
            Token::Open(tag) if tag.is("body") => return piece.end,
            Token::Open(tag) if tag.is("html") => start = piece.end,
            Token::Close(name) if name.eq_ignore_ascii_case("head") => start = piece.end,
            Token::Other(text) if text.get(..9).is_some_and(|t| t.eq_ignore_ascii_case("<!doctype")) => {
                start = piece.end
            }
            _ => {}
        }
    }
    start
}

/// Where the footer goes: before the last `</body>`, or at the end.
pub(super) fn body_end(html: &[Piece<'_>]) -> usize {
    let closing = |name: &str| {
        let is = |piece: &&Piece<'_>| matches!(piece.token, Token::Close(n) if n.eq_ignore_ascii_case(name));
        html.iter().rfind(is).map(|piece| piece.start)
    };
    closing("body").or_else(|| closing("html")).or(html.last().map(|piece| piece.end)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::markup::pieces;
    use super::*;

    #[test]
    fn the_body_is_found_and_comments_are_not_it() {
        let html = "<!doctype html><html><head></head><!-- <body> --><body class='a>b'>x<!-- </body> --></body></html>";
        assert!(html[..body_start(&pieces(html))].ends_with("<body class='a>b'>"));
        assert!(html[body_end(&pieces(html))..].starts_with("</body></html>"));
    }

    #[test]
    fn a_document_without_a_body_has_a_start_and_an_end() {
        for (html, start, end) in
            [("<p>x</p>", 0, 8), ("<!DOCTYPE html><p>x", 15, 19), ("<html>x</html>", 6, 7), ("", 0, 0)]
        {
            assert_eq!((body_start(&pieces(html)), body_end(&pieces(html))), (start, end), "{html}");
        }
    }
}
