//! The master key, which lives outside the database, and what is derived from it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hkdf, hmac, rand};
use domain::{AddressHash, EmailAddress, Network};
use zeroize::Zeroizing;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(
        "the master key must be 64 hex digits (32 random bytes), of a demonstration behind `demonstration:`"
    )]
    Malformed,
    #[error("data was sealed under master key {0}, which is not the one configured")]
    ForeignMaster(String),
    #[error("the person's key was destroyed by an erasure")]
    Destroyed,
    #[error("sealed data does not open: it was changed, or moved from its place")]
    Tampered,
    #[error("the cryptographic library failed")]
    Library,
}

impl From<aws_lc_rs::error::Unspecified> for KeyError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Library
    }
}

/// 32 secret bytes, wiped when dropped.
pub type Secret = Zeroizing<[u8; 32]>;

pub fn random_secret() -> Result<Secret, KeyError> {
    let mut secret = Zeroizing::new([0; 32]);
    rand::fill(secret.as_mut())?;
    Ok(secret)
}

/// What the text of a demonstration's master key begins with.
///
/// Such a key is another key than its digits alone are: who takes the word away opens nothing of the demonstration. So
/// whatever a demonstration has made, users with well-known passwords among it, is usable as a demonstration alone.
pub const DEMONSTRATION: &str = "demonstration:";

/// Wraps the keys of people and services; hashes addresses, identities and request bodies. Each use has a key of its own.
pub struct MasterKey {
    id: String,
    is_demonstration: bool,
    wrapping: RandomizedNonceKey,
    addresses: hmac::Key,
    identities: hmac::Key,
    bodies: hmac::Key,
}

impl MasterKey {
    /// `text`: 64 hex digits, behind [`DEMONSTRATION`] where it is the key of one.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let (hex, salt, is_demonstration) = match text.trim().strip_prefix(DEMONSTRATION) {
            Some(hex) => (hex, "postledger demonstration", true),
            None => (text.trim(), "postledger", false),
        };
        let AddressHash(master) = serde_json::from_value(hex.into()).map_err(|_| KeyError::Malformed)?;
        let master = Zeroizing::new(master);
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt.as_bytes()).extract(master.as_ref());
        let fingerprint = digest::digest(&digest::SHA256, derive(&prk, b"id")?.as_ref());
        Ok(Self {
            id: fingerprint.as_ref()[..4].iter().map(|b| format!("{b:02x}")).collect(),
            is_demonstration,
            wrapping: RandomizedNonceKey::new(&AES_256_GCM, derive(&prk, b"wrap")?.as_ref())?,
            addresses: hmac::Key::new(hmac::HMAC_SHA256, derive(&prk, b"address")?.as_ref()),
            identities: hmac::Key::new(hmac::HMAC_SHA256, derive(&prk, b"identity")?.as_ref()),
            bodies: hmac::Key::new(hmac::HMAC_SHA256, derive(&prk, b"body")?.as_ref()),
        })
    }

    /// Names the key in what was made with it, so that a change of keys can be told from damage.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn is_demonstration(&self) -> bool {
        self.is_demonstration
    }

    pub fn address_hash(&self, address: &EmailAddress) -> AddressHash {
        AddressHash(tag(&self.addresses, address.canonical().as_bytes()))
    }

    /// As personal as an address, and no spelling of one: those have no space.
    pub fn network_hash(&self, network: Network) -> [u8; 32] {
        tag(&self.addresses, format!("network {network}").as_bytes())
    }

    /// Of a subject of an issuer (OpenID Connect Core section 2): together they are one person for ever.
    pub fn identity_hash(&self, issuer: &str, subject: &str) -> [u8; 32] {
        mac(&self.identities, &[issuer.as_bytes(), subject.as_bytes()])
    }

    /// Authenticates a request's body for the comparison of repeats.
    pub fn body_mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac(&self.bodies, parts)
    }

    /// A mac over a body that streams by.
    pub fn body_mac_stream(&self) -> hmac::Context {
        hmac::Context::with_key(&self.bodies)
    }

    /// Wraps `secret`, bound to `owner`.
    pub fn wrap(&self, owner: &[u8], secret: &Secret) -> Result<Vec<u8>, KeyError> {
        encrypt(&self.wrapping, owner, secret.as_ref())
    }

    pub fn unwrap(&self, master_key_id: &str, owner: &[u8], wrapped: &[u8]) -> Result<Secret, KeyError> {
        if master_key_id != self.id {
            return Err(KeyError::ForeignMaster(master_key_id.into()));
        }
        let secret = Zeroizing::new(decrypt(&self.wrapping, owner, wrapped)?);
        secret.as_slice().try_into().map(Zeroizing::new).map_err(|_| KeyError::Tampered)
    }
}

