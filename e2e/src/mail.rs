//! A mail as a mail program reads it.

use crate::html;
use mail_parser::{Address, HeaderValue, Message, MessageParser, MimeHeaders, PartType};
use std::path::Path;

/// RFC 5322 section 2.1.1, without the line end.
const LINE_BYTES_MAX: usize = 998;

#[derive(Debug)]
pub struct Mail {
    pub raw: Vec<u8>,
    pub from: Mailbox,
    pub to: Mailbox,
    pub subject: String,
    /// Line ends are `\n`.
    pub text: String,
    pub html: String,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Mailbox {
    pub address: String,
    pub name: Option<String>,
}

impl Mail {
    pub fn read(file: &Path) -> Self {
        Self::parse(std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
    }

    /// Panics where a strict reader would complain: line ends, line lengths, headers that must be there once, and
    /// anything but a text and an HTML part.
    pub fn parse(raw: Vec<u8>) -> Self {
        check_lines(&raw);
        let message = MessageParser::default().parse(&raw).expect("a message");
        for header in ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"] {
            let times = message.headers().iter().filter(|h| h.name().eq_ignore_ascii_case(header)).count();
            assert_eq!(times, 1, "{header}: {}", String::from_utf8_lossy(&raw));
        }
        let (text, html) = parts(&message);
        Self {
            from: mailbox(message.from()),
            to: mailbox(message.to()),
            subject: message.subject().unwrap_or_default().to_owned(),
            text: text.replace("\r\n", "\n"),
            html: html.replace("\r\n", "\n"),
            raw,
        }
    }

    /// Unfolded and decoded.
    pub fn header(&self, name: &str) -> Option<String> {
        let message = MessageParser::default().parse(&self.raw)?;
        match message.header(name.to_owned())? {
            HeaderValue::Text(text) => Some(text.to_string()),
            _ => message.header_raw(name.to_owned()).map(unfold),
        }
    }

    /// Of RFC 8058: the only URI of `List-Unsubscribe`, promised to work by one POST.
    pub fn one_click_link(&self) -> String {
        let message = MessageParser::default().parse(&self.raw).unwrap();
        let raw = |name: &'static str| message.header_raw(name).map(unfold).unwrap_or_default();
        assert_eq!(raw("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
        let header = raw("List-Unsubscribe");
        let link = header.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        let link = link.unwrap_or_else(|| panic!("List-Unsubscribe: {header}"));
        assert!(
            link.starts_with("http") && !link.contains(['<', '>', ',', ' ']),
            "List-Unsubscribe: {header}"
        );
        link.to_owned()
    }

    /// What a reader sees of the HTML, tags and all: references are read.
    pub fn html_seen(&self) -> String {
        html::unescape(&self.html)
    }
}

fn unfold(raw: &str) -> String {
    raw.split_whitespace().collect::<Vec<_>>().join("")
}

fn check_lines(raw: &[u8]) {
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        let content = line.strip_suffix(b"\r\n");
        let content =
            content.unwrap_or_else(|| panic!("a line without CRLF: {}", String::from_utf8_lossy(line)));
        assert!(!content.contains(&b'\r') && !content.contains(&0), "a bare CR or NUL");
        assert!(content.len() <= LINE_BYTES_MAX, "a line of {} bytes", content.len());
    }
    let head_end =
        raw.windows(4).position(|end| end == b"\r\n\r\n").expect("an empty line behind the headers");
    assert!(raw[..head_end].is_ascii(), "headers beyond ASCII need SMTPUTF8");
}

/// The text of both parts of a `multipart/alternative`: text first, HTML, which programs prefer, last.
fn parts(message: &Message<'_>) -> (String, String) {
    let root = message.root_part();
    assert!(root.is_content_type("multipart", "alternative"), "{:?}", root.content_type());
    let PartType::Multipart(ids) = &root.body else { panic!("no multipart body") };
    assert_eq!(ids.len(), 2, "two parts");
    let part = |at: usize, subtype: &str| {
        let part = message.part(ids[at]).unwrap();
        assert!(part.is_content_type("text", subtype), "{:?}", part.content_type());
        let charset =
            part.content_type().and_then(|content| content.attribute("charset")).unwrap_or_default();
        assert!(charset.eq_ignore_ascii_case("utf-8"), "charset {charset}");
        part.text_contents().unwrap().to_owned()
    };
    (part(0, "plain"), part(1, "html"))
}

fn mailbox(address: Option<&Address<'_>>) -> Mailbox {
    let mut list = address.into_iter().flat_map(Address::iter);
    let (first, second) = (list.next().expect("an address"), list.next());
    assert!(second.is_none(), "more than one address");
    Mailbox {
        address: first.address().expect("an address").to_owned(),
        name: first.name().map(str::to_owned),
    }
}
