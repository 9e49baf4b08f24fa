//! The outbox as a reader's mail client sees it: mails in files.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use mail_parser::MessageParser;

/// The mail that a dispatch handed over for a reader: both ids are part of its path.
pub fn find(folder: &Path, dispatch_id: &str, subscriber_id: &str) -> anyhow::Result<Vec<u8>> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("{} can't be read", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if is_mail_of(&path, dispatch_id, subscriber_id) {
                return std::fs::read(&path).with_context(|| format!("{} can't be read", path.display()));
            }
        }
    }
    bail!("{} has no mail of dispatch {dispatch_id} to reader {subscriber_id}", folder.display())
}

fn is_mail_of(path: &Path, dispatch_id: &str, subscriber_id: &str) -> bool {
    let name = path.to_string_lossy();
    name.ends_with(".eml") && name.contains(dispatch_id) && name.contains(subscriber_id)
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
    fn a_mail_is_found_by_both_ids() {
        assert!(is_mail_of(Path::new("out/d1/s2-1.eml"), "d1", "s2"));
        assert!(!is_mail_of(Path::new("out/d1/s3-1.eml"), "d1", "s2"));
        assert!(!is_mail_of(Path::new("out/d1/s2-1.tombstone"), "d1", "s2"));
    }
}