fn derive(prk: &hkdf::Prk, purpose: &'static [u8]) -> Result<Secret, KeyError> {
    let mut key = Zeroizing::new([0; 32]);
    prk.expand(&[purpose], hkdf::HKDF_SHA256)?.fill(key.as_mut())?;
    Ok(key)
}

/// `parts` are length-prefixed.
fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    to_array(context.sign().as_ref())
}

fn tag(key: &hmac::Key, data: &[u8]) -> [u8; 32] {
    to_array(hmac::sign(key, data).as_ref())
}

fn to_array(tag: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.copy_from_slice(tag);
    array
}

/// AES-256-GCM with a random nonce before the ciphertext.
pub(crate) fn encrypt(key: &RandomizedNonceKey, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut ciphertext = plain.to_vec();
    let nonce = key.seal_in_place_append_tag(Aad::from(aad), &mut ciphertext)?;
    let mut sealed = nonce.as_ref().to_vec();
    sealed.append(&mut ciphertext);
    Ok(sealed)
}

pub(crate) fn decrypt(key: &RandomizedNonceKey, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (nonce, ciphertext) = sealed.split_at_checked(NONCE_LEN).ok_or(KeyError::Tampered)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce)?;
    let mut plain = ciphertext.to_vec();
    let length = key.open_in_place(nonce, Aad::from(aad), &mut plain).map_err(|_| KeyError::Tampered)?.len();
    plain.truncate(length);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master() -> MasterKey {
        MasterKey::from_hex(&"ab".repeat(32)).unwrap()
    }

    #[test]
    fn a_wrapped_key_opens_for_its_owner_alone() {
        let secret = random_secret().unwrap();
        let wrapped = master().wrap(b"ana", &secret).unwrap();
        assert_eq!(master().unwrap(master().id(), b"ana", &wrapped).unwrap(), secret);
        assert_eq!(master().unwrap(master().id(), b"bob", &wrapped), Err(KeyError::Tampered));
        let foreign = KeyError::ForeignMaster("other".into());
        assert_eq!(master().unwrap("other", b"ana", &wrapped), Err(foreign));
    }

    #[test]
    fn spellings_of_an_address_hash_alike_and_keys_apart() {
        let hash = |hex: &str, address: &str| {
            MasterKey::from_hex(&hex.repeat(32)).unwrap().address_hash(&EmailAddress::parse(address).unwrap())
        };
        assert_eq!(hash("ab", "A@Example.com"), hash("ab", "a@example.com"));
        assert_ne!(hash("ab", "a@example.com"), hash("cd", "a@example.com"));
    }

    #[test]
    fn an_identity_is_its_issuer_and_its_subject() {
        let hash = |issuer: &str, subject: &str| master().identity_hash(issuer, subject);
        assert_eq!(hash("https://a", "1"), hash("https://a", "1"));
        assert_ne!(hash("https://a", "1"), hash("https://b", "1"));
        assert_ne!(hash("https://a", "1"), hash("https://a1", ""));
    }

    #[test]
    fn a_demonstrations_key_without_its_word_is_another_key() {
        let demonstration = MasterKey::from_hex(&format!("{DEMONSTRATION}{}\n", "ab".repeat(32))).unwrap();
        assert!(demonstration.is_demonstration() && !master().is_demonstration());
        assert_ne!(demonstration.id(), master().id());
        let wrapped = demonstration.wrap(b"ana", &random_secret().unwrap()).unwrap();
        assert_eq!(master().unwrap(master().id(), b"ana", &wrapped), Err(KeyError::Tampered));
    }

    #[test]
    fn a_short_master_key_is_refused() {
        assert_eq!(MasterKey::from_hex("abcd").map(|k| k.id().to_owned()), Err(KeyError::Malformed));
    }
}
