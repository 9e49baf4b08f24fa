//! The links that every mail carries, and the tokens in them: JWTs (RFC 7519), signed with HS256.
//!
//! A token names its kind twice, in the header's `typ` and in `aud` (RFC 8725 sections 3.9 and 3.11), and each kind has
//! keys of its own: so no other token opens the preference page, and a preference token opens nothing else.
//!
//! The cryptography is aws-lc-rs's, which `jsonwebtoken` finds by itself as long as it is built with that provider
//! alone. A binary that can't be sure installs it before the first token:
//! `jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default()`.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Longer tokens aren't looked at. Ours have some 500 bytes.
pub const MAX_TOKEN_BYTES: usize = 2_048;
/// A key id stands in each token's header.
const MAX_KID_BYTES: usize = 64;

/// Stands for a token in previews and test mails: it opens nothing.
pub const SAMPLE_TOKEN: &str = "preview";

const ISSUER: &str = "postledger";
const PREFERENCE_TYPE: &str = "preference+jwt";
const PREFERENCE_AUDIENCE: &str = "preference";

/// Who may see and change their preferences, and which mail they come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PreferenceClaims {
    pub subscriber: Uuid,
    pub campaign: Option<Uuid>,
    /// The group that a one-click opt-out is for.
    pub group: Option<Uuid>,
    pub dispatch: Option<Uuid>,
    /// Seconds since 1970. A token never expires; what it may still do after a year is the caller's to decide.
    pub issued_at: i64,
}

/// One secret of 256 bits, as HS256 wants it (RFC 7518 section 3.2), and its public name.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct LinkKey {
    #[zeroize(skip)]
    pub kid: String,
    pub secret: [u8; 32],
}

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("there is no key for links")]
    NoKey,
    #[error("a key id is empty, too long or used twice")]
    KeyId,
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    #[error("the token is malformed")]
    Malformed,
    #[error("the token is of another kind")]
    WrongKind,
    #[error("the token's key is not known")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
}

/// The keys of preference tokens: the first signs, all verify.
pub struct LinkKeys {
    keys: Vec<Key>,
    validation: Validation,
}

struct Key {
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl std::fmt::Debug for LinkKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.header.kid)).finish()
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cmp: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grp: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dsp: Option<Uuid>,
    iat: i64,
}

impl LinkKeys {
    /// Takes the keys newest first. A key may go once no mail that it signed matters any more; CASL says 60 days.
    pub fn new(keys: Vec<LinkKey>) -> Result<Self, LinkError> {
        if keys.is_empty() {
            return Err(LinkError::NoKey);
        }
        let is_bad = |kid: &str| kid.is_empty() || kid.len() > MAX_KID_BYTES;
        let is_twice = |i: usize, kid: &str| keys[..i].iter().any(|earlier| earlier.kid == kid);
        if keys.iter().enumerate().any(|(i, key)| is_bad(&key.kid) || is_twice(i, &key.kid)) {
            return Err(LinkError::KeyId);
        }
        Ok(Self { keys: keys.iter().map(Key::new).collect(), validation: validation() })
    }

    pub fn sign_preference(&self, claims: &PreferenceClaims) -> Result<String, LinkError> {
        let key = self.keys.first().ok_or(LinkError::NoKey)?;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: PREFERENCE_AUDIENCE.to_owned(),
            sub: claims.subscriber,
            cmp: claims.campaign,
            grp: claims.group,
            dsp: claims.dispatch,
            iat: claims.issued_at,
        };
        encode(&key.header, &claims, &key.encoding).map_err(|_| LinkError::Malformed)
    }

    /// Checks a token and says what it holds. It reads no clock: opt-out tokens don't expire.
    pub fn verify_preference(&self, token: &str) -> Result<PreferenceClaims, LinkError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(LinkError::TooLong);
        }
        // An algorithm that the library doesn't know, `none` among them, is a header that it can't read.
        let header = decode_header(token).map_err(|_| LinkError::Malformed)?;
        let key = self.key(&header)?;
        // The whole header, so that nothing in it (`crit`, `jku`, `jwk`, `x5u`, …) is ever of consequence.
        if header != key.header {
            return Err(LinkError::WrongKind);
        }
        let claims =
            decode::<Claims>(token, &key.decoding, &self.validation).map_err(|e| reason(e.kind()))?.claims;
        Ok(PreferenceClaims {
            subscriber: claims.sub,
            campaign: claims.cmp,
            group: claims.grp,
            dispatch: claims.dsp,
            issued_at: claims.iat,
        })
    }

    fn key(&self, header: &Header) -> Result<&Key, LinkError> {
        self.keys.iter().find(|key| key.header.kid == header.kid).ok_or(LinkError::UnknownKey)
    }
}

impl Key {
    fn new(key: &LinkKey) -> Self {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(PREFERENCE_TYPE.to_owned());
        header.kid = Some(key.kid.clone());
        Self {
            header,
            encoding: EncodingKey::from_secret(&key.secret),
            decoding: DecodingKey::from_secret(&key.secret),
        }
    }
}

fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    // Audience and issuer are only checked where they are there, unless they are required.
    validation.set_required_spec_claims(&["aud", "iss", "sub"]);
    validation.set_audience(&[PREFERENCE_AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.leeway = 0;
    validation
}

fn reason(kind: &ErrorKind) -> LinkError {
    match kind {
        ErrorKind::InvalidSignature => LinkError::Signature,
        ErrorKind::InvalidAudience | ErrorKind::InvalidIssuer | ErrorKind::MissingRequiredClaim(_) => {
            LinkError::WrongKind
        }
        _ => LinkError::Malformed,
    }
}

/// Makes the links of mails from the public address of this installation.
#[derive(Debug, Clone)]
pub struct Links {
    public_url: String,
}

impl Links {
    /// `public_url` is absolute; a slash at its end does no harm.
    pub fn new(public_url: &str) -> Self {
        Self { public_url: public_url.trim_end_matches('/').to_owned() }
    }

    /// The page of a mail's footer, and the URI of its `List-Unsubscribe` header.
    pub fn unsubscribe_url(&self, token: &str) -> String {
        format!("{}/emails/unsubscribe?token={token}", self.public_url)
    }

    /// The page of a double opt-in.
    pub fn subscription_url(&self, token: &str) -> String {
        format!("{}/subscriptions/confirm?token={token}", self.public_url)
    }

    /// The same page: it shows the preferences as well.
    pub fn preferences_url(&self, token: &str) -> String {
        self.unsubscribe_url(token)
    }
}

#[cfg(test)]
mod tests;
