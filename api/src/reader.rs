//! The reader behind a link's token, and what is recorded of their request.

use crate::access::Principal;
use crate::edge::Peer;
use crate::problem::ApiError;
use axum::extract::FromRequestParts;
use domain::Personal;
use domain::consent::Origin;
use eventstore::clock;
use http::request::Parts;
use http::{HeaderMap, header};
use mail::links::PreferenceClaims;

/// Links show preferences and opt in again for this long. They opt out for ever.
const TRUSTED_SECONDS: i64 = 366 * 24 * 3600;
const USER_AGENT_MAX_BYTES: usize = 500;

pub(crate) struct Reader {
    pub claims: PreferenceClaims,
    /// Sealed before it is kept.
    pub origin: Origin,
}

impl<S: Send + Sync> FromRequestParts<S> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Routes for readers admit nobody else.
        let Some(Principal::Reader(claims)) = parts.extensions.get() else { return Err(ApiError::Internal) };
        let peer = parts.extensions.get::<Peer>();
        let origin = Origin {
            campaign_id: claims.campaign,
            dispatch_id: claims.dispatch,
            source_address: peer.map(|peer| Personal::plain(peer.0.ip().to_canonical().to_string())),
            user_agent: user_agent(&parts.headers).map(Personal::plain),
        };
        Ok(Self { claims: claims.clone(), origin })
    }
}

impl Reader {
    /// Whether the link is young enough to show and to change more than an opt-out does.
    pub fn is_trusted(&self) -> bool {
        clock::now().timestamp() - self.claims.issued_at <= TRUSTED_SECONDS
    }
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let bytes = headers.get(header::USER_AGENT)?.as_bytes();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(USER_AGENT_MAX_BYTES)]);
    Some(text.chars().filter(|c| !c.is_control()).collect())
}
