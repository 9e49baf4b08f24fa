//! From a socket to a session that can take a message: TLS, EHLO, sign-in.

use std::error::Error as _;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::commands::Ehlo;
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::config::{SmtpConfig, SmtpConfigError, TlsMode};
use super::gate::{Gate, Gated};
use super::session::Session;

/// Why there is no session: the step, and the server's code or our own words. Never the server's text.
#[derive(Debug)]
pub(super) struct NoSession {
    step: &'static str,
    pub code: Option<u16>,
    detail: String,
}

impl fmt::Display for NoSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{}: the server answered {code}", self.step),
            None => write!(f, "{}: {}", self.step, self.detail),
        }
    }
}

impl NoSession {
    fn new(step: &'static str, detail: impl Into<String>) -> Self {
        Self { step, code: None, detail: detail.into() }
    }

    fn of(step: &'static str, error: &Error) -> Self {
        let code = error.status().map(u16::from);
        let detail = match error.source() {
            // A parse error may quote what the server said.
            Some(cause) if !error.is_response() => cause.to_string(),
            _ => "an answer that is not SMTP".to_owned(),
        };
        Self { step, code, detail }
    }
}

/// How sessions are opened.
#[derive(Debug)]
pub(super) struct Connector {
    host: String,
    port: u16,
    encryption: Encryption,
    credentials: Option<Credentials>,
    hello: ClientId,
    is_this_machine: bool,
}

enum Encryption {
    Plain,
    StartTls { parameters: TlsParameters, required: bool },
    Implicit { connector: TlsConnector, name: ServerName<'static> },
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::StartTls { .. } => "StartTls",
            Self::Implicit { .. } => "Implicit",
        })
    }
}

impl Connector {
    /// Reads the certificate authorities: blocks.
    pub(super) fn new(config: &SmtpConfig) -> Result<Self, SmtpConfigError> {
        let credentials = config.username.as_ref().zip(config.password.as_ref());
        Ok(Self {
            host: config.host.clone(),
            port: config.port,
            encryption: Encryption::new(config)?,
            credentials: credentials
                .map(|(name, word)| Credentials::new(name.expose().to_owned(), word.expose().to_owned())),
            hello: config.client_id()?,
            is_this_machine: config.is_this_machine(),
        })
    }

    pub(super) async fn open(&self, limit: Duration) -> Result<Session, NoSession> {
        match timeout(limit, Box::pin(self.dial())).await {
            Ok(session) => session,
            Err(_elapsed) => Err(NoSession::new("connect", "no session within the time-out")),
        }
    }

    async fn dial(&self) -> Result<Session, NoSession> {
        let socket = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| NoSession::new("connect", error.to_string()))?;
        // Commands are small and wait for their answers.
        socket.set_nodelay(true).map_err(|error| NoSession::new("connect", error.to_string()))?;
        let gate = Gate::new();
        let (mut connection, encrypted) = self.greet(Gated::new(socket, gate.clone())).await?;
        let size_max = self.ask_size(&mut connection).await?;
        self.sign_in(&mut connection, encrypted).await?;
        Ok(Session::new(connection, gate, size_max))
    }

    async fn greet(&self, socket: Gated<TcpStream>) -> Result<(AsyncSmtpConnection, bool), NoSession> {
        let stream: Box<dyn AsyncTokioStream> = match &self.encryption {
            Encryption::Implicit { connector, name } => {
                let encrypted = connector.connect(name.clone(), socket).await;
                let encrypted = encrypted.map_err(|error| NoSession::new("TLS", error.to_string()))?;
                Box::new(Gated::new(encrypted, Gate::new()))
            }
            Encryption::StartTls { .. } | Encryption::Plain => Box::new(socket),
        };
        let mut connection = AsyncSmtpConnection::connect_with_transport(stream, &self.hello)
            .await
            .map_err(|error| NoSession::of("greeting", &error))?;
        let encrypted = match &self.encryption {
            Encryption::Plain => false,
            Encryption::Implicit { .. } => true,
            Encryption::StartTls { parameters, required } => {
                self.start_tls(&mut connection, parameters, *required).await?
            }
        };
        Ok((connection, encrypted))
    }

    async fn start_tls(
        &self,
        connection: &mut AsyncSmtpConnection,
        parameters: &TlsParameters,
        required: bool,
    ) -> Result<bool, NoSession> {
        if !connection.can_starttls() {
            let missing = NoSession::new("STARTTLS", "the server does not offer it");
            return if required { Err(missing) } else { Ok(false) };
        }
        connection
            .starttls(parameters.clone(), &self.hello)
            .await
            .map_err(|error| NoSession::of("STARTTLS", &error))?;
        Ok(true)
    }

    /// The largest message that the server takes (RFC 1870). lettre does not keep it, so EHLO is said once more: after
    /// TLS and before the sign-in, where RFC 5321 section 4.1.4 allows that.
    async fn ask_size(&self, connection: &mut AsyncSmtpConnection) -> Result<Option<u64>, NoSession> {
        let answer = connection.command(Ehlo::new(self.hello.clone())).await;
        let answer = answer.map_err(|error| NoSession::of("EHLO", &error))?;
        Ok(answer.message().find_map(size_max))
    }

    async fn sign_in(&self, connection: &mut AsyncSmtpConnection, encrypted: bool) -> Result<(), NoSession> {
        let Some(credentials) = &self.credentials else { return Ok(()) };
        if !encrypted && !self.is_this_machine {
            return Err(NoSession::new("AUTH", "a password is not sent over plain text"));
        }
        let answer = connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await;
        let answer = answer.map_err(|error| NoSession::of("AUTH", &error))?;
        // RFC 4954 section 6; anything else means that answers and commands are out of step.
        if answer.has_code(235) { Ok(()) } else { Err(NoSession::new("AUTH", "an answer out of turn")) }
    }
}

