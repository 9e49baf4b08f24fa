//! Readers, a real letter, campaigns that are timed by the log, and people who sign in.

use e2e::{Client, Draft, Settings, Stack, eventually};
use eventstore::keys::MasterKey;
use eventstore::service_keys;
use mail::{LinkKey, LinkKeys, Links, PreferenceClaims};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const LETTER: &str = include_str!("../../demo/newsletter.mjml");
const PATIENCE: Duration = Duration::from_secs(1_800);

/// A clean export: no row is invalid, none repeats another.
pub fn export(name: &str, readers: usize) -> String {
    let mut csv = String::from("email,first_name,last_name,city\r\n");
    for number in 0..readers {
        csv += &format!("{name}{number}@example.com,Reader,Number {number},Cork\r\n");
    }
    csv
}

/// A group with so many readers, seconds that their import took, and a template.
pub async fn readers(api: &Client, name: &str, count: usize) -> (Draft, f64) {
    let group = api.group(name).await;
    let csv = export(name, count);
    let start = std::time::Instant::now();
    let import = api.import(group, csv.as_bytes()).await;
    let status = api.import_ended(import, PATIENCE).await;
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(status.created as usize, count, "{status:?}");
    let template =
        json!({ "name": "Letter", "subject": "For {{ first_name }} {{ last_name }}", "mjml": LETTER });
    (Draft { template: api.template(&template).await, group, ..Draft::default() }, seconds)
}

/// Seconds that a campaign took for each part, by the log.
pub struct Timed {
    pub freezing: f64,
    pub sending: f64,
}

impl Timed {
    pub fn whole(&self) -> f64 {
        self.freezing + self.sending
    }
}

/// Sends to everybody and waits for the end.
pub async fn send(stack: &Stack, api: &Client, draft: &Draft, readers: usize) -> Timed {
    let campaign = api.launch(draft).await;
    let report = api.completes(campaign, PATIENCE).await;
    assert_eq!((report.planned, report.accepted), (readers as u64, readers as u64), "{report:?}");
    let between =
        async |from: &str, to: &str| at(stack, campaign, to).await - at(stack, campaign, from).await;
    Timed {
        freezing: between("CampaignFreezing", "CampaignFrozen").await,
        sending: between("CampaignFrozen", "CampaignCompleted").await,
    }
}

async fn at(stack: &Stack, campaign: Uuid, event: &str) -> f64 {
    sqlx::query_scalar(
        "SELECT extract(epoch FROM recorded_at)::float8 FROM events
         WHERE aggregate_type = 'campaign' AND aggregate_id = $1 AND event_type = $2",
    )
    .bind(campaign.to_string())
    .bind(event)
    .fetch_one(stack.pool())
    .await
    .unwrap()
}

/// Until every event that exists has its position and is in every read model.
pub async fn all_done(stack: &Stack) {
    let models = projections::all();
    eventually("the read models are up to date", PATIENCE, async || {
        // In this order: what has no position yet is in no lag.
        let pending = sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM pending)");
        let pending = pending.fetch_one(stack.pool()).await.unwrap();
        let lags = projections::lag(stack.pool(), &models).await.unwrap();
        (!pending && lags.iter().all(|lag| lag.events == 0)).then_some(())
    })
    .await;
}

pub const ADMIN: &str = "admin@example.com";
pub const PASSWORD: &str = "a password of the benchmarks";

/// A stack with an administrator.
pub async fn with_admin(settings: Settings) -> Stack {
    let mut stack = Stack::prepare(settings).await;
    let file = stack.dir().join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    let file = file.display().to_string();
    stack.operate(&["user", "add", ADMIN, "--roles", "admin", "--password-file", &file]);
    stack.serve("server", "").await;
    stack.ready().await;
    stack
}

/// So many users, by their addresses.
pub async fn users(stack: &Stack, count: usize) -> Vec<String> {
    let public = Client::public(&stack.url());
    let admin = public.with_bearer(&sign_in(&public, ADMIN).await);
    let emails: Vec<String> = (0..count).map(|number| format!("user{number}@example.com")).collect();
    for email in &emails {
        let user = json!({ "email": email, "roles": ["marketer"], "password": PASSWORD });
        admin.post("/users", &user).await.expect(201);
    }
    emails
}

/// Answers the access token.
pub async fn sign_in(public: &Client, email: &str) -> String {
    let body = json!({ "email": email, "password": PASSWORD });
    let answer = public.send(public.request(Method::POST, "/auth/login").json(&body)).await.unwrap();
    answer.expect(200).json::<Value>()["access_token"].as_str().unwrap().to_owned()
}

/// Makes the links of mails without sending any, by the stack's own key.
pub struct Minter {
    keys: LinkKeys,
    links: Links,
}

impl Minter {
    pub async fn of(stack: &Stack) -> Self {
        let hex = std::fs::read_to_string(stack.dir().join("master-key")).unwrap();
        let master = MasterKey::from_hex(hex.trim()).unwrap();
        let keys = service_keys::load(stack.pool(), &master, "preference").await.unwrap();
        let keys = keys.into_iter().map(|key| LinkKey { kid: key.kid, secret: *key.secret }).collect();
        Self { keys: LinkKeys::new(keys).unwrap(), links: Links::new(&stack.url()) }
    }

    pub fn link(&self, reader: Uuid, group: Uuid) -> String {
        let claims = PreferenceClaims {
            subscriber: reader,
            campaign: None,
            group: Some(group),
            dispatch: None,
            issued_at: e2e::now().timestamp(),
        };
        self.links.unsubscribe_url(&self.keys.sign_preference(&claims).unwrap())
    }
}
