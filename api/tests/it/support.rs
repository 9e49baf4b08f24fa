//! One API with everything that fills its read models, and requests as a client writes them.

use api::{AccessClaims, AccessKeys, ApiConfig, Deps, Limits, Peer, ProviderConfig, Providers};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use commands::{
    Commands, Context, MailerNames, NewApiKey, NewUser, Password, Passwords, TestRecipients, Timing,
};
use domain::EmailAddress;
use domain::access::{Role, Scope};
use eventstore::keys::MasterKey;
use eventstore::sequencer::Sequencer;
use eventstore::service_keys::ServiceKey;
use eventstore::{Store, clock};
use mail::links::{LinkKey, LinkKeys, PreferenceClaims};
use media::Files;
use projections::Embedded;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;
use uuid::Uuid;

pub const PASSWORD: &str = "correct horse battery staple";
pub const ORIGIN: &str = "https://mail.example.org";
const STATE_KEY: [u8; 32] = [9; 32];
const MASTER: &str = "5f0e1d2c3b4a59687786a5b4c3d2e1f0f1e2d3c4b5a697887766554433221100";
const ANSWER_MAX_BYTES: usize = 64 * 1024 * 1024;

pub struct TestApp {
    pub router: Router,
    pub pool: PgPool,
    pub commands: Commands,
    pub links: Arc<LinkKeys>,
    pub access_keys: Arc<AccessKeys>,
    /// An administrator's access token: what calls bear unless they say otherwise.
    pub admin: String,
    pub leaving: CancellationToken,
    pub shutdown: CancellationToken,
    _stop: Option<DropGuard>,
}

impl TestApp {
    pub async fn new(pool: PgPool) -> Self {
        Self::with(pool, |_| {}).await
    }

    pub async fn with(pool: PgPool, change: impl FnOnce(&mut ApiConfig)) -> Self {
        Self::without_projectors(pool, change).await.filled()
    }

    /// The sequencer and the projectors run beside it.
    fn filled(mut self) -> Self {
        let stop = CancellationToken::new();
        let sequencer = Sequencer::new(self.commands.store.clone());
        let embedded = Embedded {
            pool: self.pool.clone(),
            projections: projections::all(),
            news: self.commands.store.news.clone(),
            interleaving: None,
        };
        tokio::spawn(sequencer.run(stop.clone()));
        tokio::spawn(embedded.run(stop.clone()));
        self._stop = Some(stop.drop_guard());
        self
    }

    /// Nothing fills the read models.
    pub async fn without_projectors(pool: PgPool, change: impl FnOnce(&mut ApiConfig)) -> Self {
        Self::over(pool.clone(), pool, change).await
    }

    /// With connections of their own for opt-outs.
    pub async fn over(pool: PgPool, opt_outs: PgPool, change: impl FnOnce(&mut ApiConfig)) -> Self {
        Self::build(pool, opt_outs, Passwords::default(), change).await
    }

    /// With other bounds on the hashing of passwords.
    pub async fn with_passwords(pool: PgPool, passwords: Passwords) -> Self {
        Self::build(pool.clone(), pool, passwords, |_| {}).await
    }

    /// With media in a store.
    pub async fn with_media(pool: PgPool, files: Arc<Files>) -> Self {
        Self::assemble(pool.clone(), pool, Passwords::default(), Some(files), |_| {}).await.filled()
    }

    pub async fn build(
        pool: PgPool,
        opt_outs: PgPool,
        passwords: Passwords,
        change: impl FnOnce(&mut ApiConfig),
    ) -> Self {
        Self::assemble(pool, opt_outs, passwords, None, change).await
    }

