//! The pages of a mail's link that lets somebody choose a password.

use super::{MessagePage, STYLE, Words, of_error, page};
use crate::problem::ApiError;
use askama::Template;
use axum::response::Response;
use domain::transactional::AccountMailKind;
use http::StatusCode;

pub(crate) struct Form<'a> {
    pub action: &'a str,
    pub token: &'a str,
    /// Whose password it is: a password manager files it under this.
    pub email: &'a str,
    /// The id of what was wrong with the last try.
    pub problem: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "choose_password.html")]
struct ChoosePasswordPage<'a> {
    words: &'a Words,
    style: &'static str,
    title: &'static str,
    form: &'a Form<'a>,
}

/// The form that posts the token with a new password. Nothing is spent by showing it.
pub(crate) fn choose_password(words: &Words, kind: AccountMailKind, form: &Form<'_>) -> Response {
    let title = match kind {
        AccountMailKind::PasswordReset => "reset-title",
        AccountMailKind::Invitation => "invited-title",
    };
    let status = if form.problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    page(status, &ChoosePasswordPage { words, style: STYLE, title, form })
}

pub(crate) fn password_chosen(words: &Words) -> Response {
    let (title, lines) = ("chosen-title", ["chosen-hint"].as_slice());
    page(StatusCode::OK, &MessagePage { words, style: STYLE, title, lines })
}

/// Unknown, over, used, or replaced by a newer one.
pub(crate) fn dead_link(words: &Words, kind: AccountMailKind) -> Response {
    let hint = match kind {
        AccountMailKind::PasswordReset => "reset-over",
        AccountMailKind::Invitation => "invited-over",
    };
    let error = ApiError::Unauthorized("the link is not valid any more: ask for a new one");
    of_error(words, error, "over-title", &[hint])
}
