//! REST as its caller sees it: keys, positions, retries, problems, and the calls of the contract.

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, redirect};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use uuid::Uuid;

pub const POSITION: &str = "Postledger-Position";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may be away, or ask to come back later, before a caller gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Of a list.
const PAGE: usize = 500;

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    bearer: Option<String>,
    /// Of the last command: queries send it back, and so see what the command did.
    position: Arc<Mutex<Option<HeaderValue>>>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
    call: String,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.call, self.body);
        self
    }

    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.call, self.body))
    }

    #[track_caller]
    pub fn id(&self, name: &str) -> Uuid {
        let body: Value = self.json();
        let id = body[name].as_str().and_then(|id| id.parse().ok());
        id.unwrap_or_else(|| panic!("{}: no {name}: {}", self.call, self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// RFC 9457, as the contract has it.
    #[track_caller]
    pub fn problem(self, status: u16) -> Value {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.call);
        let problem: Value = answer.json();
        // Of a state that forbids it, that state.
        assert!(problem["status"] == status || status == 409 && problem["status"].is_string(), "{problem}");
        assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"), "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "no {member}: {problem}");
        }
        problem
    }

    /// A 422 that names this field.
    #[track_caller]
    pub fn invalid(self, field: &str) -> Value {
        let problem = self.problem(422);
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        let named = errors.iter().any(|error| error["field"] == field && error["reason"].is_string());
        assert!(named, "no error names {field}: {problem}");
        problem
    }
}

impl Client {
    pub fn new(url: &str, bearer: &str) -> Self {
        Self { bearer: Some(bearer.to_owned()), ..Self::public(url) }
    }

    /// Without any credentials.
    pub fn public(url: &str) -> Self {
        let http =
            reqwest::Client::builder().timeout(REQUEST_TIMEOUT).no_proxy().redirect(redirect::Policy::none());
        Self { http: http.build().unwrap(), url: url.to_owned(), bearer: None, position: Arc::default() }
    }

    /// Another caller, with a position of its own.
    pub fn fork(&self) -> Self {
        Self { position: Arc::default(), ..self.clone() }
    }

    /// With the token of a mail's link.
    pub fn with_bearer(&self, token: &str) -> Self {
        Self { bearer: Some(token.to_owned()), ..self.fork() }
    }

