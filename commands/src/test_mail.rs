//! A template's test mail: requested here, sent by a sender as every mail is.

use crate::{CommandError, Commands, Context, FieldError};
use chrono::TimeDelta;
use domain::template::Template;
use domain::transactional::{RECIPIENTS_MAX, TestMail, Transactional, TransactionalCommand};
use domain::{AddressHash, EmailAddress, Personal, TemplateId};
use eventstore::{Done, clock, ids};
use serde_json::json;

/// Who waits for a test looks for it now.
const GIVEN_UP_AFTER: TimeDelta = TimeDelta::hours(1);

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
    ) -> Result<Done, CommandError> {
        let recipients = self.check_recipients(to)?;
        let (addresses, address_hashes): (Vec<String>, Vec<AddressHash>) = recipients.into_iter().unzip();
        let id = ids::new_id();
        let mail = TestMail {
            template_id,
            template_version: template.version,
            mailer: self.mailers.default.clone(),
            addresses: Personal::plain(json!(addresses).to_string()),
            address_hashes,
            hash_key_id: self.store.master.id().into(),
            expires_at: clock::now() + GIVEN_UP_AFTER,
        };
        let request = context.request_for_new(json!({ "dispatch_id": id }));
        let command = TransactionalCommand::RequestTest(mail);
        Ok(self.store.execute::<Transactional>(id, command, request).await?)
    }

    /// Each address once, in the order given.
    fn check_recipients(&self, to: &[String]) -> Result<Vec<(String, AddressHash)>, CommandError> {
        if !(1..=RECIPIENTS_MAX).contains(&to.len()) {
            return Err(CommandError::invalid("to", format!("1 to {RECIPIENTS_MAX} addresses")));
        }
        let mut recipients: Vec<(String, AddressHash)> = Vec::with_capacity(to.len());
        let mut errors = Vec::new();
        for (place, address) in to.iter().enumerate() {
            match EmailAddress::parse(address) {
                Ok(address) => {
                    let hash = self.store.master.address_hash(&address);
                    if recipients.iter().all(|(_, known)| *known != hash) {
                        recipients.push((address.to_string(), hash));
                    }
                }
                Err(error) => {
                    errors.push(FieldError { field: format!("to[{place}]"), reason: error.to_string() })
                }
            }
        }
        match errors.is_empty() {
            true => Ok(recipients),
            false => Err(CommandError::Invalid(errors)),
        }
    }
}
