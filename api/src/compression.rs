//! Compressed answers: by gzip, which every client knows. (Others save little more, and cost memory for each answer.)
//!
//! Who sees the length of compressed answers that hold a secret beside text of their own choosing learns the secret byte by
//! byte (BREACH, breachattack.com). So answers with tokens and keys stay as they are, and those for readers too, whom an address
//! in their own browser lets in. All others are opened by a header that a foreign page cannot send.

use crate::access::{Access, Kind};
use http::{Extensions, HeaderMap, StatusCode, Version, header};
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::compression::{CompressionLayer, CompressionLevel};

/// Less is not worth it.
const MIN_BYTES: u16 = 1_024;

/// On answers that may be compressed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compressible;

impl Compressible {
    pub fn of(access: Access, kind: Kind) -> Option<Self> {
        let is_for_readers = matches!(access, Access::PreferenceToken | Access::PreferenceLink);
        (kind != Kind::Secret && !is_for_readers).then_some(Self)
    }
}

pub(crate) fn layer() -> CompressionLayer<impl Predicate> {
    // An event has to leave when it happens.
    let when = SizeAbove::new(MIN_BYTES).and(NotForContentType::SSE).and(is_compressible);
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(when)
}

/// A strong ETag names the very bytes (RFC 9110 section 8.8.1): those must not change.
fn is_compressible(_: StatusCode, _: Version, headers: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<Compressible>().is_some() && !headers.contains_key(header::ETAG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::access::Scope;

    #[test]
    fn what_holds_secrets_or_is_for_readers_stays_as_it_is() {
        let is_compressible = |access, kind| Compressible::of(access, kind).is_some();
        for access in [Access::Public, Access::SignedIn, Access::Admin, Access::Scope(Scope::GroupsRead)] {
            assert!(!is_compressible(access, Kind::Secret), "{access:?}");
            for kind in [Kind::Plain, Kind::Query, Kind::Command, Kind::Upload] {
                assert!(is_compressible(access, kind), "{access:?} {kind:?}");
            }
        }
        for access in [Access::PreferenceToken, Access::PreferenceLink] {
            assert!(!is_compressible(access, Kind::Query), "{access:?}");
        }
    }
}
