//! Hashing of passwords: argon2id (RFC 9106), at OWASP's parameters, a few at a time.
//!
//! A hash fills 46 MiB and keeps a core busy, so a flood of sign-ins must not run them all at once: half the cores hash,
//! a bounded queue waits, and who comes then is asked to come back.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use eventstore::keys::random_secret;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>: 46 MiB, one pass, one lane.
#[allow(clippy::panic, reason = "it would be the compiler's error")]
const PARAMS: Params = match Params::new(46 * 1024, 1, 1, None) {
    Ok(params) => params,
    Err(_) => panic!("argon2 refuses the parameters"),
};

const AT_ONCE_MAX: usize = 8;
/// Hashes that wait for a turn: with two cores two seconds' worth.
const QUEUE_MAX: usize = 80;
const SALT_BYTES: usize = 16;

const PASSWORD_MIN_CHARS: usize = 12;
/// Of new passwords and of guesses.
pub const PASSWORD_MAX_BYTES: usize = 512;

/// Wiped when dropped, and never shown.
#[derive(Clone)]
pub struct Password {
    /// As RFC 8265 section 4.2 prepares it, so that each keyboard's spelling of it is the same.
    prepared: Zeroizing<String>,
    /// As it came, where that differs: what hashes of earlier versions were made of.
    raw: Option<Zeroizing<String>>,
}

impl Password {
    /// As somebody typed it who signs in.
    pub fn given(password: String) -> Result<Self, &'static str> {
        let raw = Zeroizing::new(password);
        if raw.len() > PASSWORD_MAX_BYTES {
            return Err("has more than 512 bytes");
        }
        let prepared = prepared(&raw);
        let raw = (*prepared != *raw).then_some(raw);
        Ok(Self { prepared, raw })
    }

    /// As somebody chose it. Length alone counts (NIST SP 800-63B section 5.1.1.2).
    pub fn new(password: String) -> Result<Self, &'static str> {
        let password = Self::given(password)?;
        match password.prepared.chars().count() >= PASSWORD_MIN_CHARS {
            true => Ok(password),
            false => Err("has fewer than 12 characters"),
        }
    }
}

/// The OpaqueString profile's rules for spaces and for normalization: every other space is U+0020, all is NFC. NFC makes a text at most
/// three times as long. It forbids some characters; we refuse nobody's password for them.
fn prepared(raw: &str) -> Zeroizing<String> {
    let mut prepared = Zeroizing::new(String::with_capacity(raw.len() * 3));
    prepared.extend(raw.chars().map(|c| if is_space(c) { ' ' } else { c }).nfc());
    prepared
}

/// Unicode's category Zs.
fn is_space(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What came of comparing a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub matches: bool,
    /// The hash was made with less than today's parameters, or of the password as it was typed.
    pub is_weak: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("too many sign-ins at once")]
    Busy,
    #[error("a password could not be hashed or compared: {0}")]
    Failed(String),
}

/// One for a process: it bounds the hashes of the whole.
pub struct Passwords {
    argon2: Argon2<'static>,
    /// What the password of nobody is compared with: as much work, and no password fits.
    stand_in: String,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
    at_once: usize,
    queue_max: usize,
    runs: AtomicU64,
}

impl Default for Passwords {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::bounded((cores / 2).clamp(1, AT_ONCE_MAX), QUEUE_MAX)
    }
}

impl Passwords {
    /// So many hashes at once, and so many that wait.
    pub fn bounded(at_once: usize, queue_max: usize) -> Self {
        Self::with(PARAMS, at_once, queue_max)
    }

