//! `Postledger-Position`: a query that names a command's position sees what the command did.

use crate::problem::ApiError;
use crate::state::App;
use axum::extract::FromRequestParts;
use eventstore::PositionToken;
use http::HeaderName;
use http::request::Parts;
use projections::{Projection, WaitError};

pub(crate) const HEADER: HeaderName = HeaderName::from_static("postledger-position");

/// The read models that a query reads.
pub(crate) type Models = &'static [&'static dyn Projection];

/// The position that a query has to wait for, if it names one.
pub(crate) struct Position(Option<PositionToken>);

impl<S: Send + Sync> FromRequestParts<S> for Position {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(HEADER) else { return Ok(Self(None)) };
        let token = value.to_str().ok().and_then(|value| PositionToken::parse(value.trim()).ok());
        token.map(|token| Self(Some(token))).ok_or_else(malformed)
    }
}

fn malformed() -> ApiError {
    ApiError::Malformed("Postledger-Position is none that a command answered".to_owned())
}

impl Position {
    /// Waits until the read models have what the position names.
    pub async fn wait(&self, app: &App, models: Models) -> Result<(), ApiError> {
        let Some(token) = &self.0 else { return Ok(()) };
        let waited = app.waits.until(models, token, app.config.position_wait).await;
        waited.map_err(|error| match error {
            WaitError::ForeignEpoch => ApiError::ForeignPosition,
            WaitError::Unknown => malformed(),
            WaitError::TimedOut => ApiError::Overloaded("the read model has not got that far yet: ask again"),
        })
    }
}

/// Whether the read models reached a command's own position in time. What keeps them from it is not the command's
/// failure.
pub(crate) async fn reached(app: &App, position: &PositionToken, models: Models) -> bool {
    let waited = app.waits.until(models, position, app.config.position_wait).await;
    if let Err(error) = &waited {
        tracing::warn!(%error, "a change is answered without the resource");
    }
    waited.is_ok()
}
