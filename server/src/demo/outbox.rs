//! The outbox as a reader's mail client sees it: mails in files.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use mail_parser::MessageParser;

/// An attempt that was given up has this in place of its mail.
const GIVEN_UP: &[u8] = b"postledger-tombstone\n";

/// The mail that a dispatch handed over for a reader.
pub fn find(folder: &Path, dispatch_id: &str, subscriber_id: &str) -> anyhow::Result<Vec<u8>> {
    let attempts = format!("{dispatch_id}.{subscriber_id}.");
    let files = std::fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))?;
    for file in files {
        let file = file?;
        if !file.file_name().to_string_lossy().starts_with(&attempts) {
            continue;
        }
        let mail =
            std::fs::read(file.path()).with_context(|| format!("{} can't be read", file.path().display()))?;
        if mail != GIVEN_UP {
            return Ok(mail);
        }
    }
    bail!("{} has no mail of dispatch {dispatch_id} to reader {subscriber_id}", folder.display())
}

/// The link that the mail offers for one click (RFC 2369, RFC 8058), if the mail is to that address.
pub fn unsubscribe_link(mail: &[u8], address: &str) -> anyhow::Result<String> {
    let mail = MessageParser::default().parse(mail).context("the mail can't be parsed")?;
    let to = mail.to().and_then(|to| to.first()).and_then(|to| to.address()).unwrap_or_default();
    ensure!(to.eq_ignore_ascii_case(address), "the mail is to {to} and not to {address}");
    let one_click = mail.header_raw("List-Unsubscribe-Post").unwrap_or_default();
    ensure!(one_click.trim() == "List-Unsubscribe=One-Click", "the mail offers no opt-out by one click");
    let header = mail.header_raw("List-Unsubscribe").context("the mail has no List-Unsubscribe")?;
    let links: String = header.split_whitespace().collect();
    let link = links.split(['<', '>']).find(|link| link.starts_with("http"));
    Ok(link.context("the mail's List-Unsubscribe has no link")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &[u8] = b"To: Ana <ana@example.com>\r\nList-Unsubscribe:\r\n <mailto:out@example.org>, <http://127.0.0.1/emails/unsubscribe?token=\r\n abc>\r\n\
        List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nSubject: Hello\r\n\r\nHello\r\n";

    #[test]
    fn the_web_link_is_taken_from_a_folded_header() {
        let link = unsubscribe_link(MAIL, "ana@example.com").unwrap();
        assert_eq!(link, "http://127.0.0.1/emails/unsubscribe?token=abc");
    }

    #[test]
    fn another_readers_mail_is_refused() {
        assert!(unsubscribe_link(MAIL, "ben@example.com").is_err());
    }

    #[test]
    fn the_attempt_that_was_handed_over_is_found() {
        let folder = std::env::temp_dir().join(format!("postledger-demo-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        for (name, content) in
            [("d.s.1.eml", GIVEN_UP), ("d.s.2.eml", MAIL), ("d.other.1.eml", b"To: b".as_slice())]
        {
            std::fs::write(folder.join(name), content).unwrap();
        }
        let found = (find(&folder, "d", "s").ok(), find(&folder, "d", "nobody").ok());
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, (Some(MAIL.to_vec()), None));
    }
}
