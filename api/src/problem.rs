//! The one place that knows the status codes of errors: each becomes a problem document (RFC 9457) here.
//!
//! What went wrong inside stays inside: it is logged where it is turned into an answer, without values of people.

use crate::limits::Exceeded;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use commands::{CommandError, FieldError};
use domain::SubscriberId;
use eventstore::StoreError;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

pub(crate) const CONTENT_TYPE: &str = "application/problem+json";
/// Seconds after which what is overloaded is worth another try.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
const RETRY_AFTER_FULL: HeaderValue = HeaderValue::from_static("60");

#[derive(Debug)]
pub(crate) enum ApiError {
    /// The request cannot be read as what it claims to be.
    Malformed(String),
    Unauthorized(&'static str),
    /// Another request was first with this refresh token, a moment ago.
    RefreshRaced,
    Forbidden(String),
    NotFound(&'static str),
    MethodNotAllowed,
    /// A state that forbids it, by its word.
    WrongState {
        status: String,
        reason: String,
    },
    /// The address is known; whose it is, where they can be found.
    Known(Option<SubscriberId>),
    Conflict(&'static str),
    /// The position is of another log than this one.
    ForeignPosition,
    Stale,
    TooLarge {
        max_bytes: u64,
    },
    UnsupportedMediaType(&'static str),
    Invalid(Vec<FieldError>),
    KeyReused,
    KeyInProgress,
    /// The client stopped sending.
    Stalled,
    TimedOut,
    TooMany(Exceeded),
    Overloaded(&'static str),
    /// There is no room for more until something ends that takes minutes.
    Full(&'static str),
    Internal,
}

impl ApiError {
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError { field: field.into(), reason: reason.into() }])
    }

    /// The command was understood and decided against.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Invalid(_) | Self::NotFound(_) | Self::WrongState { .. } | Self::Known(_) | Self::Stale
        )
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) | Self::RefreshRaced => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::WrongState { .. }
            | Self::Known(_)
            | Self::Conflict(_)
            | Self::ForeignPosition
            | Self::KeyInProgress => StatusCode::CONFLICT,
            Self::Stale => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) | Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Stalled => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::TimedOut | Self::Overloaded(_) | Self::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The problem's type by its last word, and its title.
    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed(_) => ("malformed", "The request is malformed"),
            Self::Unauthorized(_) => ("unauthorized", "No or no valid credentials"),
            Self::RefreshRaced => ("refresh-raced", "Another request was first with this refresh token"),
            Self::Forbidden(_) => ("forbidden", "Not allowed"),
            Self::NotFound(_) => ("not-found", "Not found"),
            Self::MethodNotAllowed => ("method-not-allowed", "The method is not allowed here"),
            Self::WrongState { .. } | Self::Known(_) => {
                ("wrong-state", "The present state does not allow this")
            }
            Self::Conflict(_) => ("conflict", "Others changed the same thing"),
            Self::ForeignPosition => ("foreign-position", "The position is of another log"),
            Self::Stale => ("stale", "It was changed meanwhile"),
            Self::TooLarge { .. } => ("too-large", "The body is too large"),
            Self::UnsupportedMediaType(_) => ("unsupported-media-type", "The content type is not supported"),
            Self::Invalid(_) => ("invalid", "Some fields cannot be taken"),
            Self::KeyReused => ("idempotency-key-reused", "The idempotency key was used with another body"),
            Self::KeyInProgress => {
                ("idempotency-key-in-progress", "A command with this idempotency key is running")
            }
            Self::Stalled => ("stalled", "The body did not arrive in time"),
            Self::TimedOut => ("timed-out", "It took too long"),
            Self::TooMany(_) => ("too-many-requests", "Too many requests"),
            Self::Overloaded(_) => ("overloaded", "Not available now"),
            Self::Full(_) => ("full", "There is no room now"),
            Self::Internal => ("internal", "Something went wrong"),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Malformed(reason) | Self::Forbidden(reason) | Self::WrongState { reason, .. } => {
                reason.clone()
            }
            Self::Unauthorized(reason)
            | Self::Conflict(reason)
            | Self::UnsupportedMediaType(reason)
            | Self::Overloaded(reason)
            | Self::Full(reason) => (*reason).to_owned(),
            Self::Known(_) => "a subscriber with this address exists already".to_owned(),
            Self::RefreshRaced => "use the tokens that it got: nothing was revoked".to_owned(),
            Self::NotFound(what) => format!("the {what} is not known"),
            Self::MethodNotAllowed => "see the header Allow".to_owned(),
            Self::ForeignPosition => {
                "the log was restored since: forget the position and load again".to_owned()
            }
            Self::Stale => "the version in If-Match is not the present one: load it again".to_owned(),
            Self::TooLarge { max_bytes } => format!("at most {max_bytes} bytes"),
            Self::Invalid(errors) => {
                let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
                format!("see errors: {}", fields.join(", "))
            }
            Self::KeyReused => "take a new key for a new command".to_owned(),
            Self::KeyInProgress => "ask again in a moment".to_owned(),
            Self::Stalled => "the connection was silent for too long".to_owned(),
            Self::TimedOut => "repeat it with the same idempotency key".to_owned(),
            Self::TooMany(_) => "ask again after the seconds of the header Retry-After".to_owned(),
            Self::Internal => "the request id leads to the reason in our logs".to_owned(),
        }
    }

    fn header(&self) -> Option<(http::HeaderName, HeaderValue)> {
        match self {
            Self::Unauthorized(_) | Self::RefreshRaced => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            Self::TooMany(exceeded) => Some((header::RETRY_AFTER, exceeded.retry_after_seconds.into())),
            Self::TimedOut | Self::Overloaded(_) => Some((header::RETRY_AFTER, RETRY_AFTER)),
            Self::Full(_) => Some((header::RETRY_AFTER, RETRY_AFTER_FULL)),
            _ => None,
        }
    }
}