    async fn assemble(
        pool: PgPool,
        opt_outs: PgPool,
        passwords: Passwords,
        media: Option<Arc<Files>>,
        change: impl FnOnce(&mut ApiConfig),
    ) -> Self {
        let store = Store::new(pool.clone(), Arc::new(MasterKey::from_hex(MASTER).unwrap()));
        let timing = Timing { window: Duration::from_millis(200), margin: Duration::from_millis(50) };
        let opt_out_pool = opt_outs.clone();
        let mut commands = Commands::new(store, opt_outs, timing, MailerNames::of(["outbox", "null"]));
        commands.passwords = Arc::new(passwords);
        let colleagues = TestRecipients::parse(&["editor@example.com", "bücher.example"]).unwrap();
        commands.test_recipients = Arc::new(colleagues);
        let links = Arc::new(LinkKeys::new(vec![LinkKey { kid: "t-1".into(), secret: [7; 32] }]).unwrap());
        let access_keys = Arc::new(AccessKeys::new(pool.clone(), commands.store.master.clone(), ORIGIN));
        // By other connections: a test may have taken all of those.
        let signer = AccessKeys::new(opt_out_pool, commands.store.master.clone(), ORIGIN);
        let admin = administrators_token(&signer).await;
        let mut config = ApiConfig { limits: generous(), ..ApiConfig::new(ORIGIN.parse().unwrap()) };
        change(&mut config);
        let (leaving, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let router = api::router(Deps {
            commands: commands.clone(),
            pool: pool.clone(),
            link_keys: links.clone(),
            access_keys: access_keys.clone(),
            providers: Arc::new(providers()),
            media,
            config,
            leaving: leaving.clone(),
            shutdown: shutdown.clone(),
        });
        Self { router, pool, commands, links, access_keys, admin, leaving, shutdown, _stop: None }
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        Call { router: self.router.clone(), request }.bearer(&self.admin)
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub fn put(&self, path: &str) -> Call {
        self.call(Method::PUT, path)
    }

    pub fn patch(&self, path: &str) -> Call {
        self.call(Method::PATCH, path)
    }

    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    /// Every event that was ever appended, counted.
    pub async fn events(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&self.pool).await.unwrap()
    }

    /// Waits until the read models have all that was ever appended.
    pub async fn settled(&self) {
        until("the read models are where the log is", || async {
            let unnumbered: i64 =
                sqlx::query_scalar("SELECT count(*) FROM pending").fetch_one(&self.pool).await.unwrap();
            let lags = projections::lag(&self.pool, &projections::all()).await.unwrap();
            unnumbered == 0 && lags.iter().all(|lag| lag.events == 0)
        })
        .await;
    }

    /// Waits until so many sessions, or more, wait for a lock.
    pub async fn blocked(&self, count: i64) {
        let blocked = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0";
        until("sessions wait for a lock", || async {
            sqlx::query_scalar::<_, i64>(blocked).fetch_one(&self.pool).await.unwrap() >= count
        })
        .await;
    }

    /// The token of a link in a mail to this reader.
    pub fn token(&self, subscriber: Uuid, group: Option<Uuid>) -> String {
        self.token_of(PreferenceClaims {
            subscriber,
            campaign: Some(Uuid::from_u128(77)),
            group,
            dispatch: Some(Uuid::from_u128(78)),
            issued_at: clock::now().timestamp(),
        })
    }

    pub fn token_of(&self, claims: PreferenceClaims) -> String {
        self.links.sign_preference(&claims).unwrap()
    }

    /// A user with the password [`PASSWORD`].
    pub async fn user(&self, email: &str, roles: &[Role]) -> Uuid {
        let password = Password::new(PASSWORD.into()).unwrap();
        let (email, password) = (EmailAddress::parse(email).unwrap(), Some(password));
        let new = NewUser { email, roles: roles.to_vec(), password };
        let done = self.commands.add_user(&Context::system("test"), new).await.unwrap();
        done.answer["user_id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn api_key(&self, scopes: &[Scope]) -> String {
        let new = NewApiKey { name: "test".into(), scopes: scopes.to_vec(), expires_at: None };
        self.commands.make_api_key(&Context::system("test"), new).await.unwrap().1.text.to_string()
    }

    pub async fn try_login(&self, email: &str, password: &str) -> Answer {
        let login = json!({ "email": email, "password": password });
        self.post("/auth/login").anonymous().json(login).send().await
    }

    pub async fn login(&self, email: &str) -> Tokens {
        self.try_login(email, PASSWORD).await.tokens()
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.post("/auth/refresh").anonymous().json(json!({ "refresh_token": token })).send().await
    }

    pub async fn group(&self, name: &str) -> Uuid {
        self.post("/groups").json(json!({ "name": name })).send().await.id("group_id")
    }

    pub async fn subscriber(&self, email: &str, groups: &[Uuid]) -> Uuid {
        let new = json!({ "email": email, "groups": groups, "consent": { "source": "test" } });
        self.post("/subscribers").json(new).send().await.id("subscriber_id")
    }

    pub async fn template(&self) -> Uuid {
        let template =
            json!({ "name": "Letter", "subject": "Hello {{ first_name }}", "html": "<p>Hello</p>" });
        self.post("/templates").json(template).send().await.id("template_id")
    }

    pub async fn campaign(&self) -> Uuid {
        let (template, group) = (self.template().await, self.group("Readers").await);
        let draft = json!({ "template": template, "group": group });
        self.post("/emails").json(draft).send().await.id("campaign_id")
    }
}

/// No test meets a limit that it does not set.
fn generous() -> Limits {
    let much = NonZeroU32::new(1_000_000).unwrap();
    Limits {
        public_per_minute: much,
        user_per_minute: much,
        key_per_minute: much,
        link_per_minute: much,
        passwords_per_address_and_minute: much,
        passwords_per_account_and_minute: much,
        passwords_where_known_per_minute: much,
        resets_per_address_and_minute: much,
        subscriptions_per_address_and_minute: much,
        passwords_per_address_at_once: 1_000,
        ..Limits::default()
    }
}

/// One that is never there: nothing listens on port 1.
pub const PROVIDER: &str = "away";
pub const REDIRECT_URI: &str = "https://app.example.com/back";

fn providers() -> Providers {
    let away = ProviderConfig {
        name: PROVIDER.into(),
        issuer: "http://127.0.0.1:1".into(),
        client_id: "postledger".into(),
        client_secret: None,
        redirect_uris: vec![REDIRECT_URI.into()],
        trusted_domains: Vec::new(),
    };
    let key = ServiceKey { kid: "oauth-state-1".into(), secret: STATE_KEY.into(), age_seconds: 0 };
    Providers::new(vec![away], vec![key], ORIGIN).unwrap()
}

/// Of somebody without a session: good for every route that does not ask for it.
async fn administrators_token(keys: &AccessKeys) -> String {
    let (user, session) = (Uuid::from_u128(90), Uuid::from_u128(91));
    keys.sign(&AccessClaims { user, session, roles: vec![Role::Admin] }).await.unwrap()
}

#[derive(Debug, Clone)]
pub struct Tokens {
    pub access: String,
    pub refresh: String,
}

/// One request.
pub struct Call {
    router: Router,
    request: Request<Body>,
}

impl Call {
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request.headers_mut().insert(name, value.parse().unwrap());
        self
    }

    /// As if it came over a connection from there.
    pub fn from(mut self, address: &str) -> Self {
        self.request.extensions_mut().insert(Peer(SocketAddr::new(address.parse().unwrap(), 40_000)));
        self
    }

    pub fn without(mut self, name: &'static str) -> Self {
        self.request.headers_mut().remove(name);
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn anonymous(self) -> Self {
        self.without("authorization")
    }

    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub fn position(self, position: &str) -> Self {
        self.header("postledger-position", position)
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self.header("content-type", content_type)
    }

    pub fn json(self, body: Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub fn form(self, body: &str) -> Self {
        self.body("application/x-www-form-urlencoded", body.to_owned())
    }

    /// The answer before its body.
    pub async fn open(self) -> axum::response::Response {
        self.router.oneshot(self.request).await.unwrap()
    }

    pub async fn send(self) -> Answer {
        let (parts, body) = self.open().await.into_parts();
        let body = to_bytes(body, ANSWER_MAX_BYTES).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }

    pub fn position(&self) -> String {
        self.header("postledger-position").to_owned()
    }

    /// The id that a 201 or a 202 gave.
    pub fn id(&self, field: &str) -> Uuid {
        assert!(self.status.is_success(), "{self:?}");
        self.json()[field].as_str().unwrap_or_else(|| panic!("no {field}: {self:?}")).parse().unwrap()
    }

    #[track_caller]
    pub fn tokens(&self) -> Tokens {
        assert_eq!(self.status, 200, "{self:?}");
        let body = self.json();
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(600)));
        let token = |name: &str| body[name].as_str().unwrap().to_owned();
        Tokens { access: token("access_token"), refresh: token("refresh_token") }
    }

    #[track_caller]
    pub fn ok(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// Checks that it is a whole problem document.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        let problem = self.json();
        // Of a state that forbids it, that state.
        assert!(problem["status"] == status || status == 409 && problem["status"].is_string(), "{problem}");
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "{member}: {problem}");
        }
        problem
    }

    /// A 422 that names exactly these fields.
    #[track_caller]
    pub fn invalid(&self, fields: &[&str]) -> Value {
        let problem = self.problem(422);
        let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors: {problem}"));
        let named: Vec<&str> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(named, fields, "{problem}");
        assert!(errors.iter().all(|error| error["reason"].as_str().is_some_and(|reason| !reason.is_empty())));
        problem
    }
}

/// Asks until it is so, or for ten seconds.
pub async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    for _ in 0..500 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came to be: {what}");
}
