//! DKIM signatures (RFC 6376) by the keys of our sending domains.

use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::{DkimSigner, Done};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use std::path::PathBuf;

/// RFC 8301 section 3.2: signers should use 2048 bits, and verifiers need not take more than 4096.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// What a signature covers, each once more than a message has it, so that nobody can add one (RFC 6376 section 8.15):
/// verifiers look from the bottom, many mail programs show the top. RFC 8058 section 4 asks for the two that unsubscribe.
const SIGNED: [&str; 11] = [
    "From",
    "Reply-To",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];

/// A key for the mails of one domain. A domain may have several: RSA for everybody, Ed25519 beside it (RFC 8463).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DkimConfig {
    /// Of the address in `From`, in A-labels; its subdomains are signed as well.
    pub domain: String,
    /// The public key is the TXT record `<selector>._domainkey.<domain>`.
    pub selector: String,
    /// A private key as PEM: RSA of 2048 to 4096 bits, or Ed25519 (PKCS #8).
    pub key_file: PathBuf,
}

impl DkimConfig {
    /// Whether mails from addresses of this host get its signature.
    pub fn signs(&self, host: &str) -> bool {
        is_below(&self.domain.to_ascii_lowercase(), &host.to_ascii_lowercase())
    }
}

/// The domain itself, or a subdomain.
fn is_below(domain: &str, host: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

#[derive(Debug, thiserror::Error)]
pub enum DkimError {
    #[error("dkim: {domain}: {reason}")]
    Config { domain: String, reason: String },
    #[error("a message could not be signed")]
    Signing,
}

struct Signer {
    domain: String,
    signer: DkimSigner<DkimKey, Done>,
}

/// The signers of all domains; without any, nothing is signed.
#[derive(Default)]
pub struct Dkim(Vec<Signer>);

impl Dkim {
    pub fn new(configs: &[DkimConfig]) -> Result<Self, DkimError> {
        configs.iter().map(Signer::new).collect::<Result<_, _>>().map(Self)
    }

    /// Puts a signature in front for each key of the sender's domain.
    pub fn sign(&self, from: &str, message: Vec<u8>) -> Result<Vec<u8>, DkimError> {
        let host = from.rsplit_once('@').map_or("", |(_, host)| host).to_ascii_lowercase();
        let mut headers = String::new();
        for signer in self.0.iter().filter(|signer| is_below(&signer.domain, &host)) {
            let signature = signer.signer.sign(&message).map_err(|_| DkimError::Signing)?;
            headers.push_str(&signature.to_header());
        }
        Ok(match headers.is_empty() {
            true => message,
            false => [headers.as_bytes(), &message].concat(),
        })
    }
}

impl Signer {
    fn new(config: &DkimConfig) -> Result<Self, DkimError> {
        let domain = config.domain.to_ascii_lowercase();
        let refused = |reason: String| DkimError::Config { domain: domain.clone(), reason };
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        if !domain.split('.').all(is_label) || !config.selector.split('.').all(is_label) {
            return Err(refused("domain and selector are names of DNS".to_owned()));
        }
        let key = key(config).map_err(|reason| refused(format!("key_file: {reason}")))?;
        let signer = DkimSigner::from_key(key)
            .domain(&domain)
            .selector(&config.selector)
            .headers([SIGNED, SIGNED].concat());
        Ok(Self { domain, signer })
    }
}

/// What went wrong never quotes the file.
fn key(config: &DkimConfig) -> Result<DkimKey, &'static str> {
    const UNFIT: &str = "is neither RSA of 2048 to 4096 bits nor Ed25519";
    let der = PrivateKeyDer::from_pem_file(&config.key_file).map_err(|_| "is no private key as PEM")?;
    let rsa = match &der {
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        _ => return Err(UNFIT),
    };
    match (rsa, der) {
        (Ok(rsa), _) if !RSA_BYTES.contains(&rsa.public_key().modulus_len()) => Err(UNFIT),
        (Ok(_), der) => RsaKey::from_key_der(der).map(DkimKey::from).map_err(|_| UNFIT),
        (Err(_), PrivateKeyDer::Pkcs8(key)) => {
            let key = Ed25519Key::from_pkcs8_maybe_unchecked_der(key.secret_pkcs8_der());
            key.map(DkimKey::from).map_err(|_| UNFIT)
        }
        (Err(_), _) => Err(UNFIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// What a verifier of another make says: Python's dkimpy, with the records that these keys would have in DNS.
    const VERIFY: &str = r#"
import dkim, json, sys
records = json.loads(sys.argv[1])
message = sys.stdin.buffer.read()
lookup = lambda name, timeout=5: records.get(name.decode().rstrip("."), "").encode()

def verified(index):
    try:
        return dkim.DKIM(message).verify(idx=index, dnsfunc=lookup)
    except dkim.ValidationError:
        return False

print([verified(index) for index in range(int(sys.argv[2]))])
"#;

    const MESSAGE: &str = "From: Ana <ana@news.example.com>\r\nTo: ben@example.net\r\nSubject: Hello\r\n\
        Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n\
        List-Id: <1.example.com>\r\nList-Unsubscribe: <https://example.com/u?token=x>\r\n\
        List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\r\nHello  there \r\n.\r\n\r\n";

    struct Keys {
        folder: PathBuf,
    }

    impl Keys {
        /// Made by openssl, as operators make them.
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("postledger-dkim-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self { folder }
        }

        fn make(&self, name: &str, args: &[&str]) -> (PathBuf, String) {
            let file = self.folder.join(name);
            let made =
                Command::new("openssl").arg("genpkey").args(args).arg("-out").arg(&file).output().unwrap();
            assert!(made.status.success(), "{made:?}");
            let public =
                Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&file).output().unwrap();
            let text = String::from_utf8(public.stdout).unwrap();
            (file, text.lines().filter(|line| !line.starts_with('-')).collect())
        }
    }

    impl Drop for Keys {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    fn config(domain: &str, selector: &str, key_file: PathBuf) -> DkimConfig {
        DkimConfig { domain: domain.into(), selector: selector.into(), key_file }
    }

    fn verified(message: &[u8], records: &serde_json::Value, signatures: usize) -> String {
        let python = std::env::var("POSTLEDGER_TEST_PYTHON").expect("POSTLEDGER_TEST_PYTHON");
        let mut verifier = Command::new(python);
        verifier.args(["-c", VERIFY, &records.to_string(), &signatures.to_string()]);
        let mut verifier = verifier.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        verifier.stdin.take().unwrap().write_all(message).unwrap();
        let output = verifier.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn another_verifier_takes_our_signatures_and_finds_every_change() {
        let keys = Keys::new("sign");
        let (rsa, rsa_public) =
            keys.make("rsa.pem", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
        let (ed, ed_public) = keys.make("ed.pem", &["-algorithm", "ED25519"]);
        // The record of an Ed25519 key has the bare 32 bytes (RFC 8463 section 4), its PEM a header of 12 before them.
        let ed_public = &ed_public[16..];
        let records = serde_json::json!({
            "r1._domainkey.example.com": format!("v=DKIM1; k=rsa; p={rsa_public}"),
            "e1._domainkey.example.com": format!("v=DKIM1; k=ed25519; p={ed_public}"),
        });
        let dkim = Dkim::new(&[config("Example.com", "r1", rsa), config("example.com", "e1", ed)]).unwrap();
        let signed = dkim.sign("ana@news.Example.com", MESSAGE.into()).unwrap();
        let text = String::from_utf8(signed.clone()).unwrap();
        assert_eq!(text.matches("DKIM-Signature:").count(), 2);
        assert!(text.lines().all(|line| line.len() < 998) && text.ends_with(MESSAGE));
        assert_eq!(verified(&signed, &records, 2), "[True, True]");
        let changes = [
            ("u?token=x", "u?token=y"),
            ("Unsubscribe=One-Click", "Unsubscribe=Two-Clicks"),
            ("Hello  there", "Goodbye"),
            ("To: ben", "Reply-To: eve@example.org\r\nTo: ben"),
            ("Subject: Hello", "Subject: Money"),
            ("From: Ana", "Subject: Money\r\nFrom: Ana"),
            ("From: Ana", "From: Eve <eve@example.org>\r\nFrom: Ana"),
        ];
        for (from, to) in changes {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert_eq!(verified(changed.as_bytes(), &records, 2), "[False, False]", "{to}");
        }
    }

    #[test]
    fn only_the_domains_own_mails_are_signed() {
        let keys = Keys::new("domains");
        let (file, _) = keys.make("ed.pem", &["-algorithm", "ED25519"]);
        let dkim = Dkim::new(&[config("example.com", "e1", file)]).unwrap();
        for foreign in ["a@example.org", "a@notexample.com", "a@example.com.evil.example", "example.com", ""]
        {
            assert_eq!(dkim.sign(foreign, MESSAGE.into()).unwrap(), MESSAGE.as_bytes(), "{foreign}");
        }
        assert_eq!(Dkim::default().sign("a@example.com", MESSAGE.into()).unwrap(), MESSAGE.as_bytes());
    }

    #[test]
    fn a_key_that_verifiers_would_refuse_is_refused_here() {
        let keys = Keys::new("refused");
        let (short, _) = keys.make("short.pem", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
        let (curve, _) = keys.make("ec.pem", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        let (good, _) = keys.make("ed.pem", &["-algorithm", "ED25519"]);
        let said = |config| Dkim::new(&[config]).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said(config("example.com", "s", short)).contains("2048"));
        assert!(said(config("example.com", "s", curve)).contains("nor Ed25519"));
        assert!(said(config("example.com", "s", keys.folder.join("none.pem"))).contains("key_file"));
        assert!(said(config("exa mple.com", "s", good.clone())).contains("names of DNS"));
        assert!(said(config("example.com", "", good)).contains("names of DNS"));
    }
}
