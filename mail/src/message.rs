//! One message of RFC 5322: headers, and a `multipart/alternative` body of text and HTML (RFC 2046 section 5.1.4).

use crate::address::{Address, Mailbox};
use crate::header_text::{encoded_words, is_atext, is_plain, named, one_line, phrase};
use crate::quoted_printable;
use chrono::{DateTime, Datelike, Utc};
use domain::address::AddressError;
use lettre::Message;
use lettre::address::Envelope;
use lettre::message::header::{
    ContentTransferEncoding, ContentType, Date, From, Header, HeaderName, HeaderValue, ReplyTo, To,
};
use lettre::message::{Body, MessageBuilder, MultiPart, MultiPartKind, SinglePart};

/// A header line may have 998 characters (RFC 5322 section 2.1.1); what can't be folded has to fit in with its name.
const MAX_UNFOLDED_BYTES: usize = 900;
/// Lines up to here may stay as they are (RFC 2045 section 6.7 takes no longer ones).
const SHORT_BYTES: usize = 76;

/// What a message is made of. Times and ids are the caller's.
#[derive(Clone, Copy)]
pub struct MessageParts<'a> {
    pub from: &'a Address,
    pub reply_to: Option<&'a Address>,
    pub to: &'a Address,
    /// Control characters become blanks.
    pub subject: &'a str,
    pub html: &'a str,
    pub text: &'a str,
    /// `local@host`, without angle brackets. The message's MIME boundary is made of it too.
    pub message_id: &'a str,
    pub date: DateTime<Utc>,
    /// None for mails that are sent to one reader, such as a password reset: those say instead that no person wrote them.
    pub list: Option<ListHeaders<'a>>,
    /// More headers, by names that begin with `X-`. They are not encoded: values are visible ASCII, 900 bytes at most.
    pub tags: &'a [(&'a str, &'a str)],
}

/// Redacted: what a reader gets does not belong in logs.
impl std::fmt::Debug for MessageParts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageParts").field("message_id", &self.message_id).finish_non_exhaustive()
    }
}

/// What says which list a mail belongs to, and how to leave it.
#[derive(Debug, Clone, Copy)]
pub struct ListHeaders<'a> {
    /// RFC 2919: `label.host`, without angle brackets, the same for every mail of the list.
    pub id: &'a str,
    pub name: &'a str,
    /// RFC 8058 section 3.1: one HTTPS URI, whose POST opts out at once. `http` is taken for trials on one machine.
    pub unsubscribe_url: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("{header}: {reason}")]
    Address { header: &'static str, reason: AddressError },
    #[error("{header}: not a valid value")]
    Header { header: String },
    #[error("the date is not within the years 1970 to 9999")]
    Date,
    #[error("the message can't be built: {0}")]
    Build(String),
}

/// Builds the bytes that go over the wire, dot-stuffing apart: lines end in CRLF and none is longer than 998 bytes.
pub fn build(parts: &MessageParts<'_>) -> Result<Vec<u8>, MessageError> {
    let from = mailbox("From", parts.from)?;
    let to = mailbox("To", parts.to)?;
    let envelope = envelope(&from, &to)?;
    let mut builder = Message::builder()
        .envelope(envelope)
        .header(date(parts.date)?)
        .raw_header(address_header(From::name(), from))
        .raw_header(address_header(To::name(), to));
    if let Some(reply_to) = parts.reply_to {
        builder = builder.raw_header(address_header(ReplyTo::name(), mailbox("Reply-To", reply_to)?));
    }
    builder = builder
        .raw_header(subject(parts.subject))
        .raw_header(encoded("Message-ID", format!("<{}>", message_id(parts.message_id)?)));
    builder = match &parts.list {
        Some(list) => list_headers(builder, list)?,
        // RFC 3834 section 5: nobody's absence answers it.
        None => builder.raw_header(encoded("Auto-Submitted", "auto-generated".to_owned())),
    };
    for (name, value) in parts.tags {
        builder = builder.raw_header(tag(name, value)?);
    }
    let message = builder.multipart(body(parts)).map_err(|error| MessageError::Build(error.to_string()))?;
    Ok(message.formatted())
}

fn mailbox(header: &'static str, address: &Address) -> Result<Mailbox, MessageError> {
    address.header().map_err(|reason| MessageError::Address { header, reason })
}

fn envelope(from: &Mailbox, to: &Mailbox) -> Result<Envelope, MessageError> {
    let parse = |mailbox: &Mailbox| mailbox.email.parse().map_err(|_| MessageError::Build("address".into()));
    Envelope::new(Some(parse(from)?), vec![parse(to)?])
        .map_err(|error| MessageError::Build(error.to_string()))
}

fn date(date: DateTime<Utc>) -> Result<Date, MessageError> {
    match (1970..=9999).contains(&date.year()) {
        true => Ok(Date::new(date.into())),
        false => Err(MessageError::Date),
    }
}

/// The builder reads the sender from the raw value, and writes the encoded one.
fn address_header(name: HeaderName, mailbox: Mailbox) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(name, mailbox.email, mailbox.encoded)
}

fn encoded(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), String::new(), value)
}