    /// With other parameters than OWASP's: an older version's, or a test's.
    pub fn with(params: Params, at_once: usize, queue_max: usize) -> Self {
        let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
        // Base64 of 16 bytes of salt and 32 of output, all of them zero.
        let stand_in = format!("$argon2id$v=19$m={m},t={t},p={p}${}${}", "A".repeat(22), "A".repeat(43));
        Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            stand_in,
            turns: Arc::new(Semaphore::new(at_once)),
            places: Arc::new(Semaphore::new(at_once + queue_max)),
            at_once,
            queue_max,
            runs: AtomicU64::new(0),
        }
    }

    /// Passwords that are worked on or wait.
    pub fn places_max(&self) -> usize {
        self.at_once + self.queue_max
    }

    /// How often argon2 was run so far.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Hashes that are made now.
    pub fn running(&self) -> usize {
        self.at_once.saturating_sub(self.turns.available_permits())
    }

    /// Hashes that wait for a turn now.
    pub fn waiting(&self) -> usize {
        self.places_max().saturating_sub(self.places.available_permits()).saturating_sub(self.running())
    }

    /// In the PHC string format, with its parameters and a salt of its own.
    pub async fn hash(&self, password: Password) -> Result<String, PasswordError> {
        let argon2 = self.argon2.clone();
        self.run(move || {
            let salt = random_secret().map_err(failed)?;
            let hash = argon2.hash_password_with_salt(password.prepared.as_bytes(), &salt[..SALT_BYTES]);
            Ok(hash.map_err(failed)?.to_string())
        })
        .await
    }

    /// Compares with a stored hash, or with nobody's, in the same time. A password that comes otherwise than it is prepared is
    /// compared both ways, since its hash may be older than the preparation: then it is weak.
    pub async fn verify(&self, password: Password, stored: Option<&str>) -> Result<Verdict, PasswordError> {
        let raw = password.raw.clone();
        let verdict = self.compare(password.prepared, stored).await?;
        match raw {
            Some(raw) if !verdict.matches => {
                let verdict = self.compare(raw, stored).await?;
                Ok(Verdict { is_weak: verdict.matches || verdict.is_weak, ..verdict })
            }
            _ => Ok(verdict),
        }
    }

    async fn compare(&self, text: Zeroizing<String>, stored: Option<&str>) -> Result<Verdict, PasswordError> {
        let (argon2, stored) = (self.argon2.clone(), stored.unwrap_or(&self.stand_in).to_owned());
        self.run(move || {
            let stored = PasswordHash::new(&stored).map_err(failed)?;
            let matches = match argon2.verify_password(text.as_bytes(), &stored) {
                Ok(()) => true,
                Err(Error::PasswordInvalid) => false,
                Err(error) => return Err(failed(error)),
            };
            let (then, now) = (Params::try_from(&stored).map_err(failed)?, argon2.params());
            let is_weak = then.m_cost() < now.m_cost() || then.t_cost() < now.t_cost();
            Ok(Verdict { matches, is_weak })
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let turn = self.turns.clone().acquire_owned().await.map_err(failed)?;
        self.runs.fetch_add(1, Ordering::Relaxed);
        // Both are held until the work ends, even if nobody waits for it any more.
        let work = move || {
            let _held = (place, turn);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| failed("its task panicked"))?
    }
}

fn failed(error: impl std::fmt::Display) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::given(text.into()).unwrap()
    }

    fn small(memory_kib: u32) -> Passwords {
        Passwords::with(Params::new(memory_kib, 1, 1, None).unwrap(), 1, 1)
    }

    #[test]
    fn passwords_are_bounded_and_not_shown() {
        assert!(Password::new("eleven char".into()).is_err());
        assert!(Password::new("zwölf Zeichen".into()).is_ok());
        assert!(Password::new("x".repeat(513)).is_err() && Password::given("x".repeat(513)).is_err());
        assert_eq!(format!("{:?}", password("secret")), "Password(…)");
    }

    #[tokio::test]
    async fn the_parameters_are_owasps() {
        let hash = Passwords::default().hash(password("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=47104,t=1,p=1$"), "{hash}");
    }

    #[tokio::test]
    async fn only_the_password_matches_its_hash() {
        let passwords = small(64);
        let hash = passwords.hash(password("correct horse")).await.unwrap();
        assert_ne!(hash, passwords.hash(password("correct horse")).await.unwrap());
        let verdict = async |text: &str| passwords.verify(password(text), Some(&hash)).await.unwrap().matches;
        assert!(verdict("correct horse").await);
        assert!(!verdict("correct hors").await && !verdict("").await);
        assert!(passwords.verify(password("x"), Some("nonsense")).await.is_err());
    }

    #[tokio::test]
    async fn each_spelling_of_a_password_opens_its_hash() {
        let passwords = small(64);
        let (composed, decomposed) = ("fünf Zwerge üben", "fu\u{308}nf\u{a0}Zwerge u\u{308}ben");
        let hash = passwords.hash(password(composed)).await.unwrap();
        let strong = Verdict { matches: true, is_weak: false };
        for typed in [composed, decomposed] {
            assert_eq!(passwords.verify(password(typed), Some(&hash)).await.unwrap(), strong, "{typed}");
        }
        // Other letters that merely look alike are other passwords (NFKC would take them for the same).
        let wide = passwords.verify(password("ｆünf Zwerge üben"), Some(&hash)).await.unwrap();
        assert!(!wide.matches);
    }

    #[tokio::test]
    async fn a_hash_of_the_password_as_it_was_typed_still_opens_and_is_made_anew() {
        let passwords = small(64);
        let typed = "fu\u{308}nf Zwerge u\u{308}ben";
        let salt = [7; SALT_BYTES];
        let older = passwords.argon2.hash_password_with_salt(typed.as_bytes(), &salt).unwrap().to_string();
        let verdict = passwords.verify(password(typed), Some(&older)).await.unwrap();
        assert_eq!(verdict, Verdict { matches: true, is_weak: true });
    }

    #[tokio::test]
    async fn nobodys_password_is_as_much_work_and_never_fits() {
        let passwords = small(64);
        let verdict = passwords.verify(password(""), None).await.unwrap();
        assert_eq!(verdict, Verdict { matches: false, is_weak: false });
        assert_eq!(passwords.runs(), 1);
    }

    #[tokio::test]
    async fn a_hash_of_lesser_parameters_is_weak() {
        let hash = small(64).hash(password("correct horse")).await.unwrap();
        let verdict = small(128).verify(password("correct horse"), Some(&hash)).await.unwrap();
        assert_eq!(verdict, Verdict { matches: true, is_weak: true });
        let hash = small(128).hash(password("correct horse")).await.unwrap();
        assert!(!small(64).verify(password("correct horse"), Some(&hash)).await.unwrap().is_weak);
    }

    #[tokio::test]
    async fn the_queue_is_bounded() {
        let passwords = small(64);
        let turn = passwords.turns.clone().acquire_owned().await.unwrap();
        let flood = (0..5).map(|_| passwords.hash(password("x")));
        let flood = futures::future::join_all(flood);
        let let_go = async {
            tokio::task::yield_now().await;
            assert_eq!((passwords.running(), passwords.waiting()), (1, 1));
            drop(turn);
        };
        let (hashes, ()) = tokio::join!(flood, let_go);
        let busy = hashes.iter().filter(|hash| **hash == Err(PasswordError::Busy)).count();
        // One has a turn and one waits: those are the places.
        assert_eq!((busy, passwords.runs()), (3, 2));
    }
}
