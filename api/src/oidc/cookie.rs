//! The cookie of a sign-in that is under way at a provider. It binds the provider's answer to the browser that began, and keeps
//! what only we may know until then: the nonce, the PKCE verifier, where the browser is sent back to. Sealed under a key
//! of its own purpose, so that it tells whoever reads it nothing, and passes for no other token, nor another for it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine};
use chrono::{DateTime, TimeDelta, Utc};
use eventstore::byte_key::ByteKey;
use eventstore::clock;
use eventstore::keys::KeyError;
use eventstore::service_keys::ServiceKey;
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// From the start until the answer of the provider is handed in.
pub(crate) const COOKIE_LIFE: TimeDelta = TimeDelta::minutes(10);
/// Browsers keep no larger ones (RFC 6265 section 6.1).
const MAX_BYTES: usize = 4_096;
const PLACE: &[u8] = b"oauth-state";

/// A sign-in that waits for the browser to come back.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Pending {
    pub provider: String,
    pub state: String,
    pub nonce: String,
    pub pkce_verifier: String,
    pub redirect_uri: String,
    #[zeroize(skip)]
    pub expires_at: DateTime<Utc>,
}

impl Pending {
    /// Whether this answer belongs to it.
    pub fn is_answered_by(&self, provider: &str, state: &str) -> bool {
        self.provider == provider
            && self.expires_at > clock::now()
            && verify_slices_are_equal(self.state.as_bytes(), state.as_bytes()).is_ok()
    }
}

/// Seals and opens the cookie.
pub(crate) struct Jar {
    /// Newest first: it seals, all of them open.
    keys: Vec<(String, ByteKey)>,
    is_secure: bool,
}

impl Jar {
    pub fn new(keys: Vec<ServiceKey>, is_secure: bool) -> Result<Self, KeyError> {
        let key = |key: ServiceKey| Ok((key.kid, ByteKey::new(&key.secret)?));
        Ok(Self { keys: keys.into_iter().map(key).collect::<Result<_, KeyError>>()?, is_secure })
    }

    /// By its prefix a browser takes it from our very host alone (RFC 6265bis section 4.1.3.2).
    fn name(&self) -> &'static str {
        if self.is_secure { "__Host-postledger-oauth" } else { "postledger-oauth" }
    }

    pub fn set(&self, pending: &Pending) -> Result<HeaderValue, KeyError> {
        let (kid, key) = self.keys.first().ok_or(KeyError::Destroyed)?;
        // Texts and a time cannot fail to be serialised.
        let mut plain = serde_json::to_vec(pending).unwrap_or_default();
        let sealed = key.seal(PLACE, &plain);
        plain.zeroize();
        let value = format!("{kid}.{}", BASE64.encode(sealed?));
        self.header(&value, COOKIE_LIFE.num_seconds())
    }

    /// Makes the browser forget it.
    pub fn clear(&self) -> Result<HeaderValue, KeyError> {
        self.header("", 0)
    }

    fn header(&self, value: &str, seconds: i64) -> Result<HeaderValue, KeyError> {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let text =
            format!("{}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}", self.name());
        let mut header = HeaderValue::try_from(text).map_err(|_| KeyError::Library)?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// The sign-in that this browser has begun, if it sent one cookie that is ours.
    pub fn open(&self, headers: &HeaderMap) -> Option<Pending> {
        let mut values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut ours = values.by_ref().flat_map(|value| value.split(';')).filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == self.name()).then_some(value)
        });
        let (value, None) = (ours.next()?, ours.next()) else { return None };
        if value.len() > MAX_BYTES {
            return None;
        }
        let (kid, sealed) = value.split_once('.')?;
        let (_, key) = self.keys.iter().find(|(known, _)| known == kid)?;
        let mut plain = key.open(PLACE, &BASE64.decode(sealed).ok()?).ok()?;
        let pending = serde_json::from_slice(&plain).ok();
        plain.zeroize();
        pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventstore::keys::Secret;

    fn jar(secret: u8, is_secure: bool) -> Jar {
        let key =
            ServiceKey { kid: "oauth-state-1".into(), secret: Secret::new([secret; 32]), age_seconds: 0 };
        Jar::new(vec![key], is_secure).unwrap()
    }

    fn pending() -> Pending {
        Pending {
            provider: "company".into(),
            state: "the-state".into(),
            nonce: "the-nonce".into(),
            pkce_verifier: "the-verifier".into(),
            redirect_uri: "https://app.example.com/back".into(),
            expires_at: clock::now() + COOKIE_LIFE,
        }
    }

    fn sent(jar: &Jar) -> HeaderMap {
        let set = jar.set(&pending()).unwrap();
        let pair = set.to_str().unwrap().split(';').next().unwrap();
        HeaderMap::from_iter([(header::COOKIE, format!("other=1; {pair}").parse().unwrap())])
    }

    #[test]
    fn a_browser_keeps_it_for_our_host_and_shows_it_to_no_script() {
        let set = jar(1, true).set(&pending()).unwrap();
        let set = set.to_str().unwrap();
        assert!(set.starts_with("__Host-postledger-oauth=oauth-state-1."), "{set}");
        assert!(set.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"), "{set}");
        assert!(set.len() < MAX_BYTES);
        for secret in ["the-state", "the-nonce", "the-verifier", "company"] {
            assert!(!set.contains(secret) && !set.contains(&BASE64.encode(secret)), "{set}");
        }
        let plain = jar(1, false).set(&pending()).unwrap();
        assert!(plain.to_str().unwrap().ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"));
    }

    #[test]
    fn it_opens_by_its_key_as_it_was_sealed() {
        let jar_of_ours = jar(1, true);
        let headers = sent(&jar_of_ours);
        assert_eq!(jar_of_ours.open(&headers).unwrap().nonce, "the-nonce");
        assert!(jar(2, true).open(&headers).is_none(), "another key");
        assert!(jar(1, false).open(&headers).is_none(), "another name");
        let mut twice = headers.clone();
        twice.append(header::COOKIE, headers[header::COOKIE].clone());
        assert!(jar_of_ours.open(&twice).is_none(), "who sets a second one cannot choose which counts");
        let text = headers[header::COOKIE].to_str().unwrap().to_owned();
        for bad in
            ["", "a=b", &text[..text.len() - 2], &text.replace("state-1.", "state-2."), &format!("{text}AA")]
        {
            let headers = HeaderMap::from_iter([(header::COOKIE, bad.parse().unwrap())]);
            assert!(jar_of_ours.open(&headers).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_answer_is_of_its_provider_its_state_and_its_time() {
        assert!(pending().is_answered_by("company", "the-state"));
        for (provider, state) in [("other", "the-state"), ("company", "the-stat"), ("company", "")] {
            assert!(!pending().is_answered_by(provider, state));
        }
        let mut old = pending();
        old.expires_at = clock::now();
        assert!(!old.is_answered_by("company", "the-state"));
    }
}
