//! The page of a double opt-in.

use super::{MessagePage, STYLE, Words, of_error, page};
use crate::problem::ApiError;
use askama::Template;
use aws_lc_rs::digest;
use axum::response::Response;
use http::StatusCode;

/// What a person agrees to by the button.
const AGREED: [&str; 3] = ["confirm-title", "confirm-hint", "confirm-button"];

pub(crate) struct Subscription {
    /// `r•••@example.com`
    pub reader: String,
    /// By name.
    pub groups: Vec<String>,
    /// Where it is confirmed: the address of the reader's preferences.
    pub preferences: Option<String>,
}

#[derive(Template)]
#[template(path = "subscription.html")]
struct SubscriptionPage<'a> {
    words: &'a Words,
    style: &'static str,
    shown: &'a Subscription,
}

impl SubscriptionPage<'_> {
    fn title(&self) -> &'static str {
        if self.shown.preferences.is_some() { "confirmed-title" } else { "confirm-title" }
    }
}

/// The button, or what came of it.
pub(crate) fn ask(words: &Words, shown: &Subscription) -> Response {
    page(StatusCode::OK, &SubscriptionPage { words, style: STYLE, shown })
}

/// Of a form that asked for a subscription: the mail is on its way, whoever has the address.
pub(crate) fn asked(words: &Words) -> Response {
    let lines = &["asked-hint", "asked-help"];
    page(StatusCode::ACCEPTED, &MessagePage { words, style: STYLE, title: "asked-title", lines })
}

/// The form lacks an address, or names what there is not.
pub(crate) fn not_asked(words: &Words, error: ApiError) -> Response {
    of_error(words, error, "not-asked-title", &["not-asked-hint"])
}

/// Unknown, over, or taken back by an opt-out.
pub(crate) fn dead_link(words: &Words) -> Response {
    let error = ApiError::Unauthorized("the link is not valid any more: subscribe again");
    of_error(words, error, "over-title", &["confirm-over"])
}

/// Names the words that the page shows above its button, by their hash: `api/locales/consent_wordings.csv` has all that there
/// ever were, so that each consent on record leads to the words that it was given to.
pub(crate) fn wording_version(words: &Words) -> String {
    version(words.tag(), &agreed(words))
}

fn agreed(words: &Words) -> String {
    AGREED.map(|id| words.say(id)).join(" | ")
}

fn version(tag: &str, text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let hex: String = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{tag}-{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVER: &str = include_str!("../../locales/consent_wordings.csv");

    #[test]
    fn each_wording_that_was_ever_shown_is_kept() {
        let mut reader = csv::Reader::from_reader(EVER.as_bytes());
        let kept: Vec<(String, String)> = reader.deserialize().map(Result::unwrap).collect();
        for (known, text) in &kept {
            let tag = known.split('-').next().unwrap();
            assert_eq!(*known, version(tag, text), "what was shown does not change");
        }
        for words in Words::all() {
            let present = (wording_version(words), agreed(words));
            assert!(kept.contains(&present), "add {present:?} to consent_wordings.csv");
        }
    }
}
