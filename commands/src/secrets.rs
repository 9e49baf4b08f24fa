//! Random secrets that we give out and keep the hash of alone: 256 bits, so that SHA-256 without salt is enough.

use aws_lc_rs::digest;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine};
use eventstore::StoreError;
use eventstore::keys::random_secret;
use zeroize::Zeroizing;

/// A secret as its owner sees it, once.
pub struct Given {
    pub text: Zeroizing<String>,
    pub(crate) hash: [u8; 32],
}

/// `prefix` and 43 characters of base64url. The prefix tells people, and scanners for leaked secrets, what it is.
pub(crate) fn new(prefix: &str) -> Result<Given, StoreError> {
    let secret = random_secret()?;
    let text = Zeroizing::new(format!("{prefix}{}", BASE64.encode(secret.as_ref())));
    let hash = hash(&text);
    Ok(Given { text, hash })
}

pub(crate) fn hash(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_new_each_time_and_known_by_its_hash() {
        let (one, other) = (new("plk_").unwrap(), new("plk_").unwrap());
        assert_ne!(one.hash, other.hash);
        assert_eq!(hash(&one.text), one.hash);
        assert!(one.text.starts_with("plk_") && one.text.len() == 47);
    }
}
