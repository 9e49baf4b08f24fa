//! A template's test mail: requested here, sent by a sender as every mail is.
//!
//! A template says what its writer wants, so a test mail could say anything to anybody: it goes to the staff's own addresses, and
//! where the configuration allows, and no more often than people look at tests.

use crate::accounts::record;
use crate::attributes::{self, Attributes};
use crate::mail_limits::MailLimit;
use crate::{CommandError, Commands, Context, FieldError, idempotent};
use chrono::TimeDelta;
use domain::subscriber::Subscriber;
use domain::template::Template;
use domain::transactional::{RECIPIENTS_MAX, Shown, TestMail, Transactional, TransactionalCommand};
use domain::{AddressHash, DispatchId, EmailAddress, Personal, SubscriberId, TemplateId};
use eventstore::{Done, clock, ids, load, sealing};
use serde_json::json;
use sqlx::PgConnection;
use std::collections::HashSet;

/// Who waits for a test looks for it now.
const GIVEN_UP_AFTER: TimeDelta = TimeDelta::hours(1);
const PER_MAILBOX: MailLimit = MailLimit { requests: "test_mail_requests", hourly_max: 30, daily_max: 100 };
/// Mails of one user or key.
const ACTOR_HOURLY_MAX: i64 = 60;
const ACTOR_DAILY_MAX: i64 = 300;

const NO_COLLEAGUE: &str = "is neither a user's address nor in send.test_recipients";

/// Whose fields a test shows.
#[derive(Debug, Clone, Default)]
pub enum TestFields {
    /// Each recipient's own.
    #[default]
    Own,
    Of(SubscriberId),
    /// As [`attributes::check`] writes them; `email` and `name` among them.
    Given(Attributes),
}

/// Addresses, and domains, that test mails may go to besides the users' own addresses.
#[derive(Debug, Clone, Default)]
pub struct TestRecipients {
    /// As [`EmailAddress::canonical`] writes them.
    addresses: HashSet<String>,
    domains: HashSet<String>,
}

impl TestRecipients {
    /// The error is the entry that is neither.
    pub fn parse<T: AsRef<str>>(entries: &[T]) -> Result<Self, String> {
        let mut recipients = Self::default();
        for entry in entries.iter().map(AsRef::as_ref) {
            let (set, address) = match entry.contains('@') {
                true => (&mut recipients.addresses, EmailAddress::parse(entry)),
                false => (&mut recipients.domains, EmailAddress::parse(&format!("x@{entry}"))),
            };
            let address = address.map_err(|_| entry.to_owned())?;
            set.insert(match entry.contains('@') {
                true => address.canonical(),
                false => address.domain().to_owned(),
            });
        }
        Ok(recipients)
    }

    fn have(&self, address: &EmailAddress) -> bool {
        self.domains.contains(address.domain()) || self.addresses.contains(&address.canonical())
    }
}

impl From<domain::dispatch::DispatchError> for CommandError {
    fn from(error: domain::dispatch::DispatchError) -> Self {
        use domain::dispatch::DispatchError;
        match error {
            DispatchError::Unknown => Self::NotFound("dispatch"),
            DispatchError::Size(_) => Self::invalid("to", error.to_string()),
            DispatchError::Exists | DispatchError::NotPending(_) => Self::Conflict,
        }
    }
}

impl Commands {
    /// Queues the template, in its present version, for one to ten addresses.
    pub async fn request_test_mail(
        &self,
        context: &Context,
        template_id: TemplateId,
        template: &Template,
        to: &[String],
        fields: TestFields,
    ) -> Result<Done, CommandError> {
        let shown = self.check_shown(fields).await?;
        let recipients = self.check_recipients(to).await?;
        let id = ids::new_id();
        let addresses: Vec<String> = recipients.iter().map(|(address, _)| address.to_string()).collect();
        let mail = TestMail {
            template_id,
            template_version: template.version,
            mailer: self.mailers.default.clone(),
            shown,
            addresses: Personal::plain(json!(addresses).to_string()),
            address_hashes: recipients.iter().map(|(_, hash)| *hash).collect(),
            hash_key_id: self.store.master.id().into(),
            expires_at: clock::now() + GIVEN_UP_AFTER,
        };
        let key = context.idempotency.as_ref();
        let mut tx = self.store.pool.begin().await?;
        if let Some(earlier) = idempotent::take(&mut tx, key).await? {
            return Ok(earlier);
        }
        self.count_test(&mut tx, context, id, &recipients).await?;
        let keys = sealing::create(&mut tx, &self.store.master, &[id]).await?;
        let request = TransactionalCommand::RequestTest(mail);
        // The version that a client saw is another stream's.
        let new = Context { if_match: None, ..context.clone() };
        let done = record::<Transactional>(&mut tx, id, &keys, request, &new).await?;
        let done = done.done(json!({ "dispatch_id": id }));
        idempotent::remember(&mut tx, key, &done).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(done)
    }

