//! One provider: what it publishes, where it sends a browser, and whom it confirms.

use super::ProviderConfig;
use super::cookie::{COOKIE_LIFE, Pending};
use super::http::{Asker, HttpError};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine};
use commands::Identity;
use domain::EmailAddress;
use eventstore::clock;
use eventstore::keys::{KeyError, random_secret};
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreErrorResponseType, CoreIdTokenClaims, CoreIdTokenVerifier,
    CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreTokenResponse, CoreUserInfoClaims,
};
use openidconnect::{
    AccessToken, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError, TokenResponse,
};
use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Semaphore};

/// What a provider publishes is asked for anew when it is so old; until it answers, the old goes on.
const REDISCOVER_AFTER: Duration = Duration::from_secs(3600);
/// A provider that did not answer, or signs by a key that it did not publish, is not asked more often.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Of metadata and keys together.
const DISCOVERY_TIME: Duration = Duration::from_secs(8);
/// Codes that are redeemed at once: a provider that is slow must not gather requests.
const CALLS_MAX: usize = 32;
/// OpenID Connect Core section 2.
const SUBJECT_MAX_BYTES: usize = 255;

/// None that a client secret could sign: whoever knows it must not be everybody.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProviderError {
    /// It does not answer, or not as a provider does.
    Unavailable,
    /// It does not confirm this code, or not for this sign-in.
    Refused,
}

/// A sign-in that has begun: where the browser goes, and what it keeps.
pub(crate) struct Begun {
    pub authorization_url: String,
    pub pending: Pending,
}

pub(crate) struct Provider {
    config: ProviderConfig,
    asker: Asker,
    published: RwLock<Option<Arc<Published>>>,
    /// When it was asked last; who holds it asks.
    asked: Mutex<Option<Instant>>,
    calls: Semaphore,
}

struct Published {
    client: Client,
    at: Instant,
}

impl Provider {
    pub fn new(config: ProviderConfig, http: reqwest::Client) -> Self {
        let calls = Semaphore::new(CALLS_MAX);
        let asker = Asker(http);
        Self { config, asker, published: RwLock::default(), asked: Mutex::default(), calls }
    }

    pub fn is_issuer(&self, iss: &str) -> bool {
        self.config.issuer == iss
    }

    /// To the letter (RFC 9700 section 4.1.3).
    pub fn sends_back_to(&self, redirect_uri: &str) -> bool {
        self.config.redirect_uris.iter().any(|known| known == redirect_uri)
    }