/// `SIZE 10485760`; a bare `SIZE` or a 0 sets no limit (RFC 1870 section 4).
fn size_max(line: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|word| word.eq_ignore_ascii_case("SIZE"))?;
    words.next()?.parse().ok().filter(|bytes| *bytes > 0)
}

impl Encryption {
    fn new(config: &SmtpConfig) -> Result<Self, SmtpConfigError> {
        match config.tls {
            TlsMode::None => Ok(Self::Plain),
            TlsMode::Implicit => implicit(config),
            TlsMode::Required | TlsMode::Opportunistic => Ok(Self::StartTls {
                parameters: starttls_parameters(config)?,
                required: config.tls == TlsMode::Required,
            }),
        }
    }
}

fn starttls_parameters(config: &SmtpConfig) -> Result<TlsParameters, SmtpConfigError> {
    let mut parameters = TlsParameters::builder(config.host.clone());
    if let Some(file) = &config.ca_file {
        authorities(file)?;
        let pem = std::fs::read(file).map_err(|_| SmtpConfigError::CaFile)?;
        let certificate = Certificate::from_pem(&pem).map_err(|_| SmtpConfigError::CaFile)?;
        parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    parameters.build_rustls().map_err(tls_error)
}

fn implicit(config: &SmtpConfig) -> Result<Encryption, SmtpConfigError> {
    let mut roots = RootCertStore::empty();
    match &config.ca_file {
        Some(file) => {
            for authority in authorities(file)? {
                roots.add(authority).map_err(|_| SmtpConfigError::CaFile)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls_error)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Encryption::Implicit {
        connector: TlsConnector::from(Arc::new(client)),
        name: ServerName::try_from(config.host.clone()).map_err(tls_error)?,
    })
}

fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, SmtpConfigError> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|_| SmtpConfigError::CaFile);
    certificates.and_then(|all| if all.is_empty() { Err(SmtpConfigError::CaFile) } else { Ok(all) })
}

fn tls_error(error: impl fmt::Display) -> SmtpConfigError {
    SmtpConfigError::Tls(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_size_that_a_server_announces() {
        assert_eq!(size_max("SIZE 35882577"), Some(35_882_577));
        assert_eq!(size_max("size 10"), Some(10));
        for none in ["SIZE", "SIZE 0", "SIZE x", "SIZES 10", "PIPELINING", ""] {
            assert_eq!(size_max(none), None, "{none}");
        }
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        for tls in [TlsMode::Implicit, TlsMode::Required] {
            let config = SmtpConfig { tls, ca_file: Some("/dev/null".into()), ..SmtpConfig::default() };
            assert_eq!(Connector::new(&config).unwrap_err(), SmtpConfigError::CaFile);
        }
    }
}
