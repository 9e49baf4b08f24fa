//! The pages that readers see: plain HTML that works without scripts, on a phone and by a screen reader. They set no
//! cookie, are not cached, and leave no token in a referrer.

pub(crate) mod account;
pub(crate) mod subscription;
mod words;

use crate::problem::ApiError;
use askama::Template;
use aws_lc_rs::digest;
use axum::response::{Html, IntoResponse, Response};
use base64::prelude::{BASE64_STANDARD, Engine};
use domain::GroupId;
use http::{HeaderValue, StatusCode, header};
use std::sync::LazyLock;
pub(crate) use words::Words;

const STYLE: &str = include_str!("style.css");

/// No scripts, our one style sheet by its hash, forms to ourselves, no frames.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// What a reader gets now, and what the link's page is about.
pub(crate) struct Choice {
    /// `r•••@example.com`; none where the link is too old to show it.
    pub reader: Option<String>,
    /// The group that the link is for; none: everything.
    pub group: Option<String>,
    pub out_of_group: bool,
    pub out_of_everything: bool,
    /// Young enough to show what the reader gets.
    pub may_look: bool,
    /// Young enough to opt in again.
    pub may_return: bool,
    /// The reader's groups by name; empty where the link is too old to show them.
    pub groups: Vec<GroupChoice>,
}

pub(crate) struct GroupChoice {
    pub id: GroupId,
    pub name: String,
    pub subscribed: bool,
}

impl Choice {
    fn is_out(&self) -> bool {
        self.out_of_everything || self.out_of_group
    }
}

#[derive(Template)]
#[template(path = "preferences.html")]
struct PreferencesPage<'a> {
    words: &'a Words,
    style: &'static str,
    choice: &'a Choice,
    /// A message's id.
    said: Option<&'static str>,
}

impl PreferencesPage<'_> {
    fn title(&self) -> &'static str {
        match self.choice {
            choice if choice.is_out() => "left-title",
            // Who just came back, or followed a link to what they get, is not asked whether to leave.
            Choice { group: None, may_look: true, .. } => "choices-heading",
            _ if self.said.is_some() => "choices-heading",
            _ => "leave-title",
        }
    }

    /// A single group that the link itself is for needs no list.
    fn has_choices(&self) -> bool {
        let Choice { group, groups, out_of_everything, out_of_group, may_return, .. } = self.choice;
        let is_listed = group.is_some() && (*may_return || !out_of_group);
        !out_of_everything && groups.len() > usize::from(is_listed)
    }

    fn what(&self) -> String {
        let Choice { group, out_of_everything, .. } = self.choice;
        match (group.as_ref().filter(|_| !out_of_everything), self.choice.is_out()) {
            (Some(group), true) => self.words.say_of("left-group", "group", group),
            (Some(group), false) => self.words.say_of("leave-group", "group", group),
            (None, true) => self.words.say("left-everything"),
            (None, false) => self.words.say("leave-everything"),
        }
    }
}

/// The preference centre. `said` is the id of what to say about the last press of a button.
pub(crate) fn preferences(words: &Words, choice: &Choice, said: Option<&'static str>) -> Response {
    page(StatusCode::OK, &PreferencesPage { words, style: STYLE, choice, said })
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    words: &'a Words,
    style: &'static str,
    title: &'static str,
    lines: &'a [&'static str],
}

/// For whoever came without a token that is one of ours.
pub(crate) fn bad_link(words: &Words, error: ApiError) -> Response {
    of_error(words, error, "broken-title", &["broken-hint", "broken-help"])
}

/// The link of a test mail, or of a preview: in words what a reader's does.
pub(crate) fn test_link(words: &Words) -> Response {
    let lines = &["test-link-page", "test-link-click", "test-link-nobody"];
    page(StatusCode::OK, &MessagePage { words, style: STYLE, title: "test-link-title", lines })
}

/// Old links only opt out.
pub(crate) fn old_link(words: &Words, error: ApiError) -> Response {
    of_error(words, error, "old-title", &["old-hint"])
}

/// The form came from another site, or from a browser that does not tell.
pub(crate) fn foreign_form(words: &Words) -> Response {
    let error = ApiError::Forbidden("the form came from another site".to_owned());
    of_error(words, error, "foreign-title", &["foreign-hint"])
}

/// What went wrong on our side.
pub(crate) fn failed(words: &Words, error: ApiError) -> Response {
    of_error(words, error, "failed-title", &["failed-hint"])
}

/// The page with the status and the headers that the error has elsewhere.
fn of_error(words: &Words, error: ApiError, title: &'static str, lines: &[&'static str]) -> Response {
    let problem = error.into_response();
    let mut response = page(problem.status(), &MessagePage { words, style: STYLE, title, lines });
    for (name, value) in problem.headers() {
        if *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

fn page(status: StatusCode, template: &impl Template) -> Response {
    // Writing to a string cannot fail.
    let Ok(html) = template.render() else { return ApiError::Internal.into_response() };
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::VARY, HeaderValue::from_static("accept-language"));
    response
}
