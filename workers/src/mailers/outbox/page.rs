//! The page of the outbox: one file that works from `file://`, without a server and without a network.
//!
//! What a message holds is hostile. It reaches the page as escaped text or as JSON without `<`, and its HTML is shown in
//! a frame with a `sandbox`: no scripts, no forms, no navigation of the page; a link that is clicked opens a window of its
//! own. The policy in the head allows the page's own script by its hash and holds for the frame too; remote images load only
//! if the reader of the page asks.

use std::fmt::Write;
use std::io;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat};
use mail_parser::{Address, Message, MessageParser, PartType};
use serde::Serialize;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

// What is shown of one message, in bytes: at most 200 times their sum is the size of the page.
const HTML_BYTES_MAX: usize = 128 << 10;
const TEXT_BYTES_MAX: usize = 32 << 10;
const HEADERS_BYTES_MAX: usize = 16 << 10;
const FIELD_BYTES_MAX: usize = 500;

/// One message as the page shows it.
#[derive(Debug, Serialize)]
pub(super) struct Preview {
    file: String,
    time: String,
    from: String,
    to: String,
    subject: String,
    html: String,
    text: String,
    headers: String,
    /// Some of it is longer than what is shown.
    cut: bool,
}

impl Preview {
    /// Reads a message as a mail client would; an emptied one shows that it is.
    pub(super) fn of(file: &str, written_at_seconds: i64, content: &[u8]) -> Self {
        let time = DateTime::from_timestamp(written_at_seconds, 0).unwrap_or_default();
        let mut preview = Self {
            file: file.to_owned(),
            time: time.to_rfc3339_opts(SecondsFormat::Secs, true),
            from: String::new(),
            to: String::new(),
            subject: if content.is_empty() { "(emptied)".into() } else { "(unreadable)".into() },
            html: String::new(),
            text: String::new(),
            headers: String::new(),
            cut: false,
        };
        // The parser has assertions of its own that odd mails break: what it panics of is unreadable.
        let parsed = std::panic::catch_unwind(|| MessageParser::default().parse(content)).ok().flatten();
        if let Some(message) = parsed.filter(|_| !content.is_empty()) {
            preview.fill(&message);
            drop_level_by_level(message);
        }
        preview
    }

    fn fill(&mut self, message: &Message<'_>) {
        self.from = self.cut(&addresses(message.from()), FIELD_BYTES_MAX);
        self.to = self.cut(&addresses(message.to()), FIELD_BYTES_MAX);
        self.subject = self.cut(message.subject().unwrap_or("(no subject)"), FIELD_BYTES_MAX);
        self.html = self.cut(html_part(message), HTML_BYTES_MAX);
        self.text = self.cut(&message.body_text(0).unwrap_or_default(), TEXT_BYTES_MAX);
        let mut headers = String::new();
        for (name, value) in message.headers_raw() {
            let _ = writeln!(headers, "{name}:{}", value.trim_end().replace("\r\n", "\n"));
        }
        self.headers = self.cut(&headers, HEADERS_BYTES_MAX);
    }

    fn cut(&mut self, text: &str, bytes_max: usize) -> String {
        self.cut |= text.len() > bytes_max;
        text[..text.floor_char_boundary(bytes_max)].to_owned()
    }
}

/// Messages within messages would drop each other, as deep as they are nested, until the stack ends.
fn drop_level_by_level(message: Message<'_>) {
    let mut left = vec![message];
    while let Some(mut message) = left.pop() {
        left.extend(message.parts.iter_mut().filter_map(|part| {
            match std::mem::replace(&mut part.body, PartType::Binary(Default::default())) {
                PartType::Message(inner) => Some(inner),
                _ => None,
            }
        }));
    }
}

/// Only what was written as HTML: the parser would make HTML of a text as well.
fn html_part<'a>(message: &'a Message<'_>) -> &'a str {
    message
        .html_bodies()
        .find_map(|part| match &part.body {
            PartType::Html(html) => Some(html.as_ref()),
            _ => None,
        })
        .unwrap_or_default()
}

fn addresses(header: Option<&Address<'_>>) -> String {
    let mut shown = String::new();
    for mailbox in header.into_iter().flat_map(Address::iter) {
        let address = mailbox.address().unwrap_or_default();
        let separator = if shown.is_empty() { "" } else { ", " };
        let _ = match mailbox.name() {
            Some(name) => write!(shown, "{separator}{name} <{address}>"),
            None => write!(shown, "{separator}{address}"),
        };
    }
    shown
}

