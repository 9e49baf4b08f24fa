//! Settings that nobody may read: never printed, and in files where an operator wants it so.

use anyhow::{Context, ensure};
use serde::Deserialize;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// More than any password or URL has.
const FILE_MAX_BYTES: u64 = 16 * 1024;
/// Reachable by others than the owner and the group.
const OTHERS: u32 = 0o007;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `setting` names the file in what is said about it.
    pub fn read(setting: &str, file: &Path) -> anyhow::Result<Self> {
        let read = || -> std::io::Result<String> {
            match std::fs::metadata(file)?.len() {
                ..=FILE_MAX_BYTES => std::fs::read_to_string(file),
                _ => Err(std::io::Error::other("is too large for a secret")),
            }
        };
        let text = read().with_context(|| format!("{setting}: {} can't be read", file.display()))?;
        // Editors end a file with one line end; any more would be a part of the secret.
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        ensure!(!text.is_empty(), "{setting}: {} is empty", file.display());
        Ok(Self(text.to_owned()))
    }
}

impl From<Secret> for kafka::Secret {
    fn from(secret: Secret) -> Self {
        secret.0.into()
    }
}

impl From<Secret> for workers::mailers::Secret {
    fn from(secret: Secret) -> Self {
        secret.0.into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Fills a secret from the file that is named instead of it.
pub fn instead<S: From<Secret>>(
    name: &str,
    secret: &mut Option<S>,
    file: Option<&Path>,
) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let setting = format!("{name}_file");
    ensure!(secret.is_none(), "{name} and {setting} are both set: one of them is too many");
    *secret = Some(Secret::read(&setting, file)?.into());
    Ok(())
}

/// Whether nobody may read what a setting holds.
pub fn is_secret(name: &str) -> bool {
    name == "database.url"
        || ["password", "username", "secret", "secret_access_key"].iter().any(|word| name.ends_with(word))
}

/// What is shown instead. Of a URL all but the password and the parameters is worth to be seen.
pub fn mask(name: &str, text: &str) -> String {
    let parts = text.split_once("://").filter(|_| name.ends_with("url"));
    let Some((scheme, rest)) = parts else { return "***".to_owned() };
    let (rest, parameters) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    match rest.rsplit_once('@') {
        Some((sign_in, place)) => {
            let (user, password) = match sign_in.split_once(':') {
                Some((user, _)) => (user, ":***"),
                None => (sign_in, ""),
            };
            format!("{scheme}://{user}{password}@{place}{parameters}")
        }
        None => format!("{scheme}://{rest}{parameters}"),
    }
}

pub fn is_exposed(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|data| data.permissions().mode() & OTHERS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_reach_is_exposed() {
        let file = std::env::temp_dir().join(format!("postledger-{}", eventstore::ids::new_id()));
        std::fs::write(&file, "x").unwrap();
        for (mode, exposed) in [(0o600, false), (0o640, false), (0o644, true), (0o601, true)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_exposed(&file), exposed, "{mode:o}");
        }
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn of_a_url_the_place_is_shown() {
        for (url, shown) in [
            ("postgres://u:p@h:1/x", "postgres://u:***@h:1/x"),
            ("postgres://u:p@p@h/x?password=p", "postgres://u:***@h/x?***"),
            ("postgres://u@h/x", "postgres://u@h/x"),
            ("postgres://h", "postgres://h"),
            ("u:p", "***"),
        ] {
            assert_eq!(mask("database.url", url), shown);
        }
        assert_eq!(mask("smtp.password", "a://b"), "***");
    }
}
