//! The mails of readers' own decisions: the question of a double opt-in, and what tells of an opt-out or an opt-in. They
//! are ours, not a template of the staff's, and say nothing else: none is a place for marketing.
//!
//! Nothing that a stranger typed is in them. Anybody can ask for a subscription in anybody's name, and would else write into
//! others' mailboxes.

use crate::Rendered;
use crate::letter::{Words, write};

/// What such a mail is made of.
#[derive(Clone, Copy)]
pub struct Letter<'a> {
    /// The name that the reader knows the sender by.
    pub sender: &'a str,
    /// What it is about, by the names that the staff gave; none: everything.
    pub groups: &'a [String],
    /// Opens what is the reader's own. Visible ASCII.
    pub link: &'a str,
}

/// Redacted: whoever has the link decides for the reader.
impl std::fmt::Debug for Letter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Letter(…)")
    }
}

impl Letter<'_> {
    fn named(&self) -> String {
        let quoted: Vec<String> = self.groups.iter().map(|name| format!("“{name}”")).collect();
        quoted.join(", ")
    }
}

/// Asks the owner of an address for the second step of a double opt-in.
pub fn subscription(letter: &Letter<'_>) -> Rendered {
    let (sender, groups) = (letter.sender, letter.named());
    write(
        letter.link,
        &Words {
            subject: format!("Please confirm your subscription at {sender}"),
            before: format!(
                "Somebody, we hope you, asked that this address gets mails from {sender}: {groups}. We write to you only if \
                 you confirm it."
            ),
            button: "Confirm the subscription",
            after: [
                "The link works for 7 days. It leads to a page that asks once more.",
                "If it was not you, do nothing: then you get nothing.",
            ],
        },
    )
}

/// Tells a reader what they left. The link leads to their preferences.
pub fn opt_out(letter: &Letter<'_>) -> Rendered {
    let sender = letter.sender;
    let left = match letter.groups.is_empty() {
        true => "any mail".to_owned(),
        false => letter.named(),
    };
    write(
        letter.link,
        &Words {
            subject: format!("You are unsubscribed at {sender}"),
            before: format!("You will not get {left} from {sender} any more. There is nothing else to do."),
            button: "See what you get",
            after: [
                "Was it a mistake? The same page subscribes you again.",
                "If it was not you, somebody used the link in a mail that was forwarded: the page takes that back, too.",
            ],
        },
    )
}

/// Tells a reader what they, or somebody with a link of theirs, subscribed to. The link leads to their preferences.
pub fn opt_in(letter: &Letter<'_>) -> Rendered {
    let sender = letter.sender;
    let before = match letter.groups.is_empty() {
        true => format!("Mails from {sender} to this address are allowed again."),
        false => format!("You will get {} from {sender}.", letter.named()),
    };
    write(
        letter.link,
        &Words {
            subject: format!("You are subscribed at {sender}"),
            before: format!("{before} It was chosen on the page behind the link in one of our mails."),
            button: "See what you get",
            after: [
                "If that is what you want, there is nothing else to do.",
                "If it was not you, somebody used the link in a mail that was forwarded: the page unsubscribes you again.",
            ],
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "https://mail.example.org/subscriptions/confirm?a=1&token=plc_x";

    #[test]
    fn both_parts_bear_the_link_and_no_name_is_markup() {
        let groups = ["Tea <b>&</b> \"Co\"".to_owned(), "Offers".to_owned()];
        let letter = Letter { sender: "Tea <i>&</i> Co", groups: &groups, link: LINK };
        for mail in [subscription(&letter), opt_out(&letter), opt_in(&letter)] {
            assert!(mail.text.contains(LINK) && mail.text.contains("“Tea <b>&</b> \"Co\"”, “Offers”"));
            assert!(mail.html.contains("confirm?a=1&amp;token=plc_x\""));
            assert!(mail.html.contains("“Tea &lt;b&gt;&amp;&lt;/b&gt;"), "{}", mail.html);
            assert!(!mail.html.contains("<b>") && !mail.html.contains("<i>"));
        }
    }

    #[test]
    fn what_is_about_everything_says_so() {
        let letter = Letter { sender: "Tea", groups: &[], link: LINK };
        assert!(opt_in(&letter).text.contains("Mails from Tea to this address are allowed again."));
        assert!(opt_out(&letter).text.contains("You will not get any mail from Tea any more."));
    }
}