/// The whole page, newest message first.
pub(super) fn render(previews: &[&Preview], total: usize) -> io::Result<String> {
    let script_hash = BASE64_STANDARD.encode(digest(&SHA256, SCRIPT.as_bytes()));
    let count = match (previews.len(), total) {
        (_, 0) => "No messages yet".to_owned(),
        (1, 1) => "1 message".to_owned(),
        (shown, total) if shown == total => format!("{total} messages"),
        (shown, total) => format!("Newest {shown} of {total} messages"),
    };
    let items: String = previews.iter().map(|preview| item(preview)).collect();
    let data = json(previews)?;
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         script-src 'sha256-{script_hash}'; style-src 'unsafe-inline'; img-src data: http: https:; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Outbox</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>Outbox</h1><p>{count}</p></header>\n\
         <nav aria-label=\"Messages\">\n<input id=\"search\" type=\"search\" placeholder=\"Search these messages\" \
         aria-label=\"Search recipients and subjects\" hidden>\n<ul id=\"list\">\n{items}</ul>\n</nav>\n\
         <main id=\"message\" tabindex=\"-1\" aria-label=\"Message\">\n\
         <p class=\"empty\">Select a message to read it.</p>\n</main>\n\
         <script type=\"application/json\" id=\"mails\">{data}</script>\n<script>{SCRIPT}</script>\n\
         </body>\n</html>\n"
    ))
}

/// A link to the file itself, which is what works without scripts.
fn item(preview: &Preview) -> String {
    let (file, time) = (escape(&preview.file), escape(&preview.time));
    let (to, subject) = (escape(&preview.to), escape(&preview.subject));
    format!(
        "<li><a href=\"./{file}\"><time datetime=\"{time}\">{time}</time>\
         <span class=\"to\">{to}</span><span class=\"subject\">{subject}</span></a></li>\n"
    )
}

/// JSON that can't end the script element it stands in (HTML standard, "restrictions for contents of script elements").
fn json(previews: &[&Preview]) -> io::Result<String> {
    Ok(serde_json::to_string(previews)?
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026"))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod by_chance;

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &[u8] = b"From: \"</script><b>x\" <news@example.org>\r\nTo: a\"'<i>@example.org\r\n\
        Subject: </script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> \"'&\r\n\
        Content-Type: text/html; charset=utf-8\r\n\r\n<p>hi</p></script><script>alert(3)</script>\r\n";

    #[test]
    fn a_hostile_message_adds_no_element() {
        let preview = Preview::of("\"><script>.eml", 0, HOSTILE);
        let page = render(&[&preview], 1).unwrap();
        let harmless = render(&[&Preview::of("a.eml", 0, b"Subject: a\r\n\r\na\r\n")], 1).unwrap();
        for tag in ["<script", "</script", "<img", "<b>", "<i>", "<p>", "<!--"] {
            let count = |page: &str| page.matches(tag).count();
            assert_eq!(count(&page), count(&harmless), "{tag}");
        }
        assert!(preview.html.contains("<script>alert(3)</script>"), "kept for the sandboxed frame");
    }

    #[test]
    fn the_data_survives_its_escaping() {
        let preview = Preview::of("a.eml", 0, HOSTILE);
        let data: serde_json::Value = serde_json::from_str(&json(&[&preview]).unwrap()).unwrap();
        assert_eq!(data[0]["html"], preview.html);
        assert_eq!(data[0]["subject"], preview.subject);
    }

    #[test]
    fn shows_the_parts_of_a_multipart_message() {
        let content = b"From: News <news@example.org>\r\nTo: Ada <ada@example.org>\r\n\
            Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n\
            Content-Type: multipart/alternative; boundary=x\r\n\r\n\
            --x\r\nContent-Type: text/plain\r\n\r\nplain\r\n\
            --x\r\nContent-Type: text/html\r\n\r\n<b>rich</b>\r\n--x--\r\n";
        let preview = Preview::of("a.eml", 1_700_000_000, content);
        assert_eq!(preview.subject, "Gr\u{fc}\u{df}e");
        assert_eq!(preview.to, "Ada <ada@example.org>");
        assert_eq!(preview.time, "2023-11-14T22:13:20Z");
        assert_eq!(preview.text.trim(), "plain");
        assert_eq!(preview.html.trim(), "<b>rich</b>");
        assert!(preview.headers.contains("\nTo: Ada <ada@example.org>\n"), "{}", preview.headers);
        assert!(!preview.cut);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let content = format!("Subject: a\r\n\r\n{}\r\n", "\u{fc}".repeat(TEXT_BYTES_MAX));
        let preview = Preview::of("a.eml", 0, content.as_bytes());
        assert!(preview.cut);
        assert!(preview.text.len() <= TEXT_BYTES_MAX);
    }

    #[test]
    fn an_emptied_message_shows_nothing_else() {
        let preview = Preview::of("a.eml", 0, b"");
        assert_eq!(preview.subject, "(emptied)");
        assert!(preview.to.is_empty() && preview.headers.is_empty());
    }

    #[test]
    fn says_how_many_there_are() {
        let preview = Preview::of("a.eml", 0, b"");
        assert!(render(&[], 0).unwrap().contains("No messages yet"));
        assert!(render(&[&preview], 7).unwrap().contains("Newest 1 of 7 messages"));
    }
}
