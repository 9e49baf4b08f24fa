//! The mails of accounts: a link to choose a new password, an invitation. They are ours, not a template of the staff's:
//! nobody's mistake in a template may keep people out.

use crate::Rendered;
use html_escape::{encode_double_quoted_attribute, encode_text};

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

struct Words<'a> {
    subject: String,
    before: String,
    button: &'a str,
    /// How long the link is good for, and what to do who did not ask for it.
    after: [&'a str; 2],
}

pub fn password_reset(letter: &Letter<'_>) -> Rendered {
    let Letter { sender, email, .. } = letter;
    write(
        letter,
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
    let Letter { sender, email, .. } = letter;
    write(
        letter,
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

fn write(letter: &Letter<'_>, words: &Words<'_>) -> Rendered {
    let Words { subject, before, button, after: [life, otherwise] } = words;
    let link = letter.link;
    let text = format!("Hello,\n\n{before}\n\n{button}:\n{link}\n\n{life}\n{otherwise}\n");
    let (href, shown) = (encode_double_quoted_attribute(link), encode_text(link));
    let (title, before) = (encode_text(subject), encode_text(before));
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{title}</title></head>\
         <body style=\"margin:0;padding:0;background-color:#ffffff\">\
         <div style=\"margin:0 auto;padding:32px 20px;max-width:560px;font-family:Arial,Helvetica,sans-serif;\
         font-size:16px;line-height:24px;color:#222222\">\
         <p style=\"margin:0 0 16px\">Hello,</p><p style=\"margin:0 0 24px\">{before}</p>\
         <p style=\"margin:0 0 24px\"><a href=\"{href}\" style=\"display:inline-block;padding:12px 24px;\
         border-radius:6px;background-color:#1f4fd8;color:#ffffff;font-weight:bold;text-decoration:none\">{button}</a></p>\
         <p style=\"margin:0 0 8px\">{life}</p><p style=\"margin:0 0 24px\">{otherwise}</p>\
         <p style=\"margin:0;font-size:13px;line-height:20px;color:#595959\">If the button does not work, copy this address \
         into your browser:<br><span style=\"word-break:break-all\">{shown}</span></p></div></body></html>"
    );
    Rendered { subject: subject.clone(), html, text }
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
