//! A campaign from its audience to its last mail, with mailers that say what a test wants.

use async_trait::async_trait;
use commands::{Commands, Context, MailerNames, NewCampaign, NewSubscriber, TestRecipients, Timing};
use domain::campaign::OnUnknown;
use domain::consent::Consent;
use domain::template::{Body, Content};
use domain::{CampaignId, GroupId, SubscriberId};
use eventstore::keys::MasterKey;
use eventstore::sequencer::Sequencer;
use eventstore::{Done, Store, clock, service_keys};
use mail::{Address, LinkKey, LinkKeys, Links};
use projections::Embedded;
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use workers::dkim::Dkim;
use workers::freezer::Freezer;
use workers::mailers::{Mailer, Outcome, Outgoing, Reconciled, Unavailable};
use workers::scheduler::Scheduler;
use workers::sender::{AccountPages, Sender, SenderSettings};
use workers::window::Window;

pub const TIMING: Timing = Timing { window: Duration::from_millis(400), margin: Duration::from_millis(100) };
const DEADLINE: Duration = Duration::from_secs(60);

/// What a scripted mailer answers to a message.
pub type Script = dyn Fn(&Outgoing) -> Outcome + Send + Sync;

/// Keeps what it accepted; asks the script what to answer.
pub struct Scripted {
    pub taken: Mutex<Vec<Outgoing>>,
    pub script: Box<Script>,
    pub call_timeout: Duration,
    /// Held shut by tests that need a call to be under way.
    pub door: tokio::sync::RwLock<()>,
    /// Held back by tests that need a call to have begun, and no answer.
    pub answers: tokio::sync::RwLock<()>,
    pub known: Reconciled,
    pub down: std::sync::atomic::AtomicBool,
}

impl Scripted {
    pub fn taken(&self) -> Vec<Outgoing> {
        self.taken.lock().unwrap().clone()
    }

    pub fn accepting() -> Arc<Self> {
        Self::answering(|_| Outcome::Accepted { provider_id: None, late: false })
    }

    pub fn answering(script: impl Fn(&Outgoing) -> Outcome + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            script: Box::new(script),
            call_timeout: Duration::from_millis(200),
            door: tokio::sync::RwLock::new(()),
            answers: tokio::sync::RwLock::new(()),
            known: Reconciled::Unknown,
            down: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// How often each reader got a mail.
    pub fn copies(&self) -> BTreeMap<Uuid, usize> {
        self.taken.lock().unwrap().iter().fold(BTreeMap::new(), |mut copies, mail| {
            *copies.entry(mail.subscriber).or_default() += 1;
            copies
        })
    }
}

#[async_trait]
impl Mailer for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }
    fn concurrency(&self) -> usize {
        4
    }
    fn call_timeout(&self) -> Duration {
        self.call_timeout
    }
    async fn prepare(&self, _: usize) -> Result<(), Unavailable> {
        match self.down.load(std::sync::atomic::Ordering::Relaxed) {
            true => Err(Unavailable { reason: "down".into() }),
            false => Ok(()),
        }
    }
    async fn take_tokens(&self, n: usize) -> usize {
        n
    }
    async fn hand_over(&self, message: &Outgoing, window: &Window) -> Outcome {
        let _open = self.door.read().await;
        if window.check().is_err() {
            return Outcome::NotStarted;
        }
        let outcome = (self.script)(message);
        if matches!(outcome, Outcome::Accepted { .. } | Outcome::Unknown { .. }) {
            self.taken.lock().unwrap().push(message.clone());
        }
        let _answered = self.answers.read().await;
        outcome
    }
    async fn reconcile(&self, _: Uuid, _: Uuid, _: u32) -> Reconciled {
        self.known
    }
    async fn settle_barrier(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}

pub struct World {
    pub pool: PgPool,
    pub commands: Commands,
    pub scheduler: Scheduler,
    pub freezer: tokio::sync::Mutex<Freezer>,
    pub group: GroupId,
    pub template: Uuid,
    pub stop: CancellationToken,
    _ends_with_the_test: DropGuard,
}

