//! Double opt-in: anybody requests a subscription for an address, a mail asks the address's owner, and the owner confirms.
//!
//! A request does the same for every address, by the same statements, and looks at nobody's stream: neither the answer nor
//! its time tells who is a subscriber. It is a mail in the queue, with what was asked sealed by a key of its own. The
//! sender looks whose the address is when it makes the mail (`send/subscription.rs`).
//!
//! A link's secret is in no event and no row: the sender draws it, and its hash is written in the transaction that lets the
//! mail go. Each mail's link is good by itself, for what its request named, until it is over: whoever requests something
//! else in the meantime, for the same address, makes no other link useless. Keys can be rotated without a thought for it.

use crate::accounts::record;
use crate::mail_limits::MailLimit;
use crate::secrets::{self, Given};
use crate::subscribers::{check_email, check_name};
use crate::{CommandError, Commands, Context, FieldError, idempotent};
use chrono::TimeDelta;
use domain::subscriber::{Subscriber, SubscriberCommand, SubscriberError, SubscriptionRequest};
use domain::transactional::{Mail, SubscriptionMail, Transactional, TransactionalCommand};
use domain::visit::Visit;
use domain::{AddressHash, DispatchId, GroupId, Personal, SubscriberId};
use eventstore::sealing::{self, SubjectKeys};
use eventstore::{Decided, Done, ExecuteError, Loaded, PositionToken, append, clock, feed, ids, load};
use serde_json::Value;
use sqlx::PgConnection;

/// From the moment that the mail may go.
const LIFE: TimeDelta = TimeDelta::days(7);
/// A mailer that is down may come back; who asked yesterday does not wait any more.
const GIVEN_UP_AFTER: TimeDelta = TimeDelta::days(1);
const LIMIT: MailLimit = MailLimit { requests: "subscription_requests", hourly_max: 3, daily_max: 5 };
/// Groups of one request: the mail names each.
const GROUPS_MAX: usize = 20;
/// What is recorded as the place of a request.
const SOURCE: &str = "double opt-in";

const DEAD_LINK: CommandError = CommandError::Unauthorized("the link is not valid any more: subscribe again");

#[derive(Debug, Clone)]
pub struct NewSubscription {
    pub email: String,
    pub name: Option<String>,
    pub groups: Vec<GroupId>,
    /// Of the words beside the form that asks for it.
    pub wording_version: Option<String>,
    pub visit: Visit,
}

/// The secret of one mail's link.
pub struct SubscriptionToken(Given);

impl SubscriptionToken {
    pub fn draw() -> Result<Self, CommandError> {
        Ok(Self(secrets::new("plc_")?))
    }

    pub fn text(&self) -> &str {
        &self.0.text
    }
}

/// What a link is about.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriptionLink {
    pub subscriber: SubscriberId,
    pub email: String,
    /// Those that are asked about; once that is confirmed, those of them that the reader did not leave since.
    pub groups: Vec<GroupId>,
    pub confirmed: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    dispatch_id: DispatchId,
    subscriber_id: SubscriberId,
}

impl Commands {
    /// Queues the mail that asks. Beyond the limit of mails nothing happens.
    pub async fn request_subscription(
        &self,
        context: &Context,
        new: NewSubscription,
    ) -> Result<Done, CommandError> {
        let email = check_email(&new.email)?;
        let name = check_name(new.name.as_deref().unwrap_or_default())?;
        let groups = self.requested_groups(new.groups).await?;
        let mail = SubscriptionMail {
            address_hash: self.store.master.address_hash(&email),
            hash_key_id: self.store.master.id().into(),
            address: Personal::plain(email.to_string()),
            name,
            groups,
            source: SOURCE.into(),
            wording_version: new.wording_version,
            requested_at: clock::now(),
            visit: new.visit,
            mailer: self.mailers.default.clone(),
            expires_at: clock::now() + GIVEN_UP_AFTER,
        };
        // Counted together, or a stranger would have as many mails for one mailbox as it has spellings.
        let mailbox = self.store.master.address_hash(&email.mailbox());
        let key = context.idempotency.as_ref();
        let mut tx = self.store.pool.begin().await?;
        if let Some(earlier) = idempotent::take(&mut tx, key).await? {
            return Ok(earlier);
        }
        let queued = LIMIT.allows(&mut tx, mailbox).await?;
        if queued {
            self.queue(&mut tx, context, mailbox, mail).await?;
        }
        // The same whether or not there was a mail to queue.
        let done = idempotent::answer(&mut tx, key, Value::Null, queued).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(done)
    }

