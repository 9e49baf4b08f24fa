//! A key for bytes that belong to no person's stream: an import's spooled body and its rejected rows.

use crate::keys::{KeyError, Secret, decrypt, encrypt};
use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};

/// AES-256-GCM with a random nonce before each ciphertext.
pub struct ByteKey(RandomizedNonceKey);

impl ByteKey {
    pub fn new(secret: &Secret) -> Result<Self, KeyError> {
        Ok(Self(RandomizedNonceKey::new(&AES_256_GCM, secret.as_ref())?))
    }

    /// Sealed bytes open in their `place` alone.
    pub fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        encrypt(&self.0, place, plain)
    }

    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        decrypt(&self.0, place, sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_open_in_their_place_alone() {
        let key = ByteKey::new(&Secret::new([7; 32])).unwrap();
        let sealed = key.seal(b"chunk 1", b"Ana").unwrap();
        assert_eq!(key.open(b"chunk 1", &sealed).unwrap(), b"Ana");
        assert_eq!(key.open(b"chunk 2", &sealed), Err(KeyError::Tampered));
        let other = ByteKey::new(&Secret::new([8; 32])).unwrap();
        assert_eq!(other.open(b"chunk 1", &sealed), Err(KeyError::Tampered));
    }
}
