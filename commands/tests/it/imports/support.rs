use bytes::Bytes;
use commands::imports::{ImportRequest, ImportStatus, ImportedStatus, RejectedRow};
use commands::{CommandError, Commands, Context, MailerNames, SubscriberDetails, TestRecipients, Timing};
use domain::consent::Consent;
use domain::subscriber::{Subscriber, SubscriberEvent};
use domain::{EmailAddress, GroupId, ImportId, SubscriberId};
use eventstore::keys::MasterKey;
use eventstore::{Done, Store, load, sealing};
use futures::{Stream, stream};
use sqlx::PgPool;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub const TIMING: Timing = Timing { window: Duration::from_millis(300), margin: Duration::from_millis(50) };

pub fn commands(pool: &PgPool) -> Commands {
    let master = MasterKey::from_hex(&"5a".repeat(32)).unwrap();
    let store = Store::new(pool.clone(), Arc::new(master));
    let mut commands = Commands::new(store, pool.clone(), TIMING, MailerNames::of([]));
    commands.test_recipients = Arc::new(TestRecipients::parse(&["example.com"]).unwrap());
    commands
}

pub fn context() -> Context {
    Context { actor: "admin".into(), ..Context::default() }
}

pub async fn group(commands: &Commands) -> GroupId {
    let done = commands.create_group(&context(), "News".into(), String::new()).await.unwrap();
    id_in(&done, "group_id")
}

pub fn id_in(done: &Done, field: &str) -> uuid::Uuid {
    done.answer[field].as_str().unwrap().parse().unwrap()
}

pub fn active(group: Option<GroupId>) -> ImportRequest {
    ImportRequest { group, ..ImportRequest::default() }
}

pub fn opted_out() -> ImportRequest {
    ImportRequest { status: ImportedStatus::OptedOut, ..active(None) }
}

/// A body in pieces of odd sizes.
pub fn body(text: impl Into<Bytes>) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + Unpin {
    let mut rest = text.into();
    let mut size = 0;
    stream::iter(std::iter::from_fn(move || {
        size = size * 7 % 60_013 + 1;
        (!rest.is_empty()).then(|| Ok(rest.split_to(rest.len().min(size))))
    }))
}

pub async fn start(commands: &Commands, request: ImportRequest, text: impl Into<Bytes>) -> ImportId {
    id_in(&commands.start_import(&context(), request, body(text)).await.unwrap(), "import_id")
}

/// Works all imports off that wait.
pub async fn work(commands: &Commands) {
    while commands.work_on_next_import(&CancellationToken::new()).await.unwrap().is_some() {}
}

pub async fn import(commands: &Commands, request: ImportRequest, text: impl Into<Bytes>) -> ImportStatus {
    let id = start(commands, request, text).await;
    work(commands).await;
    commands.import(id).await.unwrap()
}

/// What became of the rows: created, updated, unchanged, kept, rejected.
pub fn counts(status: &ImportStatus) -> [i64; 5] {
    let counts = [status.created, status.updated, status.unchanged, status.kept_opted_out, status.rejected];
    assert_eq!(status.rows, counts.iter().sum::<i64>(), "{status:?}");
    counts
}

/// Those of an import that went to its end.
pub fn completed(status: &ImportStatus) -> [i64; 5] {
    assert_eq!((status.status.as_str(), status.reason.as_deref()), ("completed", None));
    assert_eq!((status.rows, status.bytes_read), (status.rows_total, status.bytes_total));
    assert!(status.finished_at.is_some());
    counts(status)
}

