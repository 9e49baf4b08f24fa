//! What an access token says, and the checks of it.

use domain::access::Role;
use domain::{SessionId, UserId};
use eventstore::{StoreError, ids};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Of an access token. OWASP asks for ten minutes at the most.
pub const LIFE_SECONDS: i64 = 600;
/// By how much clocks of different machines may differ.
const LEEWAY_SECONDS: i64 = 5;
/// Longer tokens are not looked at. Ours have some 500 bytes.
pub(crate) const TOKEN_MAX_BYTES: usize = 2_048;

/// RFC 9068 section 2.1. No other token of ours is of this type, or for this audience.
pub(super) const TYPE: &str = "at+jwt";
const AUDIENCE: &str = "postledger-api";

/// Who signed in, and by which session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessClaims {
    pub user: UserId,
    pub session: SessionId,
    pub roles: Vec<Role>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token is longer than {TOKEN_MAX_BYTES} bytes")]
    TooLong,
    #[error("the token is malformed")]
    Malformed,
    #[error("the token is of another kind")]
    WrongKind,
    #[error("the token's key is not known")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token is over, or not good yet")]
    Time,
    #[error(transparent)]
    Store(StoreError),
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    exp: i64,
    iat: i64,
    jti: Uuid,
    sid: Uuid,
    roles: Vec<Role>,
}

pub(super) fn sign(
    header: &Header,
    key: &EncodingKey,
    issuer: &str,
    claims: &AccessClaims,
    now: i64,
) -> Result<String, TokenError> {
    let claims = Claims {
        iss: issuer.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: claims.user,
        exp: now + LIFE_SECONDS,
        iat: now,
        jti: ids::new_id(),
        sid: claims.session,
        roles: claims.roles.clone(),
    };
    encode(header, &claims, key).map_err(|_| TokenError::Malformed)
}

/// An algorithm that the library does not know, `none` among them, is a header that it cannot read.
pub(super) fn header(token: &str) -> Result<Header, TokenError> {
    decode_header(token).map_err(|_| TokenError::Malformed)
}

/// What a token says that was found good. Time goes on: ask it each time.
#[derive(Clone)]
pub(super) struct Verified {
    claims: AccessClaims,
    exp: i64,
}

impl Verified {
    pub fn claims(&self, now: i64) -> Result<AccessClaims, TokenError> {
        match now <= self.exp.saturating_add(LEEWAY_SECONDS) {
            true => Ok(self.claims.clone()),
            false => Err(TokenError::Time),
        }
    }
}

/// Every claim has to be there: what is absent cannot be read.
pub(super) fn verify(token: &str, key: &DecodingKey, issuer: &str, now: i64) -> Result<Verified, TokenError> {
    let decoded = decode::<Claims>(token, key, &validation(issuer)).map_err(|error| reason(error.kind()))?;
    let Claims { sub: user, sid: session, roles, iat, exp, .. } = decoded.claims;
    if iat > now + LEEWAY_SECONDS || exp > iat.saturating_add(LIFE_SECONDS) {
        return Err(TokenError::Time);
    }
    Ok(Verified { claims: AccessClaims { user, session, roles }, exp })
}

fn validation(issuer: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    // Audience and issuer are only checked where they are there, unless they are required.
    validation.set_required_spec_claims(&["aud", "exp", "iss", "sub"]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[issuer]);
    validation.validate_nbf = true;
    validation.leeway = LEEWAY_SECONDS.cast_unsigned();
    validation
}

fn reason(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::ExpiredSignature | ErrorKind::ImmatureSignature => TokenError::Time,
        ErrorKind::InvalidAudience | ErrorKind::InvalidIssuer | ErrorKind::MissingRequiredClaim(_) => {
            TokenError::WrongKind
        }
        _ => TokenError::Malformed,
    }
}
