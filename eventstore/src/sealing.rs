//! Sealing of personal data: a key per person, fetched and made in batches.

use crate::StoreError;
use crate::keys::{KeyError, MasterKey, Secret, decrypt, encrypt, random_secret};
use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine};
use domain::{Personal, Sequence};
use sqlx::{PgConnection, PgExecutor};
use std::collections::HashMap;
use uuid::Uuid;

/// The key of one person.
pub struct SubjectKey {
    subject: Uuid,
    cipher: RandomizedNonceKey,
}

impl SubjectKey {
    pub(crate) fn new(subject: Uuid, secret: &Secret) -> Result<Self, KeyError> {
        Ok(Self { subject, cipher: RandomizedNonceKey::new(&AES_256_GCM, secret.as_ref())? })
    }

    /// `1:<sequence>:<base64url>`: a value moved to another stream, event or field does not open.
    pub fn seal(&self, sequence: Sequence, field: &str, plain: &str) -> Result<String, KeyError> {
        let sealed = encrypt(&self.cipher, &self.place(sequence, field), plain.as_bytes())?;
        Ok(format!("1:{sequence}:{}", BASE64.encode(sealed)))
    }

    pub fn open(&self, field: &str, value: &Personal) -> Result<String, KeyError> {
        let sealed = match value {
            Personal::Plain(plain) => return Ok(plain.clone()),
            Personal::Sealed(sealed) => sealed,
        };
        let mut parts = sealed.splitn(3, ':');
        let (Some("1"), Some(sequence), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Tampered);
        };
        let sequence = sequence.parse().map_err(|_| KeyError::Tampered)?;
        let body = BASE64.decode(body).map_err(|_| KeyError::Tampered)?;
        let plain = decrypt(&self.cipher, &self.place(sequence, field), &body)?;
        String::from_utf8(plain).map_err(|_| KeyError::Tampered)
    }

    fn place(&self, sequence: Sequence, field: &str) -> Vec<u8> {
        format!("subscriber:{}:{sequence}:{field}", self.subject).into_bytes()
    }
}

/// Keys by person. Erased people have none.
pub type SubjectKeys = HashMap<Uuid, SubjectKey>;

#[derive(sqlx::FromRow)]
struct Row {
    subject_id: Uuid,
    master_key_id: String,
    wrapped_key: Vec<u8>,
}

/// The keys of these people, or the error of the first that does not open.
pub async fn fetch(
    db: impl PgExecutor<'_>,
    master: &MasterKey,
    subjects: &[Uuid],
) -> Result<SubjectKeys, StoreError> {
    let each = fetch_each(db, master, subjects).await?;
    each.into_iter().map(|(subject, key)| Ok((subject, key?))).collect()
}

/// Each person's key by itself: one that does not open is nobody else's trouble.
pub async fn fetch_each(
    db: impl PgExecutor<'_>,
    master: &MasterKey,
    subjects: &[Uuid],
) -> Result<HashMap<Uuid, Result<SubjectKey, KeyError>>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT subject_id, master_key_id, wrapped_key FROM subject_keys
         WHERE subject_id = ANY($1) AND wrapped_key IS NOT NULL",
    )
    .bind(subjects)
    .fetch_all(db)
    .await?;
    let open = |row: &Row| {
        let secret = master.unwrap(&row.master_key_id, row.subject_id.as_bytes(), &row.wrapped_key)?;
        SubjectKey::new(row.subject_id, &secret)
    };
    Ok(rows.iter().map(|row| (row.subject_id, open(row))).collect())
}

/// Makes the keys of people who have none yet, in one statement.
pub async fn create(
    tx: &mut PgConnection,
    master: &MasterKey,
    subjects: &[Uuid],
) -> Result<SubjectKeys, StoreError> {
    let mut keys = SubjectKeys::with_capacity(subjects.len());
    let mut wrapped = Vec::with_capacity(subjects.len());
    for subject in subjects {
        let secret = random_secret()?;
        wrapped.push(master.wrap(subject.as_bytes(), &secret)?);
        keys.insert(*subject, SubjectKey::new(*subject, &secret)?);
    }
    sqlx::query(
        "INSERT INTO subject_keys (subject_id, master_key_id, wrapped_key)
         SELECT subject, $2, wrapped FROM unnest($1::uuid[], $3::bytea[]) AS new (subject, wrapped)",
    )
    .bind(subjects)
    .bind(master.id())
    .bind(wrapped)
    .execute(tx)
    .await?;
    Ok(keys)
}

/// Maintenance destroys this key when so many days are over.
pub async fn expire(db: impl PgExecutor<'_>, subject: Uuid, days: i32) -> Result<(), StoreError> {
    let expire =
        "INSERT INTO expiring_keys (subject_id, expires_at) VALUES ($1, now() + make_interval(days => $2))";
    sqlx::query(expire).bind(subject).bind(days).execute(db).await?;
    Ok(())
}

/// Whatever was sealed for these people, wherever it was copied to, opens nowhere any more.
pub async fn destroy(db: impl PgExecutor<'_>, subjects: &[Uuid]) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE subject_keys SET wrapped_key = NULL, destroyed_at = clock_timestamp()
         WHERE subject_id = ANY($1) AND wrapped_key IS NOT NULL",
    )
    .bind(subjects)
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(subject: u128) -> SubjectKey {
        SubjectKey::new(Uuid::from_u128(subject), &Secret::new([7; 32])).unwrap()
    }

    #[test]
    fn a_value_opens_in_its_place_alone() {
        let sealed = key(1).seal(3, "name", "Łukasz").unwrap();
        let value = Personal::Sealed(sealed.clone());
        assert_eq!(key(1).open("name", &value).unwrap(), "Łukasz");
        assert_eq!(key(1).open("address", &value), Err(KeyError::Tampered));
        assert_eq!(key(2).open("name", &value), Err(KeyError::Tampered));
        let moved = Personal::Sealed(sealed.replacen("1:3:", "1:4:", 1));
        assert_eq!(key(1).open("name", &moved), Err(KeyError::Tampered));
    }

    #[test]
    fn the_same_value_never_looks_the_same() {
        assert_ne!(key(1).seal(1, "name", "Ana").unwrap(), key(1).seal(1, "name", "Ana").unwrap());
    }

    #[test]
    fn nonsense_is_an_error() {
        for sealed in ["", "1", "1:1", "2:1:AAAA", "1:x:AAAA", "1:1:!!", "1:1:AAAA"] {
            assert_eq!(key(1).open("name", &Personal::Sealed(sealed.into())), Err(KeyError::Tampered));
        }
    }
}
