//! Empties the mails of people who were erased. Their names stay, and prove what was handed over.

use super::store::{Kind, Store};
use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use uuid::Uuid;

impl Store {
    /// Finds them by all names that there are, and so needs to ask nobody. May be called again after any failure.
    pub(super) fn forget(&self, readers: &HashSet<Uuid>) -> io::Result<()> {
        for file in fs::read_dir(self.dir())? {
            let Ok(name) = file?.file_name().into_string() else { continue };
            let is_theirs = reader_in(&name).is_some_and(|reader| readers.contains(&reader));
            if is_theirs && self.kind(&name)? == Some(Kind::Mail) {
                empty(&self.dir().join(name))?;
            }
        }
        self.forget_temporary(readers)
    }

    /// What a process left that died between writing and linking, or writing the index, which shows mails under their names.
    fn forget_temporary(&self, readers: &HashSet<Uuid>) -> io::Result<()> {
        for file in fs::read_dir(self.tmp())? {
            let path = file?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let mail = name.strip_suffix(".tmp").and_then(|name| name.split_once('.'));
            let is_theirs = match mail.and_then(|(_, name)| reader_in(name)) {
                Some(reader) => readers.contains(&reader),
                None => fs::read_to_string(&path).is_ok_and(|page| names_one_of(&page, readers)),
            };
            if is_theirs {
                empty(&path)?;
            }
        }
        Ok(())
    }
}

/// `{dispatch}.{reader}.{attempt}.eml`
fn reader_in(name: &str) -> Option<Uuid> {
    name.strip_suffix(".eml")?.split('.').nth(1)?.parse().ok()
}

fn names_one_of(page: &str, readers: &HashSet<Uuid>) -> bool {
    let names = page.split(".eml").filter_map(|before| before.rsplit('.').nth(1));
    names.filter_map(|reader| reader.parse().ok()).any(|reader| readers.contains(&reader))
}

/// Of its content alone: the time at which it was written stays.
fn empty(path: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        // Its process is done with it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let before = file.metadata()?;
    if before.len() > 0 {
        file.set_len(0)?;
        file.set_modified(before.modified()?)?;
        file.sync_all()?;
    }
    Ok(())
}
