use crate::attributes::{self, Attributes};
use crate::{CommandError, Commands, Context, FieldError};
use domain::consent::Consent;
use domain::subscriber::{NewSubscriber as AddSubscriber, Subscriber, SubscriberCommand, SubscriberError};
use domain::{AddressHash, EmailAddress, GroupId, Personal, SubscriberId};
use eventstore::{Done, ExecuteError, Loaded, StoreError, ids, load, sealing};
use serde_json::{Value, json};

/// Groups that one request may name.
const GROUPS_MAX: usize = 100;
const NAME_MAX_BYTES: usize = 300;
/// Tries of a change that others race.
const TRIES_MAX: u32 = 5;

#[derive(Debug, Clone)]
pub struct NewSubscriber {
    pub email: String,
    pub name: Option<String>,
    pub attributes: Attributes,
    pub groups: Vec<GroupId>,
    pub consent: Consent,
}

/// What is absent stays.
#[derive(Debug, Clone, Default)]
pub struct SubscriberPatch {
    pub email: Option<String>,
    pub name: Option<String>,
    pub attributes: Option<Attributes>,
}

impl From<SubscriberError> for CommandError {
    fn from(error: SubscriberError) -> Self {
        match error {
            SubscriberError::Unknown => Self::NotFound("subscriber"),
            SubscriberError::Exists => Self::Conflict,
            SubscriberError::OptedOut => Self::forbidden("opted_out", error.to_string()),
            SubscriberError::Erased => Self::forbidden("erased", error.to_string()),
            SubscriberError::TooOften => Self::TooMany,
            SubscriberError::NotRequested => Self::Unauthorized("the link is not valid any more"),
        }
    }
}

/// Control characters have no place in a name that goes into a mail's header.
pub(crate) fn check_name(name: &str) -> Result<Option<Personal>, CommandError> {
    let name = name.trim();
    if name.len() > NAME_MAX_BYTES || name.contains(char::is_control) {
        return Err(CommandError::invalid("name", format!("at most {NAME_MAX_BYTES} bytes in one line")));
    }
    Ok((!name.is_empty()).then(|| Personal::plain(name)))
}

/// A JSON object of strings, or nothing where there are none.
pub(crate) fn seal_ready(attributes: &Attributes) -> Option<Personal> {
    (!attributes.is_empty()).then(|| Personal::plain(json!(attributes).to_string()))
}

pub(crate) fn check_email(email: &str) -> Result<EmailAddress, CommandError> {
    EmailAddress::parse(email).map_err(|error| CommandError::invalid("email", error.to_string()))
}

impl Commands {
    pub async fn add_subscriber(&self, context: &Context, new: NewSubscriber) -> Result<Done, CommandError> {
        let email = check_email(&new.email)?;
        let name = check_name(new.name.as_deref().unwrap_or_default())?;
        let attributes = attributes::check(&new.attributes)?;
        self.check_groups(&new.groups).await?;
        attributes::remember(&self.store.pool, attributes.keys()).await?;
        let id = ids::new_id();
        let address_hash = self.store.master.address_hash(&email);
        let add = SubscriberCommand::Add(Box::new(AddSubscriber {
            address_hash,
            hash_key_id: self.store.master.id().into(),
            address: Personal::plain(email.to_string()),
            name,
            attributes: seal_ready(&attributes),
            groups: new.groups,
            consent: new.consent,
            import_id: None,
        }));
        let request = context.request_for_new(json!({ "subscriber_id": id }));
        let done = self.store.execute::<Subscriber>(id, add, request).await;
        self.or_who_has_it(address_hash, done).await
    }

    /// An address that was left, or whose person was erased, is nobody's who could be found by it.
    async fn or_who_has_it(
        &self,
        address: AddressHash,
        done: Result<Done, ExecuteError<SubscriberError>>,
    ) -> Result<Done, CommandError> {
        if !matches!(done, Err(ExecuteError::Store(StoreError::AddressTaken))) {
            return Ok(done?);
        }
        let owner =
            "SELECT g.subscriber_id FROM gates g JOIN subject_keys k ON k.subject_id = g.subscriber_id
                     WHERE g.address_hash = $1 AND NOT g.is_left AND k.destroyed_at IS NULL";
        let owner =
            sqlx::query_scalar(owner).bind(address.0.as_slice()).fetch_optional(&self.store.pool).await?;
        Err(CommandError::Known(owner))
    }

