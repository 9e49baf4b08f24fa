//! What the API has to be told.

use crate::limits::Limits;
use http::{HeaderValue, Uri};
use ipnet::IpNet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Bytes of a request's body in JSON.
pub(crate) const JSON_MAX_BYTES: usize = 1024 * 1024;
/// Of a template's, which is a whole mail.
pub(crate) const TEMPLATE_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Of a form on the unsubscribe page.
pub(crate) const FORM_MAX_BYTES: usize = 16 * 1024;

#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where readers and clients reach this API: links in mails, `Location` and the check of origins are made from it.
    pub public_url: PublicUrl,
    /// The sender's postal address, for previews. May have several lines.
    pub postal_address: Option<String>,
    /// The version of the words beside forms that subscribe; recorded with each request.
    pub consent_wording: Option<String>,
    /// Where a form that asked for a subscription leads. None: our own page.
    pub subscription_url: Option<String>,
    /// Events travel by Kafka: how far they are is a part of being ready.
    pub has_kafka: bool,
    /// Bytes of an import's body.
    pub import_max_bytes: u64,
    /// An upload that brings nothing for this long is given up.
    pub upload_idle: Duration,
    /// Any other body has to be there within this time.
    pub body_time: Duration,
    /// Everything else is given up after this time, streams of answers apart.
    pub request_timeout: Duration,
    /// How long a query waits until its read model has what `Postledger-Position` names.
    pub position_wait: Duration,
    /// Whose `Forwarded` and `X-Forwarded-For` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Pages of these origins may call from a browser.
    pub allowed_origins: Vec<Origin>,
    pub limits: Limits,
    /// A stream ends after this time, whatever it waits for: no longer than an access token opens anything.
    pub stream_lifetime: Duration,
    /// How often progress is looked at.
    pub progress_poll: Duration,
    /// How often a stream of progress shows that it lives.
    pub heartbeat: Duration,
}

impl ApiConfig {
    /// The contract's numbers, and defaults for the rest.
    pub fn new(public_url: PublicUrl) -> Self {
        Self {
            public_url,
            postal_address: None,
            consent_wording: None,
            subscription_url: None,
            has_kafka: false,
            import_max_bytes: 1024 * 1024 * 1024,
            upload_idle: Duration::from_secs(30),
            body_time: Duration::from_secs(15),
            request_timeout: Duration::from_secs(30),
            position_wait: Duration::from_secs(5),
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
            limits: Limits::default(),
            stream_lifetime: Duration::from_secs(600),
            progress_poll: Duration::from_millis(500),
            heartbeat: Duration::from_secs(15),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("the public URL must be absolute, http or https, without query and fragment")]
    PublicUrl,
    #[error(
        "an origin is https://host or https://host:port, in lower case, without a path and the port that goes without saying"
    )]
    Origin,
}

/// `https://mail.example.org` or with a path below which the API is mounted; kept without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    url: String,
    origin: String,
}

impl PublicUrl {
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The address of one of our paths.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.origin.starts_with("https://")
    }

    /// Whether a page at `url` is one of ours: scheme, host and port are the same (RFC 6454 section 5).
    pub(crate) fn is_same_origin(&self, url: &str) -> bool {
        origin(url).is_some_and(|origin| origin == self.origin)
    }
}

impl FromStr for PublicUrl {
    type Err = ConfigError;

    fn from_str(url: &str) -> Result<Self, ConfigError> {
        let origin = origin(url).filter(|_| !url.contains(['?', '#'])).ok_or(ConfigError::PublicUrl)?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), origin })
    }
}

/// As a browser writes it in `Origin` (RFC 6454 section 6.1): `https://app.example.org`, `http://localhost:5173`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Origin(HeaderValue);

impl Origin {
    pub(crate) fn value(&self) -> &HeaderValue {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parsed from a URL: it is ASCII.
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

impl TryFrom<String> for Origin {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        let whole = origin(&text).ok_or(ConfigError::Origin)?;
        let without_port = |port: &str| whole.strip_suffix(port).unwrap_or(&whole).to_owned();
        let written = match whole.starts_with("https://") {
            true => without_port(":443"),
            false => without_port(":80"),
        };
        match written == text {
            true => HeaderValue::from_str(&text).map(Self).map_err(|_| ConfigError::Origin),
            false => Err(ConfigError::Origin),
        }
    }
}

/// Scheme, host and port in one spelling.
fn origin(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let default_port = match uri.scheme_str()? {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
    let has_user = uri.authority()?.as_str().contains('@');
    let port = uri.port_u16().unwrap_or(default_port);
    (!has_user).then(|| format!("{}://{host}:{port}", uri.scheme_str().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_by_scheme_host_and_port() {
        let url: PublicUrl = "https://Mail.example.org/api/".parse().unwrap();
        assert_eq!(url.join("/groups"), "https://Mail.example.org/api/groups");
        for same in
            ["https://mail.example.org", "https://mail.example.org:443", "https://mail.example.org/x?y"]
        {
            assert!(url.is_same_origin(same), "{same}");
        }
        let foreign = [
            "null",
            "",
            "http://mail.example.org",
            "https://mail.example.org:8443",
            "https://mail.example.org.evil.example",
            "https://evil.example/mail.example.org",
            "https://mail.example.org@evil.example",
            "//mail.example.org",
        ];
        for foreign in foreign {
            assert!(!url.is_same_origin(foreign), "{foreign}");
        }
    }

    #[test]
    fn an_origin_is_written_as_browsers_do() {
        for fine in ["https://app.example.org", "http://localhost:5173", "https://app.example.org:8443"] {
            assert!(Origin::try_from(fine.to_owned()).is_ok(), "{fine}");
        }
        let bad = [
            "*",
            "null",
            "",
            "app.example.org",
            "https://app.example.org/",
            "https://App.example.org",
            "https://app.example.org:443",
            "http://app.example.org:80",
            "https://*.example.org/x",
        ];
        for bad in bad {
            assert_eq!(Origin::try_from(bad.to_owned()), Err(ConfigError::Origin), "{bad}");
        }
    }

    #[test]
    fn streams_end_with_the_token_that_opened_them() {
        let config = ApiConfig::new("https://a.example".parse().unwrap());
        assert!(config.stream_lifetime.as_secs() <= crate::tokens::LIFE_SECONDS.unsigned_abs());
    }

    #[test]
    fn a_public_url_is_absolute() {
        for bad in [
            "",
            "/x",
            "mail.example.org",
            "ftp://example.org",
            "https://a/?b",
            "https://a/#b",
            "https://u@a/",
        ] {
            assert_eq!(bad.parse::<PublicUrl>(), Err(ConfigError::PublicUrl), "{bad}");
        }
    }
}
