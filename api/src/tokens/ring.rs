//! Which of the stored keys sign, verify and are published, by their age alone: so all processes agree, and a rotation
//! fails no request. A new key is published before it signs, and an old one verifies until its last token is over.

use super::claims::{self, AccessClaims, LIFE_SECONDS, TokenError, Verified};
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine};
use eventstore::StoreError;
use eventstore::keys::KeyError;
use eventstore::service_keys::ServiceKey;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use moka::sync::Cache;
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// A key signs once it is so old: by then every process has loaded it, and who keeps the public keys for half a minute
/// has them.
pub const PUBLISHED_SECONDS: i64 = 60;
/// What a token may still be good for after its key's successor began to sign: its life, and processes' delays.
const RETIRED_SECONDS: i64 = LIFE_SECONDS + 60;

/// RFC 8410 section 7: what stands before the 32 bytes of an Ed25519 key in PKCS #8.
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A public key (RFC 8037 section 2).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Jwk {
    #[schema(example = "OKP")]
    kty: &'static str,
    #[schema(example = "Ed25519")]
    crv: &'static str,
    #[schema(example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    x: String,
    #[schema(example = "access-1")]
    kid: String,
    #[schema(example = "EdDSA")]
    alg: &'static str,
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    usage: &'static str,
}

struct Key {
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
    jwk: Jwk,
}

/// Tokens of one ring that were verified and are not verified again: some 300 bytes each.
const VERIFIED_MAX: u64 = 10_000;

/// Keys that verify, newest first, and which of them signs.
pub(super) struct Ring {
    keys: Vec<Key>,
    signer: usize,
    /// By SHA-256: whoever reads this memory finds no token. Keys that are loaded anew begin with none, so what a key's end
    /// takes away is not kept here.
    verified: Cache<[u8; SHA256_OUTPUT_LEN], Verified>,
}

impl Ring {
    /// Takes all keys there are, newest first.
    pub fn new(stored: Vec<ServiceKey>) -> Result<Self, StoreError> {
        let ages: Vec<i64> = stored.iter().map(|key| key.age_seconds).collect();
        let (signer, count) = in_use(&ages);
        let keys = stored.into_iter().take(count).map(Key::new).collect::<Result<Vec<_>, _>>()?;
        match keys.is_empty() {
            true => Err(KeyError::Destroyed.into()),
            false => Ok(Self { keys, signer, verified: Cache::new(VERIFIED_MAX) }),
        }
    }

    pub fn sign(&self, issuer: &str, claims: &AccessClaims, now: i64) -> Result<String, TokenError> {
        let key = self.keys.get(self.signer).ok_or(TokenError::UnknownKey)?;
        claims::sign(&key.header, &key.encoding, issuer, claims, now)
    }

    /// A client sends its token with each request, and a signature takes longer to check than most queries.
    pub fn verify(&self, issuer: &str, token: &str, now: i64) -> Result<AccessClaims, TokenError> {
        let hash = sha256(token)?;
        if let Some(verified) = self.verified.get(&hash) {
            return verified.claims(now);
        }
        let verified = self.verify_anew(issuer, token, now)?;
        self.verified.insert(hash, verified.clone());
        verified.claims(now)
    }

    fn verify_anew(&self, issuer: &str, token: &str, now: i64) -> Result<Verified, TokenError> {
        let header = claims::header(token)?;
        let key = self.keys.iter().find(|key| key.header.kid == header.kid).ok_or(TokenError::UnknownKey)?;
        // The whole header, so that nothing in it (`alg`, `typ`, `crit`, `jku`, `jwk`, `x5u`, …) is ever of consequence.
        if header != key.header {
            return Err(TokenError::WrongKind);
        }
        claims::verify(token, &key.decoding, issuer, now)
    }

    pub fn jwks(&self) -> Vec<Jwk> {
        self.keys.iter().map(|key| key.jwk.clone()).collect()
    }
}

fn sha256(token: &str) -> Result<[u8; SHA256_OUTPUT_LEN], TokenError> {
    // What is too long is not even hashed.
    if token.len() > claims::TOKEN_MAX_BYTES {
        return Err(TokenError::TooLong);
    }
    digest(&SHA256, token.as_bytes()).as_ref().try_into().map_err(|_| TokenError::Malformed)
}

/// Of keys by age, newest first: which one signs, and how many of the newest verify.
fn in_use(ages: &[i64]) -> (usize, usize) {
    let signer = ages.iter().position(|age| *age >= PUBLISHED_SECONDS);
    let signer = signer.unwrap_or(ages.len().saturating_sub(1));
    // A key's successor began to sign when it had been published long enough.
    let is_retired = |successor: &i64| *successor >= PUBLISHED_SECONDS + RETIRED_SECONDS;
    let count = ages.iter().position(is_retired).map_or(ages.len(), |newest_retirer| newest_retirer + 1);
    (signer, count)
}

impl Key {
    fn new(stored: ServiceKey) -> Result<Self, StoreError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(stored.secret.as_ref());
        let pair = pair.map_err(|_| KeyError::Library)?;
        let der = Zeroizing::new([PKCS8.as_slice(), stored.secret.as_ref()].concat());
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(claims::TYPE.to_owned());
        header.kid = Some(stored.kid.clone());
        let x = BASE64.encode(pair.public_key().as_ref());
        Ok(Self {
            header,
            encoding: EncodingKey::from_ed_der(&der),
            decoding: DecodingKey::from_ed_der(pair.public_key().as_ref()),
            jwk: Jwk { kty: "OKP", crv: "Ed25519", x, kid: stored.kid, alg: "EdDSA", usage: "sig" },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_published_then_signs_then_verifies_then_goes() {
        let table = [
            (vec![0], (0, 1)),
            (vec![5_000_000], (0, 1)),
            (vec![PUBLISHED_SECONDS - 1, 5_000], (1, 2)),
            (vec![PUBLISHED_SECONDS, 5_000], (0, 2)),
            (vec![PUBLISHED_SECONDS + RETIRED_SECONDS - 1, 5_000], (0, 2)),
            (vec![PUBLISHED_SECONDS + RETIRED_SECONDS, 5_000], (0, 1)),
            (vec![3, 2, 1], (2, 3)),
            (vec![10, 100, 200, 5_000, 6_000], (1, 4)),
        ];
        for (ages, expected) in table {
            assert_eq!(in_use(&ages), expected, "{ages:?}");
        }
    }
}