    async fn requested_groups(&self, mut groups: Vec<GroupId>) -> Result<Vec<GroupId>, CommandError> {
        groups.sort_unstable();
        groups.dedup();
        if !(1..=GROUPS_MAX).contains(&groups.len()) {
            return Err(CommandError::invalid("groups", format!("1 to {GROUPS_MAX} groups")));
        }
        let unknown = self.unknown_groups(&groups).await?;
        let error =
            |id: GroupId| FieldError { field: "groups".into(), reason: format!("group {id} is not known") };
        match unknown.is_empty() {
            true => Ok(groups),
            false => Err(CommandError::Invalid(unknown.into_iter().map(error).collect())),
        }
    }

    async fn queue(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        mailbox: AddressHash,
        mail: SubscriptionMail,
    ) -> Result<(), CommandError> {
        let dispatch = ids::new_id();
        sqlx::query("INSERT INTO subscription_requests (dispatch_id, address_hash) VALUES ($1, $2)")
            .bind(dispatch)
            .bind(mailbox.0.as_slice())
            .execute(&mut *tx)
            .await?;
        let keys = sealing::create(&mut *tx, &self.store.master, &[dispatch]).await?;
        let request = TransactionalCommand::RequestSubscription(Box::new(mail));
        // The version that a client saw is another stream's.
        let context = Context { if_match: None, ..context.clone() };
        record::<Transactional>(tx, dispatch, &keys, request, &context).await?;
        Ok(())
    }

    /// What a link is about that is good now. Looking changes nothing.
    pub async fn subscription_link(&self, token: &str) -> Result<Option<SubscriptionLink>, CommandError> {
        let Some(Row { dispatch_id, subscriber_id }) = self.find(token).await? else { return Ok(None) };
        let Some(request) = self.subscription_request(dispatch_id).await? else { return Ok(None) };
        let person = load::<Subscriber>(&self.store.pool, subscriber_id).await?.aggregate;
        // Whoever reads the mail of an address that was left may be anybody.
        if person.address_hash.is_some_and(|hash| hash != request.address_hash) {
            return Ok(None);
        }
        let in_force = |group: &GroupId| person.is_subscribed(*group);
        let (groups, confirmed) = match person.requests.get(&dispatch_id) {
            Some(Some(requested)) => (requested.groups.clone(), false),
            Some(None) => (request.groups.into_iter().filter(in_force).collect(), true),
            // Of an erased person's address: there is nobody yet.
            None if person.version == 0 => (request.groups, false),
            None => return Ok(None),
        };
        let Personal::Plain(email) = request.address else { return Ok(None) };
        let link = SubscriptionLink { subscriber: subscriber_id, email, groups, confirmed };
        Ok(Some(link).filter(|link| !link.groups.is_empty()))
    }

    /// By the owner of the address. Repeats append nothing.
    pub async fn confirm_subscription(
        &self,
        context: &Context,
        token: &str,
        wording_version: Option<String>,
        visit: Visit,
    ) -> Result<Done, CommandError> {
        let Row { dispatch_id, subscriber_id } = self.find(token).await?.ok_or(DEAD_LINK)?;
        let confirm = SubscriberCommand::ConfirmSubscription { request: dispatch_id, wording_version, visit };
        // Nobody signs in for this: who has the link is the reader.
        let context = &Context { actor: "reader".to_owned(), ..context.clone() };
        let request = context.request(Value::Null);
        match self.store.execute::<Subscriber>(subscriber_id, confirm.clone(), request).await {
            Err(ExecuteError::Rejected(SubscriberError::Unknown)) => {
                match self.come_back(context, dispatch_id, subscriber_id, confirm.clone()).await {
                    // Pressed twice: the other was first.
                    Err(CommandError::Conflict) => {
                        let request = context.request(Value::Null);
                        Ok(self.store.execute::<Subscriber>(subscriber_id, confirm, request).await?)
                    }
                    done => done,
                }
            }
            done => Ok(done?),
        }
    }

