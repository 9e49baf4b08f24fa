//! The reader behind a link's token, and what is recorded of their request.

use crate::access::Principal;
use crate::problem::ApiError;
use crate::visit;
use axum::extract::FromRequestParts;
use chrono::{DateTime, Utc};
use domain::consent::{Origin, Scope};
use eventstore::clock;
use http::request::Parts;
use mail::links::PreferenceClaims;

/// Links show preferences and opt in again for this long. They opt out for ever.
const TRUSTED_SECONDS: i64 = 366 * 24 * 3600;

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
        let visit = visit::of(parts);
        let origin = Origin {
            campaign_id: claims.campaign,
            dispatch_id: claims.dispatch,
            source_address: visit.source_address,
            user_agent: visit.user_agent,
            reason: None,
        };
        Ok(Self { claims: claims.clone(), origin })
    }
}

impl Reader {
    /// What the link opts out of: its group; everything, where it is for none.
    pub fn scope(&self) -> Scope {
        self.claims.group.map_or(Scope::Global, |group| Scope::Groups(vec![group]))
    }

    /// Whether the link is young enough to show and to change more than an opt-out does, and went to the address that the
    /// reader still has: whoever reads the mails of one that was left may be anybody.
    pub fn is_trusted(&self, address_since: Option<DateTime<Utc>>) -> bool {
        let issued_at = self.claims.issued_at;
        let is_young = clock::now().timestamp() - issued_at <= TRUSTED_SECONDS;
        is_young && address_since.is_none_or(|since| issued_at > since.timestamp())
    }
}
