//! A small, forgiving reader of HTML and MJML: it finds tags and attributes, and builds no tree.
//!
//! It runs in linear time and without recursion, so that hostile markup can't exhaust anything.

use std::ops::Range;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'t> {
    Text(&'t str),
    /// What stands in `<script>`, `<style>`, `<title>` or `<textarea>`, where no tag counts.
    RawText(&'t str),
    Open(Open<'t>),
    Close(&'t str),
    /// A comment (conditional ones too), a doctype or a processing instruction.
    Other(&'t str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open<'t> {
    pub name: &'t str,
    pub attributes: Vec<Attribute<'t>>,
    /// `<br/>`
    pub closed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute<'t> {
    pub name: &'t str,
    pub value: &'t str,
    /// Where the value stands in the markup.
    pub range: Range<usize>,
    pub quoted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece<'t> {
    pub token: Token<'t>,
    pub start: usize,
    pub end: usize,
}

impl Open<'_> {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.name.eq_ignore_ascii_case(name)).map(|a| a.value)
    }

    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Splits markup into tokens; together they are the whole of it.
pub(super) fn pieces(markup: &str) -> Vec<Piece<'_>> {
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    let mut at = 0;
    while at < markup.len() {
        let (token, end) = match raw_text(markup, at, pieces.last()) {
            Some(raw) => raw,
            None => next(markup, at),
        };
        pieces.push(Piece { token, start: at, end });
        at = end;
    }
    pieces
}

/// Elements that have no end tag.
pub(super) fn is_void(name: &str) -> bool {
    const VOID: [&str; 14] = [
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
        "track", "wbr",
    ];
    VOID.iter().any(|void| name.eq_ignore_ascii_case(void))
}

fn raw_text<'t>(markup: &'t str, at: usize, last: Option<&Piece<'t>>) -> Option<(Token<'t>, usize)> {
    let Some(Piece { token: Token::Open(tag), .. }) = last else { return None };
    if tag.closed || !["script", "style", "title", "textarea"].iter().any(|raw| tag.is(raw)) {
        return None;
    }
    let rest = &markup[at..];
    let len = closings(rest).find(|i| starts_with_name(&rest[i + 2..], tag.name)).unwrap_or(rest.len());
    (len > 0).then(|| (Token::RawText(&rest[..len]), at + len))
}

fn closings(text: &str) -> impl Iterator<Item = usize> + '_ {
    text.match_indices("</").map(|(i, _)| i)
}

fn starts_with_name(text: &str, name: &str) -> bool {
    text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

fn next(markup: &str, at: usize) -> (Token<'_>, usize) {
    let rest = &markup[at..];
    if let Some(len) = other_len(rest) {
        return (Token::Other(&rest[..len]), at + len);
    }
    let begins = |prefix: &str| {
        rest.strip_prefix(prefix).is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
    };
    let tag = match (begins("<"), begins("</")) {
        (true, _) => open(markup, at).map(|(tag, end)| (Token::Open(tag), end)),
        (_, true) => close(rest).map(|(name, len)| (Token::Close(name), at + len)),
        // A `<` that begins no tag is text.
        _ => Some(text(markup, at)),
    };
    // A tag that never ends takes all the rest, as in HTML: to look for its end again and again would take for ever.
    tag.unwrap_or((Token::Text(rest), markup.len()))
}

fn text(markup: &str, at: usize) -> (Token<'_>, usize) {
    let rest = &markup[at..];
    let len = rest.char_indices().skip(1).find(|(_, c)| *c == '<').map_or(rest.len(), |(i, _)| i);
    (Token::Text(&rest[..len]), at + len)
}

fn other_len(rest: &str) -> Option<usize> {
    if let Some(comment) = rest.strip_prefix("<!--") {
        // `<!-->` is a whole comment: the ends may share their dashes.
        let short = comment.starts_with('>').then_some(5);
        return short.or_else(|| comment.find("-->").map(|i| 4 + i + 3)).or(Some(rest.len()));
    }
    let bogus = rest.starts_with("<!") || rest.starts_with("<?");
    bogus.then(|| rest.find('>').map_or(rest.len(), |i| i + 1))
}

fn close(rest: &str) -> Option<(&str, usize)> {
    let inside = rest.strip_prefix("</")?;
    let end = inside.find('>')?;
    Some((&inside[..name_len(&inside[..end])], 2 + end + 1))
}

fn name_len(text: &str) -> usize {
    text.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')).unwrap_or(text.len())
}

fn open(markup: &str, at: usize) -> Option<(Open<'_>, usize)> {
    let inside = markup[at..].strip_prefix('<')?;
    let name = &inside[..name_len(inside)];
    let mut tag = Open { name, attributes: Vec::new(), closed: false };
    let mut i = at + 1 + name.len();
    loop {
        match *markup.as_bytes().get(i)? {
            b'>' => return Some((tag, i + 1)),
            b'/' => {
                tag.closed = markup[i..].starts_with("/>");
                i += 1;
            }
            b if b.is_ascii_whitespace() => i += 1,
            _ => {
                let (attribute, end) = attribute(markup, i)?;
                tag.attributes.push(attribute);
                i = end;
            }
        }
    }
}

fn attribute(markup: &str, at: usize) -> Option<(Attribute<'_>, usize)> {
    // The first character is part of the name, whatever it is: so there is always progress.
    let first = markup[at..].chars().next()?.len_utf8();
    let stop = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | '/' | '>');
    let name_end = markup[at + first..].find(stop).map(|i| at + first + i)?;
    let name = &markup[at..name_end];
    let after = name_end + blanks(&markup[name_end..]);
    if !markup[after..].starts_with('=') {
        return Some((Attribute { name, value: "", range: name_end..name_end, quoted: true }, name_end));
    }
    let start = after + 1 + blanks(&markup[after + 1..]);
    let (range, quoted, end) = match markup[start..].chars().next()? {
        quote @ ('"' | '\'') => {
            let end = start + 1 + markup[start + 1..].find(quote)?;
            (start + 1..end, true, end + 1)
        }
        _ => {
            let end = start + markup[start..].find(|c: char| c.is_ascii_whitespace() || c == '>')?;
            (start..end, false, end)
        }
    };
    Some((Attribute { name, value: &markup[range.clone()], range, quoted }, end))
}

fn blanks(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_whitespace).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens(markup: &str) -> Vec<Token<'_>> {
        pieces(markup).into_iter().map(|p| p.token).collect()
    }

    #[test]
    fn tags_and_attributes_are_found() {
        let markup = r#"<a href="x>y" data-b='1"' c=d/e disabled>t</a >"#;
        let [Token::Open(tag), Token::Text("t"), Token::Close("a")] = &tokens(markup)[..] else { panic!() };
        let found: Vec<_> = tag.attributes.iter().map(|a| (a.name, a.value, a.quoted)).collect();
        assert_eq!(
            found,
            [("href", "x>y", true), ("data-b", "1\"", true), ("c", "d/e", false), ("disabled", "", true)]
        );
        assert_eq!(&markup[tag.attributes[0].range.clone()], "x>y");
    }

    #[test]
    fn what_is_no_tag_is_text() {
        assert_eq!(tokens("a < b"), [Token::Text("a "), Token::Text("< b")]);
        assert_eq!(tokens("<1>"), [Token::Text("<1>")]);
        assert_eq!(tokens("<a href='x <b>"), [Token::Text("<a href='x <b>")]);
        assert_eq!(tokens(&"<a ".repeat(100_000)).len(), 1);
        assert_eq!(tokens(&"</a".repeat(100_000)).len(), 1);
    }

    #[test]
    fn comments_and_raw_text_hide_tags() {
        assert_eq!(
            tokens("<!--[if mso]><b><![endif]-->x"),
            [Token::Other("<!--[if mso]><b><![endif]-->"), Token::Text("x")]
        );
        assert_eq!(
            tokens("<!-->x<!DOCTYPE html>"),
            [Token::Other("<!-->"), Token::Text("x"), Token::Other("<!DOCTYPE html>")]
        );
        let style = tokens("<STYLE>a>b{}</p></style>x");
        assert_eq!(style[1..], [Token::RawText("a>b{}</p>"), Token::Close("style"), Token::Text("x")]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_whole(markup in "[<>a/='\" !\\-\nłp]{0,60}") {
            let pieces = pieces(&markup);
            let whole: String = pieces.iter().map(|p| &markup[p.start..p.end]).collect();
            prop_assert_eq!(whole, markup);
        }
    }
}
