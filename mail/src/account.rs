//! The mails of accounts: a link to choose a new password, an invitation. They are ours, not a template of the staff's:
//! nobody's mistake in a template may keep people out.

use crate::Rendered;
use crate::letter::{Words, write};

/// What such a mail is made of.
#[derive(Clone, Copy)]
pub struct Letter<'a> {
    /// The name that the reader knows the sender by.
    pub sender: &'a str,
    /// Whose account it is.
    pub email: &'a str,
    /// Holds the secret. Visible ASCII.
    pub link: &'a str,
}

/// Redacted: a link opens an account.
impl std::fmt::Debug for Letter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Letter(…)")
    }
}

pub fn password_reset(letter: &Letter<'_>) -> Rendered {
    let Letter { sender, email, link } = letter;
    write(
        link,
        &Words {
            subject: format!("Choose a new password for {sender}"),
            before: format!("Somebody, we hope you, asked for a new password for {email} at {sender}."),
            button: "Choose a new password",
            after: [
                "The link works once, within 30 minutes.",
                "If it was not you, do nothing: your password stays as it is.",
            ],
        },
    )
}

pub fn invitation(letter: &Letter<'_>) -> Rendered {
    let Letter { sender, email, link } = letter;
    write(
        link,
        &Words {
            subject: format!("You are invited to {sender}"),
            before: format!(
                "An account was made for you at {sender}. You sign in as {email}, once you have chosen a password."
            ),
            button: "Choose a password",
            after: [
                "The link works once, within 7 days.",
                "If you do not know what this is about, do nothing: without a password nobody can use the account.",
            ],
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_bear_the_link_and_nobodys_name_is_markup() {
        let link = "https://mail.example.org/auth/password-reset?a=1&token=plp_x";
        let letter = Letter { sender: "Tea <b>&</b> Co", email: "o'brien@example.com", link };
        for mail in [password_reset(&letter), invitation(&letter)] {
            assert!(mail.text.contains(link) && mail.text.contains("o'brien@example.com"));
            assert!(
                mail.html
                    .contains("href=\"https://mail.example.org/auth/password-reset?a=1&amp;token=plp_x\"")
            );
            assert!(mail.html.contains("Tea &lt;b&gt;&amp;&lt;/b&gt; Co") && !mail.html.contains("<b>"));
            assert!(mail.subject.contains("Tea <b>&</b> Co"));
        }
    }
}
