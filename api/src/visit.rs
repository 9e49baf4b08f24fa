//! Where a request comes from. Sealed before it is kept.

use crate::client::{self, Client};
use crate::edge::Arrived;
use crate::problem::ApiError;
use axum::extract::FromRequestParts;
use domain::Personal;
use domain::visit::Visit;
use http::header;
use http::request::Parts;
use std::time::Instant;

const USER_AGENT_MAX_BYTES: usize = 500;

pub(crate) fn of(parts: &Parts) -> Visit {
    let client = parts.extensions.get::<Client>();
    Visit {
        source_address: client.map(|client| Personal::plain(client.0.to_string())),
        user_agent: user_agent(parts).map(Personal::plain),
    }
}

fn user_agent(parts: &Parts) -> Option<String> {
    let bytes = parts.headers.get(header::USER_AGENT)?.as_bytes();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(USER_AGENT_MAX_BYTES)]);
    Some(text.chars().filter(|c| !c.is_control()).collect())
}

/// Who is there, and since when.
pub(crate) struct Visitor {
    pub visit: Visit,
    pub client: Client,
    pub arrived: Instant,
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // The edge notes it for every request.
        let Some(Arrived(arrived)) = parts.extensions.get().copied() else { return Err(ApiError::Internal) };
        Ok(Self { visit: of(parts), client: client::of(parts), arrived })
    }
}
