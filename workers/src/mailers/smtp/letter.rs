//! A message and its envelope as SMTP can carry them. What it can't carry is refused before any connection is used.

use lettre::Address;

use super::super::Outgoing;

/// RFC 5322 section 2.1.1, without the line end.
const LINE_BYTES_MAX: usize = 998;

/// Why a message can't be sent by SMTP, whatever the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsendable {
    #[error("the sender's address is not one")]
    Sender,
    #[error("the reader's address is not one")]
    Reader,
    #[error("a line ends in CR or LF alone, or holds NUL")]
    Octet,
    #[error("a line is longer than 998 octets")]
    LongLine,
}

/// A message that can be sent.
#[cfg_attr(test, derive(Debug))]
pub(super) struct Letter<'a> {
    /// `None` is the null reverse-path.
    pub from: Option<Address>,
    pub to: Address,
    /// Without the last line end, which SMTP's end of data brings.
    pub body: &'a [u8],
    pub eight_bit: bool,
    pub utf8_addresses: bool,
}

impl<'a> Letter<'a> {
    pub(super) fn new(outgoing: &'a Outgoing) -> Result<Self, Unsendable> {
        let from = match outgoing.envelope_from.as_str() {
            "" => None,
            address => Some(mailbox(address).ok_or(Unsendable::Sender)?),
        };
        let to = mailbox(&outgoing.envelope_to).ok_or(Unsendable::Reader)?;
        let message = outgoing.message.as_slice();
        check_lines(message)?;
        let ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
        Ok(Self {
            utf8_addresses: !(ascii(&to) && from.as_ref().is_none_or(ascii)),
            eight_bit: !message.is_ascii(),
            body: message.strip_suffix(b"\r\n").unwrap_or(message),
            from,
            to,
        })
    }

    /// What the SIZE parameter declares (RFC 1870 section 3): line ends count, dot-stuffing does not.
    pub(super) fn declared_bytes(&self) -> usize {
        self.body.len() + b"\r\n".len()
    }
}

/// An address whose domain is in A-labels (RFC 5890), since only the local part may need SMTPUTF8.
fn mailbox(address: &str) -> Option<Address> {
    let (local, domain) = address.rsplit_once('@')?;
    // Servers read line by line: nothing that could end one may pass, however an address might quote it.
    if address.chars().any(char::is_control) {
        return None;
    }
    if domain.is_ascii() {
        return Address::new(local, domain).ok();
    }
    Address::new(local, idna::domain_to_ascii(domain).ok()?).ok()
}

/// Only CRLF may end a line: what a server takes for an end of data must be one here too (SMTP smuggling).
fn check_lines(message: &[u8]) -> Result<(), Unsendable> {
    let mut rest = message;
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        if end > LINE_BYTES_MAX {
            return Err(Unsendable::LongLine);
        }
        rest = rest[end..].strip_prefix(b"\r\n").ok_or(Unsendable::Octet)?;
    }
    if rest.len() > LINE_BYTES_MAX { Err(Unsendable::LongLine) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn outgoing(from: &str, to: &str, message: &[u8]) -> Outgoing {
        Outgoing {
            dispatch: Uuid::from_u128(1),
            subscriber: Uuid::from_u128(2),
            attempt: 1,
            envelope_from: from.into(),
            envelope_to: to.into(),
            message: message.into(),
        }
    }

    fn refusal(outgoing: &Outgoing) -> Unsendable {
        Letter::new(outgoing).unwrap_err()
    }

    const FROM: &str = "news@example.org";
    const BODY: &[u8] = b"Subject: a\r\n\r\na\r\n";

    #[test]
    fn a_domain_goes_out_in_a_labels() {
        let outgoing = outgoing("news@bücher.example", "ada@ÜBER.example", BODY);
        let letter = Letter::new(&outgoing).unwrap();
        assert_eq!(letter.to.to_string(), "ada@xn--ber-goa.example");
        assert_eq!(letter.from.unwrap().to_string(), "news@xn--bcher-kva.example");
        assert!(!letter.utf8_addresses);
    }

    #[test]
    fn a_local_part_beyond_ascii_needs_the_extension() {
        let outgoing = outgoing(FROM, "jürgen@example.org", BODY);
        assert!(Letter::new(&outgoing).unwrap().utf8_addresses);
    }

    #[test]
    fn an_empty_sender_is_the_null_reverse_path() {
        let outgoing = outgoing("", "ada@example.org", BODY);
        assert_eq!(Letter::new(&outgoing).unwrap().from, None);
    }

    #[test]
    fn an_address_can_not_add_a_command() {
        for to in [
            "ada@example.org>\r\nRCPT TO:<eve@example.org",
            "ada\r\n@example.org",
            "\"a\r\nb\"@example.org",
            "ada\0@example.org",
            "ada@example.org> SIZE=1",
            "<ada@example.org>",
            "ada",
            "@example.org",
            "ada@",
        ] {
            assert_eq!(refusal(&outgoing(FROM, to, BODY)), Unsendable::Reader, "{to:?}");
            assert_eq!(refusal(&outgoing(to, "ada@example.org", BODY)), Unsendable::Sender, "{to:?}");
        }
    }

    #[test]
    fn only_crlf_ends_a_line() {
        for body in ["a\r\n.\nb\r\n", "a\n.\r\nb", "a\rb\r\n", "a\r", "a\r\r\n", "a\0b"] {
            assert_eq!(
                refusal(&outgoing(FROM, "ada@example.org", body.as_bytes())),
                Unsendable::Octet,
                "{body:?}"
            );
        }
    }

    #[test]
    fn a_line_may_have_998_octets() {
        for (octets, sendable) in [(998, true), (999, false)] {
            for end in ["", "\r\n"] {
                let message = format!("a: b\r\n\r\n{}{end}", "x".repeat(octets));
                let outgoing = outgoing(FROM, "ada@example.org", message.as_bytes());
                assert_eq!(Letter::new(&outgoing).is_ok(), sendable, "{octets} {end:?}");
            }
        }
    }

    #[test]
    fn the_end_of_data_brings_the_last_line_end() {
        let outgoing = outgoing(FROM, "ada@example.org", BODY);
        let letter = Letter::new(&outgoing).unwrap();
        assert_eq!(letter.body, b"Subject: a\r\n\r\na");
        assert_eq!(letter.declared_bytes(), BODY.len());
    }
}