    async fn find(&self, token: &str) -> Result<Option<Row>, CommandError> {
        let found = "SELECT dispatch_id, subscriber_id FROM subscription_requests
                     WHERE token_hash = $1 AND expires_at > clock_timestamp()";
        let hash = secrets::hash(token);
        Ok(sqlx::query_as(found).bind(hash.as_slice()).fetch_optional(&self.store.pool).await?)
    }

    /// A request with what is personal opened; none once its key is gone.
    pub async fn subscription_request(
        &self,
        dispatch: DispatchId,
    ) -> Result<Option<SubscriptionRequest>, CommandError> {
        let loaded = load::<Transactional>(&self.store.pool, dispatch).await?.aggregate;
        let Some(Mail::Subscription(mail)) = loaded.mail else { return Ok(None) };
        let keys = sealing::fetch(&self.store.pool, &self.store.master, &[dispatch]).await?;
        let Some(key) = keys.get(&dispatch) else { return Ok(None) };
        Ok(Some(opened(dispatch, key, mail)?))
    }

    /// Whoever was erased is a stranger when they come back: somebody new, whose first events are the request and its
    /// confirmation.
    async fn come_back(
        &self,
        context: &Context,
        dispatch: DispatchId,
        subscriber: SubscriberId,
        confirm: SubscriberCommand,
    ) -> Result<Done, CommandError> {
        let request = self.subscription_request(dispatch).await?.ok_or(DEAD_LINK)?;
        let request = SubscriberCommand::RequestSubscription(Box::new(request));
        let decided = Decided::<Subscriber>::decide(subscriber, Loaded::default(), request).await?;
        let decided = decided.and(confirm).await?;
        let mut tx = self.store.pool.begin().await?;
        let keys: SubjectKeys = sealing::create(&mut tx, &self.store.master, &[subscriber]).await?;
        let appended = append(&mut tx, vec![decided.into_append(&keys)?], &context.metadata()).await?;
        if !appended.lost.is_empty() {
            // Somebody has the address since, by another request of the same owner.
            return Err(DEAD_LINK);
        }
        let epoch = match appended.epoch {
            Some(epoch) => epoch,
            None => feed::epoch(&mut *tx).await?,
        };
        tx.commit().await?;
        self.store.news.appended();
        let position = PositionToken { epoch, touched: appended.touched };
        Ok(Done { answer: Value::Null, position, appended: true, repeated: false })
    }
}

fn opened(
    dispatch: DispatchId,
    key: &sealing::SubjectKey,
    mail: SubscriptionMail,
) -> Result<SubscriptionRequest, eventstore::StoreError> {
    let open = |field, value: Option<Personal>| {
        value.map(|value| key.open(field, &value).map(Personal::Plain)).transpose()
    };
    Ok(SubscriptionRequest {
        request: dispatch,
        address: Personal::Plain(key.open("address", &mail.address)?),
        address_hash: mail.address_hash,
        hash_key_id: mail.hash_key_id,
        name: open("name", mail.name)?,
        groups: mail.groups,
        source: mail.source,
        wording_version: mail.wording_version,
        requested_at: mail.requested_at,
        visit: Visit {
            source_address: open("source_address", mail.visit.source_address)?,
            user_agent: open("user_agent", mail.visit.user_agent)?,
        },
    })
}

/// From now on the link in this very mail counts, and whoever has it confirms for this person.
pub(crate) async fn let_link_count(
    tx: &mut PgConnection,
    dispatch: DispatchId,
    subscriber: SubscriberId,
    token: &SubscriptionToken,
) -> Result<(), CommandError> {
    sqlx::query(
        "UPDATE subscription_requests SET subscriber_id = $2, token_hash = $3, expires_at = $4
         WHERE dispatch_id = $1",
    )
    .bind(dispatch)
    .bind(subscriber)
    .bind(token.0.hash.as_slice())
    .bind(clock::now() + LIFE)
    .execute(tx)
    .await?;
    Ok(())
}