impl World {
    /// As if opt-outs were made a moment ago: the mail of one waits so long.
    pub async fn a_moment_passes(&self) {
        let earlier = "UPDATE opt_out_mails SET opted_out_at = opted_out_at - interval '2 s'";
        sqlx::query(earlier).execute(&self.pool).await.unwrap();
    }

    pub async fn opt_outs_become_mails(&self) {
        self.a_moment_passes().await;
        while self.commands.queue_opt_out_mails().await.unwrap() {}
    }

    pub async fn new(pool: &PgPool) -> Self {
        Self::with_timing(pool, TIMING).await
    }

    pub async fn with_timing(pool: &PgPool, timing: Timing) -> Self {
        let store = Store::new(pool.clone(), Arc::new(MasterKey::from_hex(&"5a".repeat(32)).unwrap()));
        let mut commands = Commands::new(store.clone(), pool.clone(), timing, MailerNames::of(["scripted"]));
        commands.test_recipients = Arc::new(TestRecipients::parse(&["example.com"]).unwrap());
        let stop = CancellationToken::new();
        let sequencer = Sequencer::new(store);
        let news = commands.store.news.clone();
        tokio::spawn(sequencer.run(stop.clone()));
        let embedded =
            Embedded { pool: pool.clone(), projections: projections::all(), news, interleaving: None };
        tokio::spawn(embedded.run(stop.clone()));
        let by = Context::system("test");
        let group =
            id_of(&commands.create_group(&by, "News".into(), String::new()).await.unwrap(), "group_id");
        let content = Content {
            name: "Letter".into(),
            subject: "Hello {{ first_name }}".into(),
            body: Body::Html("<html><body><p>Hello {{ name }}</p></body></html>".into()),
            ..Content::default()
        };
        let template = id_of(&commands.create_template(&by, content).await.unwrap(), "template_id");
        let freezer = Freezer::new(commands.clone(), 10).into();
        let scheduler = Scheduler::new(commands.clone());
        let guard = stop.clone().drop_guard();
        Self {
            pool: pool.clone(),
            commands,
            scheduler,
            freezer,
            group,
            template,
            stop,
            _ends_with_the_test: guard,
        }
    }

    pub async fn sender(&self, mailer: Arc<Scripted>) -> Sender {
        self.signing_sender(mailer, Dkim::default()).await
    }

    pub async fn signing_sender(&self, mailer: Arc<Scripted>, dkim: Dkim) -> Sender {
        self.sender_of([("scripted", mailer as Arc<dyn Mailer>)], dkim).await
    }

    /// The first one is the default.
    pub async fn sender_of<const N: usize>(
        &self,
        mailers: [(&str, Arc<dyn Mailer>); N],
        dkim: Dkim,
    ) -> Sender {
        let store = &self.commands.store;
        let keys = service_keys::load(&store.pool, &store.master, "preference").await.unwrap();
        let keys = keys.into_iter().map(|key| LinkKey { kid: key.kid, secret: *key.secret }).collect();
        let settings = SenderSettings {
            chunk_max: 5,
            dispatches_at_once: 1,
            unavailable_after: Duration::from_millis(200),
            deferred_pause: Duration::from_millis(10),
            default_mailer: mailers[0].0.into(),
            default_from: Address::parse("News <news@example.com>").unwrap(),
            postal_address: None,
            mail_host: "example.com".into(),
            media_url: "https://cdn.example.com".into(),
            account_pages: AccountPages {
                password_reset: "https://app.example.com/reset".into(),
                invitation: "https://app.example.com/join".into(),
            },
            dkim,
        };
        let mailers = mailers.into_iter().map(|(name, mailer)| (name.to_owned(), mailer)).collect();
        let keys = Arc::new(LinkKeys::new(keys).unwrap());
        Sender::new(self.commands.clone(), mailers, keys, Links::new("https://mail.example.com"), settings)
    }

    pub async fn readers(&self, count: usize) -> Vec<SubscriberId> {
        self.readers_named("reader", count).await
    }