    /// An address that changes keeps its opt-outs; the old one stays suppressed.
    pub async fn change_subscriber(
        &self,
        context: &Context,
        id: SubscriberId,
        patch: SubscriberPatch,
    ) -> Result<Done, CommandError> {
        let email = patch.email.as_deref().map(check_email).transpose()?;
        let name = patch.name.as_deref().map(check_name).transpose()?;
        let attributes = patch.attributes.as_ref().map(attributes::check).transpose()?;
        attributes::remember(&self.store.pool, attributes.iter().flat_map(Attributes::keys)).await?;
        let mut tries = 1;
        loop {
            let loaded = load::<Subscriber>(&self.store.pool, id).await?;
            let command = self.changed(id, &loaded, email.as_ref(), &name, &attributes).await?;
            let mut request = context.request(Value::Null);
            request.expected = context.if_match.or(Some(loaded.version));
            match self.store.execute::<Subscriber>(id, command, request).await {
                Err(ExecuteError::Stale) if context.if_match.is_none() && tries < TRIES_MAX => tries += 1,
                done => match &email {
                    Some(email) => {
                        return self.or_who_has_it(self.store.master.address_hash(email), done).await;
                    }
                    None => return Ok(done?),
                },
            }
        }
    }

    async fn changed(
        &self,
        id: SubscriberId,
        loaded: &Loaded<Subscriber>,
        email: Option<&EmailAddress>,
        name: &Option<Option<Personal>>,
        attributes: &Option<Attributes>,
    ) -> Result<SubscriberCommand, CommandError> {
        let subscriber = &loaded.aggregate;
        let details = SubscriberDetails::open(self, id, subscriber).await?;
        Ok(SubscriberCommand::Change {
            address: email
                .map(|email| (Personal::plain(email.to_string()), self.store.master.address_hash(email)))
                .filter(|(_, hash)| subscriber.address_hash != Some(*hash)),
            hash_key_id: self.store.master.id().into(),
            details: match (name, attributes) {
                (None, None) => None,
                (name, attributes) => {
                    let new_name = name.clone().unwrap_or_else(|| details.name.clone().map(Personal::plain));
                    let new_attributes = attributes.as_ref().unwrap_or(&details.attributes);
                    let same = new_name == details.name.clone().map(Personal::plain)
                        && *new_attributes == details.attributes;
                    (!same).then(|| (new_name, seal_ready(new_attributes)))
                }
            },
        })
    }

    pub async fn join_group(
        &self,
        context: &Context,
        group: GroupId,
        subscriber: SubscriberId,
        consent: Consent,
    ) -> Result<Done, CommandError> {
        self.require_group(group).await?;
        let join = SubscriberCommand::JoinGroup { group_id: group, consent };
        Ok(self.store.execute::<Subscriber>(subscriber, join, context.request(Value::Null)).await?)
    }

    pub async fn leave_group(
        &self,
        context: &Context,
        group: GroupId,
        subscriber: SubscriberId,
    ) -> Result<Done, CommandError> {
        let leave = SubscriberCommand::LeaveGroup { group_id: group };
        Ok(self.store.execute::<Subscriber>(subscriber, leave, context.request(Value::Null)).await?)
    }

    async fn check_groups(&self, groups: &[GroupId]) -> Result<(), CommandError> {
        if groups.len() > GROUPS_MAX {
            return Err(CommandError::invalid("groups", format!("at most {GROUPS_MAX} groups")));
        }
        let unknown = self.unknown_groups(groups).await?;
        let error =
            |id: GroupId| FieldError { field: "groups".into(), reason: format!("group {id} is not known") };
        match unknown.is_empty() {
            true => Ok(()),
            false => Err(CommandError::Invalid(unknown.into_iter().map(error).collect())),
        }
    }
}

/// What a subscriber's sealed fields say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SubscriberDetails {
    pub address: String,
    pub name: Option<String>,
    pub attributes: Attributes,
}

impl SubscriberDetails {
    async fn open(
        commands: &Commands,
        id: SubscriberId,
        subscriber: &Subscriber,
    ) -> Result<Self, CommandError> {
        let keys = sealing::fetch(&commands.store.pool, &commands.store.master, &[id]).await?;
        keys.get(&id).map_or(Ok(Self::default()), |key| Self::open_with(key, subscriber))
    }

    pub fn open_with(key: &sealing::SubjectKey, subscriber: &Subscriber) -> Result<Self, CommandError> {
        let open = |field: &str, value: &Option<Personal>| {
            value
                .as_ref()
                .map(|value| key.open(field, value))
                .transpose()
                .map_err(eventstore::StoreError::from)
        };
        let attributes = open("attributes", &subscriber.attributes)?;
        let attributes = attributes.map(|json| serde_json::from_str(&json)).transpose();
        let attributes = attributes.map_err(|_| eventstore::StoreError::Format("attributes".into()))?;
        Ok(Self {
            address: open("address", &subscriber.address)?.unwrap_or_default(),
            name: open("name", &subscriber.name)?,
            attributes: attributes.unwrap_or_default(),
        })
    }
}