pub async fn rejected(commands: &Commands, id: ImportId) -> Vec<RejectedRow> {
    let mut all: Vec<RejectedRow> = Vec::new();
    loop {
        let after = all.last().map_or(0, |row| row.line);
        let page = commands.rejected_rows(id, after, 1_000).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

pub async fn rejected_lines(commands: &Commands, id: ImportId) -> Vec<i64> {
    rejected(commands, id).await.into_iter().map(|row| row.line).collect()
}

/// Everybody: by canonical address, what their sealed fields say and what happened to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    pub id: SubscriberId,
    pub details: SubscriberDetails,
    pub state: Subscriber,
    pub events: Vec<&'static str>,
    pub consents: Vec<(Consent, Option<String>)>,
}

pub async fn people(commands: &Commands) -> BTreeMap<String, Person> {
    let pool = &commands.store.pool;
    let rows: Vec<(String, serde_json::Value)> = sqlx::query_as(
        "SELECT aggregate_id, payload FROM events WHERE aggregate_type = 'subscriber' ORDER BY aggregate_id, sequence",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut events = BTreeMap::<SubscriberId, Vec<SubscriberEvent>>::new();
    for (id, payload) in rows {
        events.entry(id.parse().unwrap()).or_default().push(serde_json::from_value(payload).unwrap());
    }
    let ids: Vec<_> = events.keys().copied().collect();
    let keys = sealing::fetch(pool, &commands.store.master, &ids).await.unwrap();
    let mut people = BTreeMap::new();
    for (id, events) in events {
        let Some(key) = keys.get(&id) else { continue };
        let mut state = Subscriber::default();
        for event in &events {
            cqrs_es::Aggregate::apply(&mut state, event.clone());
        }
        let details = SubscriberDetails::open_with(key, &state).unwrap();
        let canonical = EmailAddress::parse(&details.address).unwrap().canonical();
        let consents = events.iter().filter_map(|event| consent(key, event)).collect();
        let events = events.iter().map(kind).collect();
        assert!(
            people.insert(canonical, Person { id, details, state, events, consents }).is_none(),
            "one each"
        );
    }
    people
}

fn consent(key: &sealing::SubjectKey, event: &SubscriberEvent) -> Option<(Consent, Option<String>)> {
    match event {
        SubscriberEvent::Added { consent, .. } | SubscriberEvent::GroupJoined { consent, .. } => {
            let from = consent.given_from.as_ref().map(|from| key.open("given_from", from).unwrap());
            Some((consent.clone(), from))
        }
        _ => None,
    }
}

fn kind(event: &SubscriberEvent) -> &'static str {
    match event {
        SubscriberEvent::Added { .. } => "added",
        SubscriberEvent::DetailsChanged { .. } => "details",
        SubscriberEvent::AddressChanged { .. } => "address",
        SubscriberEvent::GroupJoined { .. } => "joined",
        SubscriberEvent::GroupLeft { .. } => "left",
        SubscriberEvent::OptedOut { .. } => "opted out",
        SubscriberEvent::OptedIn { .. } => "opted in",
        SubscriberEvent::Erased {} => "erased",
        SubscriberEvent::SubscriptionRequested(_) => "requested",
        SubscriberEvent::SubscriptionConfirmed { .. } => "confirmed",
    }
}

pub async fn person(commands: &Commands, address: &str) -> Person {
    people(commands).await.remove(address).unwrap()
}

pub async fn subscriber(commands: &Commands, id: SubscriberId) -> Subscriber {
    load(&commands.store.pool, id).await.unwrap().aggregate
}

/// Gates say the same as the streams that they follow from.
pub async fn assert_gates_follow(commands: &Commands) {
    let gates: Vec<(Vec<u8>, SubscriberId, bool)> =
        sqlx::query_as("SELECT address_hash, subscriber_id, suppressed FROM gates")
            .fetch_all(&commands.store.pool)
            .await
            .unwrap();
    let people = people(commands).await;
    assert_eq!(gates.len(), people.len());
    let found: BTreeSet<_> = gates.into_iter().collect();
    let expected = people.values().map(|person| {
        let hash = person.state.address_hash.unwrap();
        (hash.0.to_vec(), person.id, person.state.global_opt_out)
    });
    assert_eq!(found, expected.collect());
}

pub async fn rows_in(pool: &PgPool, table: &str) -> i64 {
    sqlx::query_scalar(&format!("SELECT count(*) FROM {table}")).fetch_one(pool).await.unwrap()
}

/// As if whoever has them had been dead for long; those within a batch's transaction are left.
pub async fn expire_leases(pool: &PgPool) {
    let expire =
        "UPDATE imports SET leased_until = clock_timestamp() - interval '1 second' WHERE import_id IN (
        SELECT import_id FROM imports WHERE leased_until IS NOT NULL FOR UPDATE SKIP LOCKED)";
    sqlx::query(expire).execute(pool).await.unwrap();
}

pub fn field_of(error: &CommandError) -> (&str, &str) {
    match error {
        CommandError::Invalid(fields) => (&fields[0].field, &fields[0].reason),
        other => panic!("{other:?}"),
    }
}

/// Polls a future so many times at the most; `None` if it is not ready then.
pub async fn polled<F: Future>(future: Pin<&mut F>, times: u64) -> Option<F::Output> {
    let (mut future, mut left) = (future, times);
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// SplitMix64: the same seed, the same numbers.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}