/// A problem without its request id, on its way through the middleware: see [`complete`].
#[derive(Clone)]
struct Draft {
    kind: &'static str,
    problem: Problem,
}

/// The kind of problem that an answer on its way to [`complete`] is, by the last word of its type.
pub(crate) fn kind_of(response: &Response) -> Option<&'static str> {
    response.extensions().get::<Draft>().map(|draft| draft.kind)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, (kind, title), header) = (self.status(), self.kind(), self.header());
        let mut problem = Problem {
            kind: format!("urn:postledger:problem:{kind}"),
            title: title.to_owned(),
            status: ProblemStatus::Code(status.as_u16()),
            detail: self.detail(),
            request_id: Uuid::nil(),
            subscriber_id: None,
            errors: Vec::new(),
        };
        let mut response = status.into_response();
        response.headers_mut().extend(header);
        match self {
            Self::WrongState { status, .. } => problem.status = ProblemStatus::State(status),
            Self::Known(subscriber) => {
                (problem.status, problem.subscriber_id) =
                    (ProblemStatus::State("taken".to_owned()), subscriber);
            }
            Self::Invalid(errors) => problem.errors = errors.into_iter().map(InvalidField::from).collect(),
            Self::TooMany(Exceeded { standing: Some(standing), .. }) => {
                standing.write(response.headers_mut())
            }
            _ => {}
        }
        response.extensions_mut().insert(Draft { kind, problem });
        response
    }
}

/// Writes the document of an answer that is a problem. What a library answered with an error status and without a
/// body becomes one as well.
pub(crate) fn complete(response: Response, request_id: Uuid) -> Response {
    let (mut parts, body) = response.into_parts();
    let draft = match parts.extensions.remove::<Draft>() {
        Some(Draft { problem, .. }) => problem,
        None if is_bare_error(&parts) => bare(parts.status),
        None => return Response::from_parts(parts, body),
    };
    let problem = Problem { request_id, ..draft };
    // Strings and numbers cannot fail to be serialised.
    let document = serde_json::to_vec(&problem).unwrap_or_default();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(document))
}

fn is_bare_error(parts: &http::response::Parts) -> bool {
    let is_error = parts.status.is_client_error() || parts.status.is_server_error();
    let is_text = |value: &HeaderValue| value.as_bytes().starts_with(b"text/plain");
    is_error && parts.headers.get(header::CONTENT_TYPE).is_none_or(is_text)
}

fn bare(status: StatusCode) -> Problem {
    Problem {
        kind: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or("Error").to_owned(),
        status: ProblemStatus::Code(status.as_u16()),
        detail: String::new(),
        request_id: Uuid::nil(),
        subscriber_id: None,
        errors: Vec::new(),
    }
}

/// Problem details (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Names the kind of problem, and does not change.
    #[serde(rename = "type")]
    #[schema(example = "urn:postledger:problem:invalid")]
    kind: String,
    #[schema(example = "Some fields cannot be taken")]
    title: String,
    /// The HTTP status code. Of a 409 by a state that forbids it, that state by its word, such as `cancelled`: the code stands in the
    /// answer's first line.
    status: ProblemStatus,
    #[schema(example = "see errors: name")]
    detail: String,
    /// As in the header `X-Request-Id`.
    request_id: Uuid,
    /// Of a 409 for an address that is known: whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriber_id: Option<Uuid>,
    /// Of a 422: what is wrong with the input, field by field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<InvalidField>,
}

/// RFC 9457 has a number there, and whoever wants one skips what is none (section 3.1).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ProblemStatus {
    Code(u16),
    State(String),
}

/// One field that cannot be taken.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct InvalidField {
    #[schema(example = "name")]
    field: String,
    #[schema(example = "is empty")]
    reason: String,
}

impl From<FieldError> for InvalidField {
    fn from(FieldError { field, reason }: FieldError) -> Self {
        Self { field, reason }
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NotFound(what) => Self::NotFound(what),
            CommandError::Invalid(errors) => Self::Invalid(errors),
            CommandError::Forbidden { status, reason } => Self::WrongState { status, reason },
            CommandError::Known(subscriber) => Self::Known(subscriber),
            CommandError::Unauthorized(reason) => Self::Unauthorized(reason),
            CommandError::RefreshRaced => Self::RefreshRaced,
            CommandError::Busy(reason) => Self::Overloaded(reason),
            CommandError::Full(reason) => Self::Full(reason),
            CommandError::TooMany => Self::TooMany(Exceeded::LATELY),
            CommandError::Stale => Self::Stale,
            CommandError::KeyReused => Self::KeyReused,
            CommandError::InProgress => Self::KeyInProgress,
            CommandError::Conflict => {
                Self::Conflict("too many commands on the same thing at once: ask again")
            }
            CommandError::Unavailable(cause) | CommandError::Failed(cause) => cause.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(_) => {
                tracing::warn!(error = cause(&error), "the database does not answer");
                Self::Overloaded("the database does not answer")
            }
            _ => {
                tracing::error!(error = cause(&error), "a request failed");
                Self::Internal
            }
        }
    }
}

impl From<Exceeded> for ApiError {
    fn from(exceeded: Exceeded) -> Self {
        Self::TooMany(exceeded)
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// Of a database's error the code and the constraint: its text may quote values.
fn cause(error: &StoreError) -> String {
    match error {
        StoreError::Database(sqlx::Error::Database(error))
        | StoreError::Unavailable(sqlx::Error::Database(error)) => {
            let code = error.code().unwrap_or_default();
            format!("SQLSTATE {code} {}", error.constraint().unwrap_or_default())
        }
        other => other.to_string(),
    }
}
