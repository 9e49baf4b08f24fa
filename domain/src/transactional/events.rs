use crate::consent::Scope;
use crate::dispatch::{Index, Refusal};
use crate::visit::Visit;
use crate::{AddressHash, Event, GroupId, PermitId, Personal, Sequence, SubscriberId, TemplateId, UserId};
use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

/// A template as readers would get it, for the staff to look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestMail {
    pub template_id: TemplateId,
    pub template_version: Sequence,
    pub mailer: String,
    /// Whose fields it shows, where it is not each recipient's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Shown>,
    /// A JSON array of strings, in the order of `address_hashes`.
    pub addresses: Personal,
    pub address_hashes: Vec<AddressHash>,
    pub hash_key_id: String,
    /// What was not sent by then is given up.
    pub expires_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// As they are when the mail is made: nothing of the person is copied.
    Subscriber(SubscriberId),
    /// A JSON object of strings.
    Fields(Personal),
}

impl Shown {
    fn fields(&mut self) -> Option<&mut Personal> {
        match self {
            Self::Subscriber(_) => None,
            Self::Fields(fields) => Some(fields),
        }
    }
}

/// What an account's mail is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountMailKind {
    PasswordReset,
    Invitation,
}

impl AccountMailKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PasswordReset => "password_reset",
            Self::Invitation => "invitation",
        }
    }
}

/// A mail to somebody who signs in, or may soon. The secret in its link is drawn when the mail is made, and is in no event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountMail {
    pub kind: AccountMailKind,
    /// None in events of earlier versions alone: the address was nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    pub mailer: String,
    pub address_hash: AddressHash,
    pub hash_key_id: String,
    /// What was not sent by then is given up.
    pub expires_at: DateTime<Utc>,
}

/// Asks the owner of an address whether they want what somebody requested in their name. What is personal is sealed by a
/// key of the mail's own: whose the address is, is nobody's business before the mail goes. The secret in its link is
/// drawn when the mail is made, and is in no event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionMail {
    pub address: Personal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Personal>,
    pub groups: Vec<GroupId>,
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wording_version: Option<String>,
    pub requested_at: DateTime<Utc>,
    pub visit: Visit,
    pub mailer: String,
    pub address_hash: AddressHash,
    pub hash_key_id: String,
    /// What was not sent by then is given up.
    pub expires_at: DateTime<Utc>,
}

/// Tells a person that they opted out, with a way back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OptOutMail {
    pub subscriber_id: SubscriberId,
    /// The opt-out, by its place in their stream.
    pub opt_out: Sequence,
    pub scope: Scope,
    pub mailer: String,
    pub address_hash: AddressHash,
    pub hash_key_id: String,
    /// What was not sent by then is given up.
    pub expires_at: DateTime<Utc>,
}

/// Tells a person of an opt-in by a link of theirs, which somebody else may have had, with a way to leave again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OptInMail {
    pub subscriber_id: SubscriberId,
    /// The opt-in, by its place in their stream.
    pub opt_in: Sequence,
    /// Everything: they may be written to again, and are in no group.
    pub scope: Scope,
    pub mailer: String,
    pub address_hash: AddressHash,
    pub hash_key_id: String,
    /// What was not sent by then is given up.
    pub expires_at: DateTime<Utc>,
}

/// What a mail outside campaigns is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Mail {
    Test(TestMail),
    Account(AccountMail),
    Subscription(SubscriptionMail),
    OptOut(OptOutMail),
    OptIn(OptInMail),
}

impl Mail {
    pub fn mailer(&self) -> &str {
        match self {
            Self::Test(mail) => &mail.mailer,
            Self::Account(mail) => &mail.mailer,
            Self::Subscription(mail) => &mail.mailer,
            Self::OptOut(mail) => &mail.mailer,
            Self::OptIn(mail) => &mail.mailer,
        }
    }

    pub fn expires_at(&self) -> DateTime<Utc> {
        match self {
            Self::Test(mail) => mail.expires_at,
            Self::Account(mail) => mail.expires_at,
            Self::Subscription(mail) => mail.expires_at,
            Self::OptOut(mail) => mail.expires_at,
            Self::OptIn(mail) => mail.expires_at,
        }
    }

    pub(super) fn address_hashes(&self) -> &[AddressHash] {
        match self {
            Self::Test(mail) => &mail.address_hashes,
            Self::Account(AccountMail { address_hash, .. })
            | Self::Subscription(SubscriptionMail { address_hash, .. })
            | Self::OptOut(OptOutMail { address_hash, .. })
            | Self::OptIn(OptInMail { address_hash, .. }) => std::slice::from_ref(address_hash),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TransactionalEvent {
    #[serde(rename = "TestMailRequested")]
    TestRequested(TestMail),
    #[serde(rename = "AccountMailRequested")]
    AccountRequested(AccountMail),
    #[serde(rename = "SubscriptionMailRequested")]
    SubscriptionRequested(SubscriptionMail),
    #[serde(rename = "OptOutMailRequested")]
    OptOutRequested(OptOutMail),
    #[serde(rename = "OptInMailRequested")]
    OptInRequested(OptInMail),
    #[serde(rename = "TransactionalAuthorized")]
    Authorized {
        permit_id: PermitId,
        recipients: Vec<Index>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        suppressed: Vec<Refusal>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rejected: Vec<Refusal>,
    },
    /// What the provider said to one permit's calls. `returned` may be tried again; calls that were `late` began
    /// before the window's end by the last look at the clock, and after it by the next.
    #[serde(rename = "TransactionalSettled")]
    Settled {
        permit_id: PermitId,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        accepted: Vec<Index>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rejected: Vec<Refusal>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unknown: Vec<Index>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        returned: Vec<Index>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        late: Vec<Index>,
    },
    #[serde(rename = "TransactionalExpired")]
    /// What waits is given up: its time is over, or for the reason that is named.
    Expired {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

impl DomainEvent for TransactionalEvent {
    fn event_type(&self) -> String {
        match self {
            Self::TestRequested(_) => "TestMailRequested",
            Self::AccountRequested(_) => "AccountMailRequested",
            Self::SubscriptionRequested(_) => "SubscriptionMailRequested",
            Self::OptOutRequested(_) => "OptOutMailRequested",
            Self::OptInRequested(_) => "OptInMailRequested",
            Self::Authorized { .. } => "TransactionalAuthorized",
            Self::Settled { .. } => "TransactionalSettled",
            Self::Expired { .. } => "TransactionalExpired",
        }
        .into()
    }

    /// A test that shows each recipient their own fields is what it was before, byte for byte, and earlier releases read it. One that
    /// shows other fields must not be taken for it.
    fn event_version(&self) -> String {
        match self {
            Self::TestRequested(TestMail { shown: Some(_), .. }) => "1.1".into(),
            _ => "1.0".into(),
        }
    }
}

impl Event for TransactionalEvent {
    fn personal(&mut self) -> Vec<(&'static str, &mut Personal)> {
        match self {
            Self::TestRequested(mail) => [("addresses", &mut mail.addresses)]
                .into_iter()
                .chain(mail.shown.as_mut().and_then(Shown::fields).map(|fields| ("fields", fields)))
                .collect(),
            Self::SubscriptionRequested(mail) => [("address", &mut mail.address)]
                .into_iter()
                .chain(mail.name.iter_mut().map(|name| ("name", name)))
                .chain(mail.visit.personal())
                .collect(),
            Self::AccountRequested(_)
            | Self::OptOutRequested(_)
            | Self::OptInRequested(_)
            | Self::Authorized { .. }
            | Self::Settled { .. }
            | Self::Expired { .. } => Vec::new(),
        }
    }
}
