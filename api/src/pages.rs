//! The pages that readers see: plain HTML without scripts, readable on a phone and by a screen reader. They set no
//! cookie, are not cached, and leave no token in a referrer.

pub(crate) mod account;

use crate::problem::ApiError;
use aws_lc_rs::digest;
use axum::response::{Html, IntoResponse, Response};
use base64::prelude::{BASE64_STANDARD, Engine};
use html_escape::encode_safe;
use http::{HeaderValue, StatusCode, header};
use std::sync::LazyLock;

const STYLE: &str = "\
    :root{color-scheme:light dark}\
    body{font:1.125rem/1.6 system-ui,sans-serif;max-width:34rem;margin:0 auto;padding:3rem 1.25rem}\
    h1{font-size:1.6rem;line-height:1.25}\
    button{font:inherit;font-weight:600;padding:.75rem 1.5rem;border:0;border-radius:.5rem;background:#1f4fd8;\
    color:#fff;cursor:pointer}\
    button:focus-visible,input:focus-visible{outline:3px solid currentColor;outline-offset:3px}\
    label{display:block;margin:1.25rem 0 .25rem;font-weight:600}\
    input{font:inherit;box-sizing:border-box;width:100%;padding:.6rem .75rem;border:1px solid;border-radius:.5rem}\
    input[readonly]{border-color:transparent;padding-left:0;background:none;color:inherit}\
    input+p{margin:.25rem 0 0}\
    form button{margin-top:1.5rem}\
    small{opacity:.75}";

/// No scripts, our one style sheet by its hash, forms to ourselves, no frames.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// What the unsubscribe page is about.
pub(crate) struct Choice {
    /// `r•••@example.com`; none where the link is too old to show it.
    pub reader: Option<String>,
    /// The group that the button opts out of; none: everything.
    pub group: Option<String>,
}

impl Choice {
    fn reader(&self) -> String {
        self.reader
            .as_ref()
            .map(|reader| format!("<p><small>{}</small></p>", encode_safe(reader)))
            .unwrap_or_default()
    }

    fn mails(&self) -> String {
        match &self.group {
            Some(group) => format!("mails from <strong>{}</strong>", encode_safe(group)),
            None => "any mail from this sender".to_owned(),
        }
    }
}

/// One button, which posts to the address that the page itself has.
pub(crate) fn unsubscribe(choice: &Choice) -> Response {
    let body = format!(
        "<h1>Unsubscribe?</h1>{}<p>You will not get {} any more.</p>\
         <form method=\"post\"><button type=\"submit\">Unsubscribe</button></form>",
        choice.reader(),
        choice.mails()
    );
    page(StatusCode::OK, "Unsubscribe", &body)
}

pub(crate) fn unsubscribed(choice: &Choice) -> Response {
    let body = format!(
        "<h1>You are unsubscribed.</h1>{}<p>You will not get {} any more. There is nothing else to do.</p>",
        choice.reader(),
        choice.mails()
    );
    page(StatusCode::OK, "You are unsubscribed", &body)
}

/// For whoever came without a token that is one of ours.
pub(crate) fn bad_link(error: ApiError) -> Response {
    let body = "<h1>This link does not work.</h1><p>Some mail programs break long links. Please open the mail again \
        and use its link <em>Unsubscribe</em>, or copy the whole link into the address bar.</p><p>If that does not \
        help, answer the mail: its sender has to take you off the list as well.</p>";
    of_error(error, "This link does not work", body)
}

/// The form came from another site, or from a browser that does not tell.
pub(crate) fn foreign_form() -> Response {
    let body = "<h1>Please use the button on our own page.</h1><p>Nothing was changed. Open the link in the mail \
        again, and press the button there.</p>";
    of_error(ApiError::Forbidden("the form came from another site"), "Nothing was changed", body)
}

/// What went wrong on our side.
pub(crate) fn failed(error: ApiError) -> Response {
    let body = "<h1>That did not work.</h1><p>Please try again in a moment: reload this page.</p>";
    of_error(error, "That did not work", body)
}

/// The page with the status and the headers that the error has elsewhere.
fn of_error(error: ApiError, title: &str, body: &str) -> Response {
    let problem = error.into_response();
    let mut response = page(problem.status(), title, body);
    for (name, value) in problem.headers() {
        if *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><main>{body}</main></body></html>"
    );
    let mut response = (status, Html(html)).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    response
}