    async fn check_shown(&self, fields: TestFields) -> Result<Option<Shown>, CommandError> {
        match fields {
            TestFields::Own => Ok(None),
            TestFields::Given(given) => {
                let fields = Personal::plain(json!(attributes::check(&given)?).to_string());
                Ok(Some(Shown::Fields(fields)))
            }
            TestFields::Of(id) => {
                let person = load::<Subscriber>(&self.store.pool, id).await?.aggregate;
                match person.version > 0 && !person.is_erased() {
                    true => Ok(Some(Shown::Subscriber(id))),
                    false => Err(CommandError::invalid("subscriber", "the subscriber is not known")),
                }
            }
        }
    }

    /// Notes each mail, and refuses all of them where one is too many. Requests of one actor, and for one mailbox, take turns.
    async fn count_test(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        id: DispatchId,
        recipients: &[(EmailAddress, AddressHash)],
    ) -> Result<(), CommandError> {
        if !actor_may_ask(tx, &context.actor, recipients.len()).await? {
            return Err(CommandError::TooMany);
        }
        let mailbox = |(address, _): &(EmailAddress, _)| self.store.master.address_hash(&address.mailbox());
        let mut mailboxes: Vec<AddressHash> = recipients.iter().map(mailbox).collect();
        // One order of locks.
        mailboxes.sort_unstable();
        for (place, mailbox) in (0_i16..).zip(mailboxes) {
            if !PER_MAILBOX.allows(tx, mailbox).await? {
                return Err(CommandError::TooMany);
            }
            let note = "INSERT INTO test_mail_requests (dispatch_id, recipient, actor, address_hash)
                        VALUES ($1, $2, $3, $4)";
            sqlx::query(note)
                .bind(id)
                .bind(place)
                .bind(&context.actor)
                .bind(mailbox.0.as_slice())
                .execute(&mut *tx)
                .await?;
        }
        Ok(())
    }

    /// Each address once, in the order given, and all of them the staff's.
    async fn check_recipients(
        &self,
        to: &[String],
    ) -> Result<Vec<(EmailAddress, AddressHash)>, CommandError> {
        if !(1..=RECIPIENTS_MAX).contains(&to.len()) {
            return Err(CommandError::invalid("to", format!("1 to {RECIPIENTS_MAX} addresses")));
        }
        let parsed: Vec<_> = to.iter().map(|address| EmailAddress::parse(address)).collect();
        let hash = |address: &EmailAddress| self.store.master.address_hash(address);
        let users = self.users_among(parsed.iter().flatten().map(hash).collect()).await?;
        let mut recipients: Vec<(EmailAddress, AddressHash)> = Vec::with_capacity(to.len());
        let mut errors = Vec::new();
        for (place, address) in parsed.into_iter().enumerate() {
            let checked = address.map_err(|error| error.to_string()).and_then(|address| {
                let hash = hash(&address);
                let is_ours = users.contains(&hash) || self.test_recipients.have(&address);
                is_ours.then_some((address, hash)).ok_or_else(|| NO_COLLEAGUE.to_owned())
            });
            match checked {
                Ok((_, hash)) if recipients.iter().any(|(_, known)| *known == hash) => {}
                Ok(recipient) => recipients.push(recipient),
                Err(reason) => errors.push(FieldError { field: format!("to[{place}]"), reason }),
            }
        }
        match errors.is_empty() {
            true => Ok(recipients),
            false => Err(CommandError::Invalid(errors)),
        }
    }

    async fn users_among(&self, hashes: Vec<AddressHash>) -> Result<HashSet<AddressHash>, CommandError> {
        let users = "SELECT address_hash FROM accounts WHERE address_hash = ANY($1) AND NOT disabled";
        let hashes: Vec<&[u8]> = hashes.iter().map(|hash| hash.0.as_slice()).collect();
        let users: Vec<[u8; 32]> = sqlx::query_scalar(users).bind(hashes).fetch_all(&self.store.pool).await?;
        Ok(users.into_iter().map(AddressHash).collect())
    }
}

/// Whether this user or key may ask for so many mails more. Their requests take turns until `tx` ends.
async fn actor_may_ask(tx: &mut PgConnection, actor: &str, mails: usize) -> Result<bool, CommandError> {
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('test_mail_requests of ' || $1, 0))";
    sqlx::query(lock).bind(actor).execute(&mut *tx).await?;
    let (hourly, daily): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE requested_at > now() - interval '1 hour'), count(*)
         FROM test_mail_requests WHERE actor = $1 AND requested_at > now() - interval '1 day'",
    )
    .bind(actor)
    .fetch_one(tx)
    .await?;
    let more = i64::try_from(mails).unwrap_or(i64::MAX);
    Ok(hourly.saturating_add(more) <= ACTOR_HOURLY_MAX && daily.saturating_add(more) <= ACTOR_DAILY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_domains_are_allowed_and_no_other() {
        let recipients = TestRecipients::parse(&["Ana@Partner.example", "bücher.example"]).unwrap();
        let has = |address: &str| recipients.have(&EmailAddress::parse(address).unwrap());
        assert!(has("ana@partner.example") && has("anybody@xn--bcher-kva.example"));
        assert!(!has("ben@partner.example") && !has("ana@sub.xn--bcher-kva.example"));
        for wrong in ["@partner.example", "ana@", "localhost", "", "*"] {
            assert_eq!(TestRecipients::parse(&[wrong]).unwrap_err(), wrong);
        }
    }
}
