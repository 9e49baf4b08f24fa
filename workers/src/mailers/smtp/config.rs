//! What an operator sets for the SMTP mailer.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lettre::transport::smtp::extension::ClientId;
use serde::Deserialize;

/// More connections than any one submission server lets a client have.
const CONNECTIONS_MAX: usize = 256;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmtpConfig {
    /// A host name or an IP address; the server's certificate must be made out to it.
    pub host: String,
    /// 587 for submission with STARTTLS, 465 with implicit TLS (RFC 8314), 25 or another for a local relay.
    pub port: u16,
    pub tls: TlsMode,
    /// A PEM file of the only certificate authorities to trust; without it, those of the system.
    pub ca_file: Option<PathBuf>,
    /// With it the mailer signs in by AUTH PLAIN or LOGIN (RFC 4954); never over plain text, unless to this machine.
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    /// Holds the password instead.
    pub password_file: Option<PathBuf>,
    /// What EHLO says: a domain, or an address literal in brackets (RFC 5321 section 4.1.4). Else the machine's name.
    pub ehlo_name: Option<String>,
    /// Connections open at once, which is also the number of calls: 1 to 256.
    pub connections: usize,
    /// A connection is closed after so many messages; servers often have a limit of 100.
    pub messages_per_connection: u32,
    /// 0: as many as the server takes.
    pub messages_per_second: u32,
    /// For all that comes before the first MAIL: connection, TLS, EHLO and sign-in.
    pub connect_timeout_seconds: u32,
    /// For the answer to one command.
    pub command_timeout_seconds: u32,
    /// For the body and the final answer. RFC 5321 section 4.5.3.2.6 asks for ten minutes; what is still open after this
    /// time is unknown, so shorter means more to decide, longer means a later reconciliation.
    pub message_timeout_seconds: u32,
}

impl Default for SmtpConfig {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            port: 587,
            tls: TlsMode::Required,
            ca_file: None,
            username: None,
            password: None,
            password_file: None,
            ehlo_name: None,
            connections: 8,
            messages_per_connection: 100,
            messages_per_second: 0,
            connect_timeout_seconds: 10,
            command_timeout_seconds: 10,
            message_timeout_seconds: 120,
        }
    }
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// TLS from the first byte (RFC 8314 section 3.3).
    Implicit,
    /// STARTTLS (RFC 3207), or no connection.
    Required,
    /// STARTTLS where the server offers it. Who can change the traffic can take the offer away; a certificate that is not
    /// trusted is an error here too.
    Opportunistic,
    /// Plain text: for a relay on this machine or in a network of its own.
    None,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What is wrong with the configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmtpConfigError {
    #[error("the smtp host is empty")]
    NoHost,
    #[error("smtp connections must be 1 to {CONNECTIONS_MAX}")]
    Connections,
    #[error("smtp messages_per_connection and every smtp time-out must be at least 1")]
    Zero,
    #[error("smtp username and password must both be set, or neither")]
    HalfSignIn,
    #[error("a password over plain text is only sent to this machine: set smtp tls to required or implicit")]
    PlainPassword,
    #[error("the smtp ehlo_name is neither a domain nor an address literal")]
    EhloName,
    #[error("the smtp ca_file holds no certificate that can be read")]
    CaFile,
    #[error("the smtp TLS settings can't be used: {0}")]
    Tls(String),
}

impl SmtpConfig {
    pub(super) fn check(&self) -> Result<(), SmtpConfigError> {
        if self.host.is_empty() {
            return Err(SmtpConfigError::NoHost);
        }
        if self.connections == 0 || self.connections > CONNECTIONS_MAX {
            return Err(SmtpConfigError::Connections);
        }
        let timeouts =
            [self.connect_timeout_seconds, self.command_timeout_seconds, self.message_timeout_seconds];
        if self.messages_per_connection == 0 || timeouts.contains(&0) {
            return Err(SmtpConfigError::Zero);
        }
        if self.username.is_some() != self.password.is_some() {
            return Err(SmtpConfigError::HalfSignIn);
        }
        if self.username.is_some() && self.tls == TlsMode::None && !self.is_this_machine() {
            return Err(SmtpConfigError::PlainPassword);
        }
        Ok(())
    }

    /// Whether plain text to this host stays on this machine.
    pub(super) fn is_this_machine(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }

    pub(super) fn client_id(&self) -> Result<ClientId, SmtpConfigError> {
        let Some(name) = &self.ehlo_name else { return Ok(ClientId::default()) };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        if name.is_empty() || !name.bytes().all(allowed) {
            return Err(SmtpConfigError::EhloName);
        }
        Ok(ClientId::Domain(name.clone()))
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        seconds(self.connect_timeout_seconds)
    }

    pub(super) fn command_timeout(&self) -> Duration {
        seconds(self.command_timeout_seconds)
    }

    pub(super) fn message_timeout(&self) -> Duration {
        seconds(self.message_timeout_seconds)
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed_in(tls: TlsMode, host: &str) -> SmtpConfig {
        SmtpConfig {
            tls,
            host: host.into(),
            username: Some(Secret::from("user".to_owned())),
            password: Some(Secret::from("hunter2".to_owned())),
            ..SmtpConfig::default()
        }
    }

    #[test]
    fn the_default_can_be_used() {
        assert_eq!(SmtpConfig::default().check(), Ok(()));
    }

    #[test]
    fn no_secret_is_printed() {
        let printed = format!("{:?}", signed_in(TlsMode::Required, "mx.example.org"));
        assert!(!printed.contains("hunter2") && !printed.contains("user\""), "{printed}");
    }

    #[test]
    fn a_password_needs_encryption_or_this_machine() {
        assert_eq!(signed_in(TlsMode::None, "mx.example.org").check(), Err(SmtpConfigError::PlainPassword));
        assert_eq!(signed_in(TlsMode::None, "127.0.0.1").check(), Ok(()));
        assert_eq!(signed_in(TlsMode::Required, "mx.example.org").check(), Ok(()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let config = SmtpConfig::default;
        assert_eq!(SmtpConfig { host: String::new(), ..config() }.check(), Err(SmtpConfigError::NoHost));
        assert_eq!(SmtpConfig { connections: 0, ..config() }.check(), Err(SmtpConfigError::Connections));
        assert_eq!(SmtpConfig { connections: 257, ..config() }.check(), Err(SmtpConfigError::Connections));
        assert_eq!(SmtpConfig { message_timeout_seconds: 0, ..config() }.check(), Err(SmtpConfigError::Zero));
        assert_eq!(SmtpConfig { messages_per_connection: 0, ..config() }.check(), Err(SmtpConfigError::Zero));
        let half = SmtpConfig { username: Some("user".to_owned().into()), ..config() };
        assert_eq!(half.check(), Err(SmtpConfigError::HalfSignIn));
        let injected = SmtpConfig { ehlo_name: Some("a\r\nMAIL FROM:<>".into()), ..config() };
        assert_eq!(injected.client_id(), Err(SmtpConfigError::EhloName));
    }
}