    pub fn anonymous(&self) -> Self {
        Self { bearer: None, ..self.fork() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        let request = self.http.request(method, url);
        match &self.bearer {
            Some(bearer) => request.bearer_auth(bearer),
            None => request,
        }
    }

    /// The status, if there is any answer now.
    pub async fn try_once(&self, path: &str) -> Option<u16> {
        let answer = self.request(Method::GET, path).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    }

    /// One try, without patience.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        let request = request.build()?;
        // Without the query: it may hold a token.
        let call = format!("{} {}", request.method(), request.url().path());
        let answer = self.http.execute(request).await?;
        if let Some(position) = answer.headers().get(POSITION) {
            *self.position.lock().unwrap() = Some(position.clone());
        }
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, body: answer.text().await?, call })
    }

    /// As a good client: repeats, the same key, while the server is away or asks to come back.
    async fn patiently(&self, request: impl Fn() -> RequestBuilder) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let problem = match self.send(request()).await {
                Ok(answer) if answer.status != 503 => return answer,
                Ok(answer) => answer.body,
                Err(error) => error.to_string(),
            };
            assert!(Instant::now() < deadline, "no answer for {PATIENCE:?}: {problem}");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    pub async fn query(&self, path: &str) -> Answer {
        let position = self.position.lock().unwrap().clone();
        self.patiently(|| {
            let request = self.request(Method::GET, path);
            match &position {
                Some(position) => request.header(POSITION, position),
                None => request,
            }
        })
        .await
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        self.query(path).await.expect(200).json()
    }

    /// Every page of a list.
    pub async fn all<T: DeserializeOwned>(&self, path: &str) -> Vec<T> {
        #[derive(Deserialize)]
        struct Page<T> {
            items: Vec<T>,
            next_cursor: Option<String>,
        }
        let first = format!("{path}{}limit={PAGE}", if path.contains('?') { '&' } else { '?' });
        let mut page: Page<T> = self.get(&first).await;
        let mut items = page.items;
        while let Some(cursor) = page.next_cursor {
            page = self.get(&format!("{first}&cursor={cursor}")).await;
            items.append(&mut page.items);
        }
        items
    }

    /// With a new idempotency key.
    pub async fn command(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.keyed(method, path, body, &Uuid::new_v4().to_string()).await
    }

    pub async fn keyed(&self, method: Method, path: &str, body: &Value, key: &str) -> Answer {
        self.patiently(|| {
            let request = self.request(method.clone(), path).header("Idempotency-Key", key);
            if body.is_null() { request } else { request.json(body) }
        })
        .await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.command(Method::POST, path, body).await
    }

    /// What a mail program does with the button beside the sender (RFC 8058): no key, no cookie, no credentials.
    pub async fn one_click(&self, link: &str) -> Answer {
        let form = || self.http.post(link).form(&[("List-Unsubscribe", "One-Click")]);
        self.patiently(form).await
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Import {
    pub status: String,
    pub rows: u64,
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub kept_opted_out: u64,
    pub rejected: u64,
}

#[derive(Debug, Deserialize)]
pub struct RejectedRow {
    pub line: u64,
    pub value: String,
    pub reason: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Campaign {
    pub campaign_id: Uuid,
    pub status: String,
    pub status_reason: Option<String>,
    pub scheduled_for: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Report {
    pub planned: u64,
    pub pending: u64,
    pub accepted: u64,
    pub suppressed: u64,
    pub rejected: u64,
    pub unknown: u64,
    pub cancelled: u64,
    pub unsubscribed: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Recipient {
    pub subscriber_id: Uuid,
    pub address: String,
    pub state: String,
    pub reason: Option<String>,
    pub dispatch_id: Uuid,
    /// The position of the consent that allowed the send.
    pub authorized_by: Option<i64>,
}

/// The body of `POST /emails`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Draft {
    pub template: Uuid,
    pub group: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailer: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_unknown: Option<&'static str>,
}

/// The calls of the contract that tests make often.
impl Client {
    pub async fn group(&self, name: &str) -> Uuid {
        self.post("/groups", &json!({ "name": name })).await.expect(201).id("group_id")
    }

    pub async fn template(&self, template: &Value) -> Uuid {
        self.post("/templates", template).await.expect(201).id("template_id")
    }

    /// Answers once the body is safe.
    pub async fn upload(&self, query: &str, csv: &[u8]) -> Answer {
        let key = Uuid::new_v4().to_string();
        self.patiently(|| {
            let request = self.request(Method::POST, &format!("/subscribers/import?{query}"));
            request.header("Idempotency-Key", &key).header("Content-Type", "text/csv").body(csv.to_vec())
        })
        .await
    }

    pub async fn import(&self, group: Uuid, csv: &[u8]) -> Uuid {
        self.upload(&format!("group={group}&consent_source=e2e"), csv).await.expect(202).id("import_id")
    }

    pub async fn import_status(&self, import: Uuid) -> Import {
        let status: Import = self.get(&format!("/imports/{import}")).await;
        let sum =
            status.created + status.updated + status.unchanged + status.kept_opted_out + status.rejected;
        assert_eq!(status.rows, sum, "{status:?}");
        status
    }

    /// Waits for the import's end.
    pub async fn imported(&self, group: Uuid, csv: &[u8]) -> Import {
        let import = self.import(group, csv).await;
        self.import_ended(import, Duration::from_secs(120)).await
    }

    pub async fn import_ended(&self, import: Uuid, within: Duration) -> Import {
        let status = crate::eventually("the import ends", within, async || {
            let status = self.import_status(import).await;
            (!matches!(status.status.as_str(), "queued" | "running")).then_some(status)
        });
        let status = status.await;
        assert_eq!(status.status, "completed", "{status:?}");
        status
    }

    pub async fn rejected_rows(&self, import: Uuid) -> Vec<RejectedRow> {
        let answer = self.query(&format!("/imports/{import}/rejected.csv")).await.expect(200);
        let body = answer.body.trim_start_matches('\u{feff}');
        let mut reader = csv::Reader::from_reader(body.as_bytes());
        reader.deserialize().map(Result::unwrap).collect()
    }

    pub async fn draft(&self, draft: &Draft) -> Uuid {
        self.post("/emails", &json!(draft)).await.expect(201).id("campaign_id")
    }

    pub async fn schedule(&self, campaign: Uuid, at: DateTime<Utc>) -> Answer {
        self.post("/schedule", &json!({ "campaign_id": campaign, "datetime": at })).await
    }

    /// A campaign that is due now.
    pub async fn launch(&self, draft: &Draft) -> Uuid {
        let campaign = self.draft(draft).await;
        self.schedule(campaign, crate::now()).await.expect(202);
        campaign
    }

    /// `pause`, `resume`, `cancel`, `unschedule`.
    pub async fn tell(&self, campaign: Uuid, verb: &str) -> Answer {
        self.post(&format!("/emails/{campaign}/{verb}"), &Value::Null).await
    }

    pub async fn campaign(&self, campaign: Uuid) -> Campaign {
        self.get(&format!("/emails/{campaign}")).await
    }

    /// Whenever it is looked at, it adds up: that is checked here.
    pub async fn report(&self, campaign: Uuid) -> Report {
        let report: Report = self.get(&format!("/emails/{campaign}/report")).await;
        report.check();
        report
    }

    /// Waits until sequencer, relay and read models have done everything that is in the log; answers the read models' names.
    pub async fn caught_up(&self, within: Duration) -> Vec<String> {
        crate::eventually("the read models are up to date", within, async || {
            let ready: Value = self.anonymous().get("/health/ready").await;
            let models = ready["read_models"].as_array().unwrap();
            let relayed = ready["relay"].is_null() || ready["relay"]["lag_events"] == 0;
            let numbered = ready["log"]["waiting_events"] == 0;
            let done = numbered && relayed && models.iter().all(|model| model["lag_events"] == 0);
            done.then(|| models.iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect())
        })
        .await
    }

    pub async fn recipients(&self, campaign: Uuid) -> Vec<Recipient> {
        self.all(&format!("/emails/{campaign}/recipients")).await
    }

    /// Waits until the campaign has that status; any other end is a failure at once.
    pub async fn reaches(&self, campaign: Uuid, status: &str, within: Duration) -> Campaign {
        crate::eventually(&format!("campaign {campaign} is {status}"), within, async || {
            let now = self.campaign(campaign).await;
            self.report(campaign).await;
            let ended = matches!(now.status.as_str(), "completed" | "cancelled" | "paused");
            assert!(
                !ended || now.status == status,
                "it is {} ({:?}), not {status}",
                now.status,
                now.status_reason
            );
            (now.status == status).then_some(now)
        })
        .await
    }

    /// Waits for a completed campaign's report: nobody pending.
    pub async fn completes(&self, campaign: Uuid, within: Duration) -> Report {
        self.reaches(campaign, "completed", within).await;
        let report = self.report(campaign).await;
        assert_eq!(report.pending, 0, "{report:?}");
        report
    }
}

impl Report {
    /// I1: everybody is in one of the six states.
    #[track_caller]
    pub fn check(&self) {
        let sum =
            self.pending + self.accepted + self.suppressed + self.rejected + self.unknown + self.cancelled;
        assert_eq!(self.planned, sum, "the report does not add up: {self:?}");
    }
}