    /// State, nonce and PKCE verifier have 256 random bits each.
    pub async fn begin(&self, redirect_uri: &str) -> Result<Begun, ProviderError> {
        let published = self.published(REDISCOVER_AFTER).await?;
        let pending = self.pending(redirect_uri).map_err(|error| {
            tracing::error!(%error, "no random numbers");
            ProviderError::Unavailable
        })?;
        let verifier = PkceCodeVerifier::new(pending.pkce_verifier.clone());
        let (state, nonce) = (pending.state.clone(), pending.nonce.clone());
        let (url, _, _) = published
            .client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                || CsrfToken::new(state),
                || Nonce::new(nonce),
            )
            .add_scope(Scope::new("email".to_owned()))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .set_redirect_uri(Cow::Owned(redirect_url(redirect_uri)?))
            .url();
        Ok(Begun { authorization_url: url.into(), pending })
    }

    fn pending(&self, redirect_uri: &str) -> Result<Pending, KeyError> {
        let random = || Ok::<_, KeyError>(BASE64.encode(random_secret()?.as_ref()));
        Ok(Pending {
            provider: self.config.name.clone(),
            state: random()?,
            nonce: random()?,
            pkce_verifier: random()?,
            redirect_uri: redirect_uri.to_owned(),
            expires_at: clock::now() + COOKIE_LIFE,
        })
    }

    /// Redeems the code for an ID token, and reads who came.
    pub async fn confirm(&self, code: &str, pending: &Pending) -> Result<Identity, ProviderError> {
        let _call = self.calls.try_acquire().map_err(|_| ProviderError::Unavailable)?;
        let published = self.published(REDISCOVER_AFTER).await?;
        let tokens = self.redeem(&published.client, code, pending).await?;
        let claims = self.verify(&published, &tokens, &Nonce::new(pending.nonce.clone())).await?;
        let subject = claims.subject().as_str();
        if subject.is_empty() || subject.len() > SUBJECT_MAX_BYTES {
            return Err(self.refused("its subject is empty or too long"));
        }
        let verified_address = match claims.email() {
            Some(email) => self.verified(email, claims.email_verified()),
            None => self.ask_for_address(&published.client, tokens.access_token().clone(), &claims).await?,
        };
        Ok(Identity {
            provider: self.config.name.clone(),
            issuer: self.config.issuer.clone(),
            subject: subject.to_owned(),
            verified_address,
        })
    }

    async fn redeem(
        &self,
        client: &Client,
        code: &str,
        pending: &Pending,
    ) -> Result<CoreTokenResponse, ProviderError> {
        let request = client.exchange_code(AuthorizationCode::new(code.to_owned()));
        let request = request.map_err(|_| self.unavailable("it publishes no token endpoint"))?;
        let answer = request
            .set_pkce_verifier(PkceCodeVerifier::new(pending.pkce_verifier.clone()))
            .set_redirect_uri(Cow::Owned(redirect_url(&pending.redirect_uri)?))
            .request_async(&self.asker)
            .await;
        answer.map_err(|error| match error {
            RequestTokenError::ServerResponse(refusal) => match refusal.error() {
                CoreErrorResponseType::InvalidClient | CoreErrorResponseType::UnauthorizedClient => {
                    self.unavailable("it does not know us by this client_id and secret")
                }
                error => self.refused(match error {
                    CoreErrorResponseType::InvalidGrant => {
                        "the provider does not take the code: invalid_grant"
                    }
                    CoreErrorResponseType::InvalidRequest => {
                        "the provider does not take the code: invalid_request"
                    }
                    // Its own words could be anything.
                    _ => "the provider does not take the code",
                }),
            },
            RequestTokenError::Request(error) => self.unavailable(&error.to_string()),
            // What it said may hold a token.
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                self.unavailable("its token endpoint did not answer as one")
            }
        })
    }

    /// Signature, issuer, audience, time, nonce. A key that is not known may be a new one.
    async fn verify(
        &self,
        published: &Published,
        tokens: &CoreTokenResponse,
        nonce: &Nonce,
    ) -> Result<CoreIdTokenClaims, ProviderError> {
        let Some(token) = tokens.id_token() else { return Err(self.refused("it sent no ID token")) };
        let verify = |client: &Client| {
            let claims = token.claims(&self.verifier(client), nonce)?;
            Ok::<_, ClaimsVerificationError>(claims.clone())
        };
        let claims = match verify(&published.client) {
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            )) => verify(&self.published(RETRY_AFTER).await?.client),
            other => other,
        };
        let claims = claims.map_err(|error| {
            tracing::warn!(provider = self.config.name, %error, "an ID token is not valid");
            ProviderError::Refused
        })?;
        let is_ours = |party: &str| party == self.config.client_id;
        match claims.authorized_party() {
            Some(party) if !is_ours(party) => Err(self.refused("the ID token's azp is another client")),
            _ => Ok(claims),
        }
    }

    fn verifier<'a>(&self, client: &'a Client) -> CoreIdTokenVerifier<'a> {
        let latest = clock::now() + chrono::TimeDelta::minutes(1);
        let verifier = client.id_token_verifier().set_allowed_algs(ALGORITHMS).set_time_fn(clock::now);
        verifier.set_issue_time_verifier_fn(move |issued_at| match issued_at <= latest {
            true => Ok(()),
            false => Err("issued in the future".to_owned()),
        })
    }

    /// Some providers tell addresses at their userinfo endpoint alone (OpenID Connect Core section 5.4).
    async fn ask_for_address(
        &self,
        client: &Client,
        token: AccessToken,
        claims: &CoreIdTokenClaims,
    ) -> Result<Option<EmailAddress>, ProviderError> {
        let Ok(request) = client.user_info(token, Some(claims.subject().clone())) else {
            self.tell("its ID token has no address, and it has no userinfo endpoint");
            return Ok(None);
        };
        let told: CoreUserInfoClaims = request
            .request_async(&self.asker)
            .await
            .map_err(|_| self.unavailable("its userinfo endpoint did not answer as one"))?;
        match told.email() {
            Some(email) => Ok(self.verified(email, told.email_verified())),
            None => {
                self.tell("it tells no address");
                Ok(None)
            }
        }
    }

    /// What the provider publishes, not older than so, or as old as it is where the provider does not answer.
    async fn published(&self, max_age: Duration) -> Result<Arc<Published>, ProviderError> {
        let is_fresh = |published: &Arc<Published>| published.at.elapsed() < max_age;
        if let Some(published) = self.read().filter(is_fresh) {
            return Ok(published);
        }
        let mut asked = self.asked.lock().await;
        // Whoever waited finds what the first was told, or that it was told nothing.
        let present = self.read();
        let is_too_soon = asked.is_some_and(|at| at.elapsed() < RETRY_AFTER);
        if is_too_soon || present.as_ref().is_some_and(is_fresh) {
            return present.ok_or(ProviderError::Unavailable);
        }
        let found = tokio::time::timeout(DISCOVERY_TIME, self.discover()).await;
        *asked = Some(Instant::now());
        match found.unwrap_or_else(|_| Err(self.unavailable("it took too long"))) {
            Ok(client) => {
                let published = Arc::new(Published { client, at: Instant::now() });
                *self.published.write().unwrap_or_else(PoisonError::into_inner) = Some(published.clone());
                Ok(published)
            }
            Err(error) => present.ok_or(error),
        }
    }

    fn read(&self) -> Option<Arc<Published>> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn discover(&self) -> Result<Client, ProviderError> {
        let issuer = IssuerUrl::new(self.config.issuer.clone()).map_err(|_| ProviderError::Unavailable)?;
        // That it names the same issuer is checked by the library.
        let metadata = CoreProviderMetadata::discover_async(issuer, &self.asker).await;
        let metadata = metadata.map_err(|error| match error {
            openidconnect::DiscoveryError::Request(HttpError::Client(error)) => {
                self.unavailable(&error.to_string())
            }
            other => self.unavailable(&other.to_string()),
        })?;
        let takes_basic = metadata.token_endpoint_auth_methods_supported().is_none_or(|methods| {
            methods.contains(&openidconnect::core::CoreClientAuthMethod::ClientSecretBasic)
        });
        let secret = self.config.client_secret.as_ref().map(|secret| ClientSecret::new(secret.to_string()));
        let client = CoreClient::from_provider_metadata(
            metadata,
            ClientId::new(self.config.client_id.clone()),
            secret,
        );
        Ok(client.set_auth_type(if takes_basic { AuthType::BasicAuth } else { AuthType::RequestBody }))
    }

    fn verified(&self, email: &str, is_verified: Option<bool>) -> Option<EmailAddress> {
        let verified = verified(email, is_verified, &self.config.trusted_domains);
        verified.inspect_err(|reason| self.tell(reason)).ok()
    }

    /// Operators see why, visitors do not; nothing of theirs is in it.
    fn tell(&self, reason: &'static str) {
        tracing::warn!(provider = self.config.name, reason, "a sign-in at a provider brings nobody");
    }

    fn refused(&self, reason: &'static str) -> ProviderError {
        self.tell(reason);
        ProviderError::Refused
    }

    fn unavailable(&self, reason: &str) -> ProviderError {
        tracing::warn!(provider = self.config.name, reason, "a provider of sign-ins is not available");
        ProviderError::Unavailable
    }
}