fn subject(subject: &str) -> HeaderValue {
    let line = one_line(subject);
    match is_plain(&line) {
        true => HeaderValue::new(HeaderName::new_from_ascii_str("Subject"), line),
        false => encoded("Subject", encoded_words(&line)),
    }
}

/// RFC 5322 section 3.6.4, without its obsolete forms.
fn message_id(id: &str) -> Result<&str, MessageError> {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| is_atext(b) || b == b'.');
    match id.split_once('@') {
        Some((left, right)) if is_part(left) && is_part(right) && id.len() <= MAX_UNFOLDED_BYTES => Ok(id),
        _ => Err(invalid("Message-ID")),
    }
}

fn list_headers(builder: MessageBuilder, list: &ListHeaders<'_>) -> Result<MessageBuilder, MessageError> {
    let is_id = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if list.id.is_empty() || list.id.len() > 255 || !list.id.bytes().all(is_id) {
        return Err(invalid("List-Id"));
    }
    let url = list.unsubscribe_url;
    let is_uri = |b: u8| b.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&b);
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    if !is_web || url.len() > MAX_UNFOLDED_BYTES || !url.bytes().all(is_uri) {
        return Err(invalid("List-Unsubscribe"));
    }
    let name = one_line(list.name);
    let id = match name.is_empty() {
        true => format!("<{}>", list.id),
        false => named(&phrase(&name), list.id),
    };
    Ok(builder
        .raw_header(encoded("List-Id", id))
        .raw_header(encoded("List-Unsubscribe", format!("<{url}>")))
        .raw_header(encoded("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned())))
}

/// Only `X-` headers, so that none of the message's own can be replaced.
fn tag(name: &str, value: &str) -> Result<HeaderValue, MessageError> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let is_ours = name.len() <= 60 && name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("X-"));
    let is_value = value.len() <= MAX_UNFOLDED_BYTES && value.bytes().all(|b| (b' '..=b'~').contains(&b));
    if !is_ours || !name.bytes().all(is_name) || !is_value {
        return Err(invalid(name));
    }
    let header = HeaderName::new_from_ascii(name.to_owned()).map_err(|_| invalid(name))?;
    Ok(HeaderValue::dangerous_new_pre_encoded(header, String::new(), value.to_owned()))
}

fn invalid(header: &str) -> MessageError {
    MessageError::Header { header: one_line(header) }
}

/// Text first: the last part is the one that a mail program prefers.
fn body(parts: &MessageParts<'_>) -> MultiPart {
    let text = encode(parts.text);
    let html = encode(parts.html);
    let boundary = boundary(parts.message_id, [&text, &html]);
    let part = |content_type, body| SinglePart::builder().content_type(content_type).body(body);
    // A Content-Type set on the message would be written beside the multipart's own.
    MultiPart::builder()
        .kind(MultiPartKind::Alternative)
        .boundary(boundary)
        .singlepart(part(ContentType::TEXT_PLAIN, text))
        .singlepart(part(ContentType::TEXT_HTML, html))
}

/// A boundary that stands in no part; the same for the same message, unlike a random one.
fn boundary(message_id: &str, bodies: [&Body; 2]) -> String {
    const MAX_BYTES: usize = 70;
    let id = message_id.chars().filter(char::is_ascii_alphanumeric).take(40);
    let mut boundary: String = "=_".chars().chain(id).collect();
    // `=_` occurs neither in quoted-printable nor in base64 (RFC 2045 section 6.7).
    let as_written = bodies.into_iter().filter(|body| body.encoding() == ContentTransferEncoding::SevenBit);
    let bodies: Vec<_> = as_written.map(|body| String::from_utf8_lossy(body.as_ref())).collect();
    while boundary.len() < MAX_BYTES && bodies.iter().any(|body| body.contains(&boundary)) {
        boundary.push('_');
    }
    boundary
}

/// As [`Body::new`] would, which goes over each text four times, character by character: half the time of a whole send.
fn encode(text: &str) -> Body {
    let text = crlf(text);
    // Counted in bytes of 255 at most, so that the processor adds many at once.
    let beyond_ascii: usize = text
        .as_bytes()
        .chunks(255)
        .map(|chunk| usize::from(chunk.iter().map(|byte| byte >> 7).sum::<u8>()))
        .sum();
    let mut lines = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
    let is_short = lines.try_fold(0, |start, end| (end - start < SHORT_BYTES).then_some(end)).is_some();
    match beyond_ascii {
        0 if is_short => Body::dangerous_pre_encoded(text.into_bytes(), ContentTransferEncoding::SevenBit),
        count if count <= text.len() / 3 => {
            let encoded = quoted_printable::encode(&text);
            Body::dangerous_pre_encoded(encoded, ContentTransferEncoding::QuotedPrintable)
        }
        _ => Body::new_with_encoding(text.into_bytes(), ContentTransferEncoding::Base64)
            .unwrap_or_else(Body::new),
    }
}

/// Lines that end in CRLF, whatever ended them, and no NUL (RFC 5322 section 2.3).
fn crlf(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 32);
    let mut rest = text;
    while let Some(at) = memchr::memchr3(b'\r', b'\n', 0, rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let len = if rest[at..].starts_with("\r\n") { 2 } else { 1 };
        if !rest[at..].starts_with('\0') {
            out.push_str("\r\n");
        }
        rest = &rest[at + len..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
