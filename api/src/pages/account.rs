//! The pages of a mail's link that lets somebody choose a password.

use super::{of_error, page};
use crate::problem::ApiError;
use axum::response::Response;
use domain::transactional::AccountMailKind;
use html_escape::{encode_double_quoted_attribute, encode_safe};
use http::StatusCode;

pub(crate) struct Form<'a> {
    pub action: &'a str,
    pub token: &'a str,
    /// Whose password it is: a password manager files it under this.
    pub email: &'a str,
    /// What was wrong with the last try.
    pub problem: Option<&'a str>,
}

/// The form that posts the token with a new password. Nothing is spent by showing it.
pub(crate) fn choose_password(kind: AccountMailKind, form: &Form<'_>) -> Response {
    let title = match kind {
        AccountMailKind::PasswordReset => "Choose a new password",
        AccountMailKind::Invitation => "Welcome. Choose a password",
    };
    let problem = form.problem.map(|reason| {
        format!("<p id=\"problem\" role=\"alert\"><strong>The password {}.</strong></p>", encode_safe(reason))
    });
    let (described, status) = match form.problem {
        Some(_) => ("hint problem", StatusCode::UNPROCESSABLE_ENTITY),
        None => ("hint", StatusCode::OK),
    };
    let body = format!(
        "<h1>{title}</h1>{problem}<form method=\"post\" action=\"{action}\">\
         <input type=\"hidden\" name=\"token\" value=\"{token}\">\
         <label for=\"email\">For</label>\
         <input id=\"email\" type=\"email\" value=\"{email}\" autocomplete=\"username\" readonly>\
         <label for=\"password\">New password</label>\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"new-password\" minlength=\"12\" \
         maxlength=\"512\" required autofocus aria-describedby=\"{described}\">\
         <p id=\"hint\"><small>At least 12 characters. A few words that you do not use elsewhere are good.</small></p>\
         <label for=\"again\">Once more</label>\
         <input id=\"again\" name=\"again\" type=\"password\" autocomplete=\"new-password\" minlength=\"12\" \
         maxlength=\"512\" required>\
         <button type=\"submit\">Save the password</button></form>",
        problem = problem.unwrap_or_default(),
        action = encode_double_quoted_attribute(form.action),
        token = encode_double_quoted_attribute(form.token),
        email = encode_double_quoted_attribute(form.email),
    );
    page(status, title, &body)
}

pub(crate) fn password_chosen() -> Response {
    let body = "<h1>Your password is saved.</h1><p>You are signed out everywhere. Sign in with the new password; this page \
        can be closed.</p>";
    page(StatusCode::OK, "Your password is saved", body)
}

/// Unknown, over, used, or replaced by a newer one.
pub(crate) fn dead_link(kind: AccountMailKind) -> Response {
    let body = match kind {
        AccountMailKind::PasswordReset => {
            "<h1>This link does not work any more.</h1><p>It works once, within 30 minutes, and only the newest one does. \
             Ask for another where you sign in; if you did, open the latest mail.</p>"
        }
        AccountMailKind::Invitation => {
            "<h1>This link does not work any more.</h1><p>It works once, within 7 days, and only the newest one does. If you \
             have chosen a password already, sign in. Else ask who invited you for another invitation.</p>"
        }
    };
    let error = ApiError::Unauthorized("the link is not valid any more: ask for a new one");
    of_error(error, "This link does not work any more", body)
}