fn redirect_url(uri: &str) -> Result<RedirectUrl, ProviderError> {
    RedirectUrl::new(uri.to_owned()).map_err(|_| ProviderError::Refused)
}

/// The address, or why it is nobody's. A provider that says nothing is believed where the configuration believes it; one that says no
/// never.
fn verified(
    email: &str,
    is_verified: Option<bool>,
    trusted_domains: &[String],
) -> Result<EmailAddress, &'static str> {
    let address = EmailAddress::parse(email).map_err(|_| "the address that it tells is none")?;
    let is_trusted = trusted_domains.iter().any(|domain| domain == address.domain());
    match is_verified {
        Some(true) => Ok(address),
        Some(false) => Err("it says that the address is not verified"),
        None if is_trusted => Ok(address),
        None => Err("it does not say email_verified, and the address's domain is not in trusted_domains"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_nothing_is_believed_about_trusted_domains_alone() {
        let trusted = ["example.com".to_owned()];
        let is_taken = |email, said| verified(email, said, &trusted).is_ok();
        assert!(is_taken("ana@elsewhere.example", Some(true)));
        assert!(is_taken("Ana@EXAMPLE.com", None));
        assert!(!is_taken("ana@example.com", Some(false)));
        assert!(!is_taken("ana@elsewhere.example", None));
        assert!(!is_taken("ana@mail.example.com", None));
        assert!(verified("ana@example.com", None, &[]).is_err());
    }

    #[test]
    fn a_provider_may_say_it_as_text() {
        let claims = |verified: &str| -> CoreUserInfoClaims {
            let json = format!(r#"{{"sub": "1", "email": "ana@example.com", "email_verified": {verified}}}"#);
            CoreUserInfoClaims::from_json::<std::io::Error>(json.as_bytes(), None).unwrap()
        };
        for (json, said) in [("true", true), ("\"true\"", true), ("false", false), ("\"false\"", false)] {
            assert_eq!(claims(json).email_verified(), Some(said), "{json}");
        }
    }
}
