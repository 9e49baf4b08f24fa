//! A text part made from the HTML of a template: what a reader of plain text would want of it.
//!
//! It works on marked HTML and token by token, so that `{% for %}` around table rows stays around them.

use super::jinja::Kind;
use super::marks::{Marked, Part};
use super::markup::{self, Open, Piece, Token};
use super::way_out;

/// Elements with a blank line before and after.
const PARAGRAPHS: [&str; 13] =
    ["p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "table", "figure", "dl", "hr"];
/// Elements that begin a line.
const LINES: [&str; 16] = [
    "div",
    "dt",
    "dd",
    "address",
    "article",
    "aside",
    "section",
    "header",
    "footer",
    "main",
    "nav",
    "center",
    "figcaption",
    "caption",
    "form",
    "fieldset",
];

/// Derives the text of a template from its HTML; both with marks in place of tags.
pub(super) fn derive(html: &[Piece<'_>], marked: &Marked<'_>) -> String {
    let mut writer = Writer::default();
    for piece in html {
        match &piece.token {
            Token::Open(tag) => writer.open(tag),
            Token::Close(name) => writer.close(name),
            Token::Text(text) => writer.text(text),
            Token::RawText(_) | Token::Other(_) => {}
        }
    }
    join_statement_lines(&tidy(&writer.out), marked)
}

/// At most one blank line in a row, no blanks at the ends of lines.
pub(super) fn tidy(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.lines().map(str::trim_end) {
        blank = if line.is_empty() { blank + 1 } else { 0 };
        if blank < 2 {
            tidied.push_str(line);
            tidied.push('\n');
        }
    }
    tidied.trim_matches('\n').to_owned()
}

/// A line of statements alone must leave no empty line behind once it was run.
fn join_statement_lines(text: &str, marked: &Marked<'_>) -> String {
    let is_statement = |part: &Part<'_>| match part {
        Part::Text(text) => text.trim().is_empty(),
        Part::Mark(index) => matches!(marked.tags[*index].kind, Kind::Statement | Kind::Comment),
    };
    let mut joined = String::with_capacity(text.len());
    for line in text.lines() {
        joined.push_str(line);
        if line.is_empty() || !marked.split(line).iter().all(is_statement) {
            joined.push('\n');
        }
    }
    joined.truncate(joined.trim_end().len());
    joined
}

#[derive(Default)]
struct Writer {
    out: String,
    /// Line breaks owed before the next word.
    breaks: usize,
    space: bool,
    /// Nothing may come between a bullet and its text.
    after_bullet: bool,
    /// The element that is skipped, and how often it is open.
    skipping: Option<(String, usize)>,
    /// `href`, and where the link's text begins.
    links: Vec<(String, usize)>,
    /// The number of the next item; none for a bullet.
    lists: Vec<Option<usize>>,
    /// Whether each open table is there for layout: then its cells are paragraphs.
    tables: Vec<bool>,
    preformatted: usize,
}

impl Writer {
    fn open(&mut self, tag: &Open<'_>) {
        let name = tag.name.to_ascii_lowercase();
        if let Some((skipped, depth)) = &mut self.skipping {
            *depth += usize::from(*skipped == name && !tag.closed);
            return;
        }
        if way_out::is_unseen(tag) {
            self.skipping = (!tag.closed && !markup::is_void(&name)).then_some((name, 1));
            return;
        }
        self.owe_breaks(&name, self.lists.is_empty());
        match name.as_str() {
            "br" => self.breaks = (self.breaks + 1).min(2),
            "hr" => self.rule(),
            "img" => self.text(tag.attribute("alt").unwrap_or_default()),
            "a" if !tag.closed => self.links.push((link_target(tag), self.out.len())),
            "ul" => self.lists.push(None),
            "ol" => self.lists.push(Some(1)),
            "li" => self.bullet(),
            "table" => self.tables.push(tag.attribute("role") == Some("presentation")),
            "pre" => self.preformatted += 1,
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        if let Some((skipped, depth)) = &mut self.skipping {
            *depth -= usize::from(*skipped == name);
            if *depth == 0 {
                self.skipping = None;
            }
            return;
        }
        match name.as_str() {
            "a" => self.close_link(),
            "ul" | "ol" => drop(self.lists.pop()),
            "table" => drop(self.tables.pop()),
            "pre" => self.preformatted = self.preformatted.saturating_sub(1),
            _ => {}
        }
        self.owe_breaks(&name, self.lists.is_empty());
    }

    fn owe_breaks(&mut self, name: &str, outermost_list: bool) {
        let layout = self.tables.last() == Some(&true);
        let breaks = match name {
            "td" | "th" if !layout => {
                self.space = true;
                return;
            }
            "td" | "th" | "tr" if layout => 2,
            "ul" | "ol" if outermost_list => 2,
            "ul" | "ol" | "li" | "tr" => 1,
            name if PARAGRAPHS.contains(&name) => 2,
            name if LINES.contains(&name) => 1,
            _ => return,
        };
        self.breaks = self.breaks.max(breaks);
    }

    fn text(&mut self, text: &str) {
        if self.skipping.is_some() {
            return;
        }
        let text = html_escape::decode_html_entities(text);
        if self.preformatted > 0 {
            self.flush();
            self.out.push_str(&text);
            return;
        }
        self.space |= text.starts_with(char::is_whitespace);
        for (i, word) in text.split_whitespace().enumerate() {
            self.space |= i > 0;
            self.word(word);
        }
        self.space |= text.ends_with(char::is_whitespace);
    }

    fn word(&mut self, word: &str) {
        let word: String = word.chars().filter(|c| !is_invisible(*c)).collect();
        if !word.is_empty() {
            self.flush();
            self.out.push_str(&word);
        }
    }

    fn flush(&mut self) {
        match (self.out.is_empty() || self.after_bullet, self.breaks) {
            (true, _) => {}
            (false, 0) if self.space => self.out.push(' '),
            (false, breaks) => self.out.extend(std::iter::repeat_n('\n', breaks)),
        }
        self.breaks = 0;
        self.space = false;
        self.after_bullet = false;
    }

    fn rule(&mut self) {
        self.word("---");
        self.breaks = 2;
    }

    fn bullet(&mut self) {
        const DEEPEST_INDENT: usize = 8;
        self.flush();
        let depth = self.lists.len().clamp(1, DEEPEST_INDENT);
        self.out.push_str(&"  ".repeat(depth - 1));
        match self.lists.last_mut() {
            Some(Some(number)) => {
                self.out.push_str(&format!("{number}. "));
                *number += 1;
            }
            Some(None) | None => self.out.push_str("* "),
        }
        self.after_bullet = true;
    }

    fn close_link(&mut self) {
        let Some((target, start)) = self.links.pop() else { return };
        let text = self.out[start..].trim();
        let shown = [&target, target.trim_start_matches("mailto:"), target.trim_start_matches("tel:")]
            .contains(&text);
        match (target.is_empty(), text.is_empty()) {
            (true, _) => {}
            (false, true) => self.word(&target),
            (false, false) if shown => {}
            (false, false) => self.out.push_str(&format!(" ({target})")),
        }
    }
}

/// Where a link leads, if that is of use outside the page.
fn link_target(tag: &Open<'_>) -> String {
    let target = html_escape::decode_html_entities(tag.attribute("href").unwrap_or_default());
    match target.trim() {
        target if target.starts_with('#') || target.starts_with("javascript:") => String::new(),
        target => target.to_owned(),
    }
}

/// Characters that designers put into mails to steer line breaks and previews.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{200b}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(html: &str) -> String {
        let marked = Marked::new(html).unwrap();
        marked.restore(&derive(&markup::pieces(&marked.text), &marked))
    }

    #[test]
    fn elements_become_lines() {
        let cases = [
            ("<h1>Title</h1><p>One\n  two</p><div>three</div>four", "Title\n\nOne two\n\nthree\nfour"),
            ("a<br>b<br/><br/>c", "a\nb\n\nc"),
            ("<p>a</p><hr><p>b</p>", "a\n\n---\n\nb"),
            ("<ul><li>a</li><li><p>b</p></li></ul>c", "* a\n* b\n\nc"),
            ("<ol><li>a<ul><li>b</ul><li>c</ol>", "1. a\n  * b\n2. c"),
            ("<table><tr><th>Tea</th><td>3 €</td></tr><tr><td>Milk</td></tr></table>", "Tea 3 €\nMilk"),
            ("<table role=\"presentation\"><tr><td>a</td><td>b</td></tr></table>", "a\n\nb"),
            ("<pre>a\n  b</pre>", "a\n  b"),
            ("a <b>b</b><i>c</i> d", "a bc d"),
        ];
        for (html, expected) in cases {
            assert_eq!(text(html), expected, "{html}");
        }
    }

    #[test]
    fn links_show_where_they_lead() {
        let cases = [
            (
                r#"<a href="https://a.example/?x=1&amp;y=2">Shop</a> now"#,
                "Shop (https://a.example/?x=1&y=2) now",
            ),
            (r#"<a href="https://a.example">https://a.example</a>"#, "https://a.example"),
            (r#"<a href="mailto:a@b.example">a@b.example</a>"#, "a@b.example"),
            (r##"<a href="#top">Top</a>"##, "Top"),
            (r#"<a href="https://a.example"><img src="x" alt="Look"></a>"#, "Look (https://a.example)"),
            (r#"<a href="https://a.example"><img src="x"></a>"#, "https://a.example"),
            (r#"<a href="{{ url }}">{{ url }}</a> <a href="{{ url }}">x</a>"#, "{{ url }} x ({{ url }})"),
        ];
        for (html, expected) in cases {
            assert_eq!(text(html), expected, "{html}");
        }
    }

    #[test]
    fn what_nobody_reads_is_left_out() {
        let html = "<head><title>T</title><style>p{}</style></head><!-- c --><div style='Display : none'>\
                    <div>x</div>y</div><p hidden>z</p><script>1<2</script>text";
        assert_eq!(text(html), "text");
    }

    #[test]
    fn expressions_survive_and_references_do_not() {
        let html =
            r#"<p>Hi {{ first_name | default("friend", true) }},&nbsp;a &lt; b &amp; &#123;{ 7*7 }}</p>"#;
        let expected = r#"Hi {{ first_name | default("friend", true) }}, a < b & {{ '{' }}{ 7*7 }}"#;
        assert_eq!(text(html), expected);
    }

    #[test]
    fn statements_stay_where_they_were_even_in_tables() {
        let html = "<table>{% for n in range(2) %}<tr><td>{{ n }}</td></tr>{% endfor %}</table>end";
        let rendered = minijinja::Environment::new().render_str(&text(html), ()).unwrap();
        assert_eq!(tidy(&rendered), "0\n1\n\nend");
    }
}