    pub async fn readers_named(&self, name: &str, count: usize) -> Vec<SubscriberId> {
        let mut readers = Vec::new();
        for n in 0..count {
            let new = NewSubscriber {
                email: format!("{name}{n}@example.com"),
                name: Some(format!("Reader {n}")),
                attributes: BTreeMap::new(),
                groups: vec![self.group],
                consent: by_form(),
            };
            let done = self.commands.add_subscriber(&Context::system("test"), new).await.unwrap();
            readers.push(id_of(&done, "subscriber_id"));
        }
        readers
    }

    /// A campaign that is due now.
    pub async fn campaign(&self, on_unknown: OnUnknown) -> CampaignId {
        self.campaign_to(self.group, on_unknown).await
    }

    pub async fn campaign_to(&self, group: GroupId, on_unknown: OnUnknown) -> CampaignId {
        let new = NewCampaign {
            name: Some("November".into()),
            template: self.template,
            group,
            schedule_at: Some(clock::now()),
            mailer: None,
            from: None,
            reply_to: None,
            on_unknown,
        };
        id_of(&self.commands.create_campaign(&Context::system("test"), new).await.unwrap(), "campaign_id")
    }

    pub async fn frozen_campaign(&self, on_unknown: OnUnknown) -> CampaignId {
        let id = self.campaign(on_unknown).await;
        self.freeze(id).await;
        id
    }

    pub async fn freeze(&self, id: CampaignId) {
        self.until(async || {
            self.scheduler.step().await.unwrap();
            self.freezer.lock().await.step(&self.stop).await.unwrap();
            self.status(id).await != "scheduled" && self.status(id).await != "freezing"
        })
        .await;
    }

    pub async fn status(&self, id: CampaignId) -> String {
        let status = sqlx::query_scalar("SELECT status FROM campaign_gates WHERE campaign_id = $1");
        status.bind(id).fetch_one(&self.pool).await.unwrap()
    }

    /// Lets the sender work until the campaign is `status`.
    pub async fn send_until(&self, sender: &Sender, id: CampaignId, status: &str) {
        self.until(async || {
            sender.step(&self.stop).await.unwrap();
            self.status(id).await == status
        })
        .await;
    }

    pub async fn has_permits(&self) -> bool {
        self.permits().await > 0
    }

    pub async fn permits(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM permits").fetch_one(&self.pool).await.unwrap()
    }

    pub async fn until(&self, mut condition: impl AsyncFnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !condition().await {
            assert!(tokio::time::Instant::now() < deadline, "it did not come to pass");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Recipients by state, folded from the log itself.
    pub async fn states(&self, id: CampaignId) -> BTreeMap<String, usize> {
        let dispatches: Vec<Uuid> =
            sqlx::query_scalar("SELECT dispatch_id FROM dispatch_work WHERE campaign_id = $1")
                .bind(id)
                .fetch_all(&self.pool)
                .await
                .unwrap();
        let loaded =
            eventstore::load_many::<domain::dispatch::Dispatch>(&self.pool, &dispatches).await.unwrap();
        let mut states = BTreeMap::new();
        for recipient in loaded.values().flat_map(|loaded| &loaded.aggregate.recipients) {
            let word = format!("{:?}", recipient.state).split('(').next().unwrap().to_lowercase();
            *states.entry(word).or_default() += 1;
        }
        states
    }
}

pub fn by_form() -> Consent {
    Consent { source: "form".into(), wording_version: None, given_at: None, given_from: None }
}

pub fn id_of(done: &Done, field: &str) -> Uuid {
    done.answer[field].as_str().unwrap().parse().unwrap()
}

pub fn states<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.into_iter().map(|(state, count)| (state.to_owned(), count)).collect()
}

/// Quoted-printable wraps and escapes links.
pub fn text_of(mail: &Outgoing) -> String {
    String::from_utf8(mail.message.clone()).unwrap().replace("=\r\n", "").replace("=3D", "=")
}

pub fn token_of(mail: &Outgoing) -> String {
    let text = text_of(mail);
    let (_, rest) = text.split_once("token=").expect("a link");
    rest.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).next().unwrap().to_owned()
}
