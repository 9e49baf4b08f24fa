//! Signing in by OpenID Connect: the code flow with PKCE (RFC 9700 section 2.1.1), at providers found by discovery.
//!
//! What a sign-in waits for while the browser is at the provider is in a cookie of the browser that began it, sealed
//! ([`cookie`]). What binds an answer to its provider (mix-up, RFC 9700 section 4.4): the cookie names the provider, no two
//! providers share a redirect URI, and the frontend may hand on the answer's `iss` (RFC 9207).

mod cookie;
mod http;
mod provider;

pub(crate) use cookie::Jar;
pub(crate) use provider::{Provider, ProviderError};

use eventstore::keys::KeyError;
use eventstore::service_keys::ServiceKey;
use std::collections::{BTreeMap, BTreeSet};
use zeroize::Zeroizing;

/// What the keys of the cookie are for, in `service_keys`.
pub const OAUTH_STATE_KEYS: &str = "oauth-state";

/// Bytes of a redirect URI: it has to fit into the cookie.
const REDIRECT_URI_MAX_BYTES: usize = 1_000;
const NAME_MAX_BYTES: usize = 50;

/// One provider, as an operator has registered us there.
pub struct ProviderConfig {
    /// In our paths and events: lower-case letters, digits and `-`.
    pub name: String,
    /// Its issuer identifier, to the letter. https, or http on this machine.
    pub issuer: String,
    pub client_id: String,
    /// None: a public client, which PKCE alone protects.
    pub client_secret: Option<Zeroizing<String>>,
    /// Where the frontend may be sent back to, each to the letter; no other provider has any of them.
    pub redirect_uris: Vec<String>,
    /// Domains whose addresses are taken for verified where it does not say `email_verified`, in lower case.
    pub trusted_domains: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderConfigError {
    #[error("{0}: a provider's name has 1 to {NAME_MAX_BYTES} lower-case letters, digits and -")]
    Name(String),
    #[error("{0}: issuer has to be an https URL without query and fragment; http only on this machine")]
    Issuer(String),
    #[error("{0}: client_id is empty")]
    ClientId(String),
    #[error("{0}: redirect_uris is empty")]
    NoRedirectUri(String),
    #[error(
        "{name}: redirect_uris: {uri} has to be an https URL without fragment; http only on this machine"
    )]
    RedirectUri { name: String, uri: String },
    #[error("redirect_uris: {0} is used twice: each provider needs its own, or one could pass for another")]
    SharedRedirectUri(String),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("no HTTP client: {0}")]
    Client(String),
}

/// All of them, by name.
pub struct Providers {
    by_name: BTreeMap<String, Provider>,
    jar: Jar,
}

impl Providers {
    /// `keys` seal the cookie, newest first; `public_url` says whether it is for TLS alone.
    pub fn new(
        configs: Vec<ProviderConfig>,
        keys: Vec<ServiceKey>,
        public_url: &str,
    ) -> Result<Self, ProviderConfigError> {
        Self::check(&configs)?;
        let client = http::client().map_err(|error| ProviderConfigError::Client(error.to_string()))?;
        let by_name =
            configs.into_iter().map(|config| (config.name.clone(), Provider::new(config, client.clone())));
        Ok(Self { by_name: by_name.collect(), jar: Jar::new(keys, public_url.starts_with("https://"))? })
    }

    /// Whether they can be used together.
    pub fn check(configs: &[ProviderConfig]) -> Result<(), ProviderConfigError> {
        check(configs)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Provider> {
        self.by_name.get(name)
    }

    pub(crate) fn jar(&self) -> &Jar {
        &self.jar
    }
}

fn check(configs: &[ProviderConfig]) -> Result<(), ProviderConfigError> {
    let mut uris = BTreeSet::new();
    for config in configs {
        let name = || config.name.clone();
        let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=NAME_MAX_BYTES).contains(&config.name.len()) || !config.name.bytes().all(is_word) {
            return Err(ProviderConfigError::Name(name()));
        }
        if !http::is_fit(&config.issuer) || config.issuer.contains(['?', '#']) {
            return Err(ProviderConfigError::Issuer(name()));
        }
        if config.client_id.is_empty() {
            return Err(ProviderConfigError::ClientId(name()));
        }
        if config.redirect_uris.is_empty() {
            return Err(ProviderConfigError::NoRedirectUri(name()));
        }
        for uri in &config.redirect_uris {
            if !http::is_fit(uri) || uri.contains('#') || uri.len() > REDIRECT_URI_MAX_BYTES {
                return Err(ProviderConfigError::RedirectUri { name: name(), uri: uri.clone() });
            }
            if !uris.insert(uri) {
                return Err(ProviderConfigError::SharedRedirectUri(uri.clone()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, issuer: &str, uris: &[&str]) -> ProviderConfig {
        ProviderConfig {
            name: name.into(),
            issuer: issuer.into(),
            client_id: "client".into(),
            client_secret: None,
            redirect_uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
            trusted_domains: Vec::new(),
        }
    }

    #[test]
    fn what_a_provider_needs_is_checked() {
        let fine = || config("company", "https://id.example.com", &["https://app.example.com/back"]);
        assert_eq!(check(&[fine()]), Ok(()));
        assert_eq!(
            check(&[config("local", "http://127.0.0.1:3000", &["http://localhost:5173/x?y=1"])]),
            Ok(())
        );
        for name in ["", "A", "a_b", "ä", "a/b"] {
            let bad = config(name, "https://id.example.com", &["https://app.example.com/"]);
            assert_eq!(check(&[bad]), Err(ProviderConfigError::Name(name.into())));
        }
        for issuer in
            ["", "id.example.com", "http://id.example.com", "https://id.example.com?a", "https://a/#b"]
        {
            let bad = config("a", issuer, &["https://app.example.com/"]);
            assert_eq!(check(&[bad]), Err(ProviderConfigError::Issuer("a".into())), "{issuer}");
        }
        for uri in ["/back", "http://app.example.com/", "https://app.example.com/#x", "javascript:alert(1)"] {
            let bad = config("a", "https://id.example.com", &[uri]);
            let expected = ProviderConfigError::RedirectUri { name: "a".into(), uri: uri.into() };
            assert_eq!(check(&[bad]), Err(expected));
        }
        let none = config("a", "https://id.example.com", &[]);
        assert_eq!(check(&[none]), Err(ProviderConfigError::NoRedirectUri("a".into())));
    }

    /// Where an answer arrived says whose it is.
    #[test]
    fn no_two_providers_share_a_redirect_uri() {
        let uri = "https://app.example.com/back";
        let two =
            [config("a", "https://a.example.com", &[uri]), config("b", "https://b.example.com", &[uri])];
        assert_eq!(check(&two), Err(ProviderConfigError::SharedRedirectUri(uri.into())));
    }
}
