//! Who uses the stack meanwhile: marketers who send and import, readers who leave and come back, and people who look.

use super::tally::Tally;
use crate::scene::{self, Minter};
use e2e::{Client, Draft, POSITION};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const OPT_OUT_EVERY: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const IMPORT_EVERY: Duration = Duration::from_secs(60);
const IMPORT_ROWS: usize = 3_000;
const POLL: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub struct Load {
    pub api: Client,
    pub draft: Draft,
    pub minter: Arc<Minter>,
    pub tally: Arc<Tally>,
    pub stop: CancellationToken,
}

impl Load {
    pub async fn start(&self) -> JoinSet<()> {
        let readers: Vec<Value> = self.api.all(&format!("/subscribers?group={}", self.draft.group)).await;
        let readers: Vec<Uuid> =
            readers.iter().map(|reader| reader["subscriber_id"].as_str().unwrap().parse().unwrap()).collect();
        let mut running = JoinSet::new();
        running.spawn(self.clone().opt_outs(readers));
        running.spawn(self.clone().sends());
        running.spawn(self.clone().imports());
        running.spawn(self.clone().looks());
        running
    }

    /// By the clock: one that waits holds up nobody. After the last reader the first leaves once more, which has to be as good.
    async fn opt_outs(self, readers: Vec<Uuid>) {
        let mut running = JoinSet::new();
        for reader in readers.iter().cycle() {
            if !self.waits(OPT_OUT_EVERY).await {
                break;
            }
            while running.try_join_next().is_some() {}
            let (load, link) = (self.clone(), self.minter.link(*reader, self.draft.group));
            running.spawn(async move {
                let start = Instant::now();
                let request = load.api.anonymous().request(Method::POST, &link);
                let answer = load.api.send(request.form(&[("List-Unsubscribe", "One-Click")])).await;
                if load.tally.answered("opt-out", answer).is_some() {
                    load.tally.opted_out(start.elapsed());
                }
            });
        }
        running.join_all().await;
    }

    /// One campaign after another, to all who are left.
    async fn sends(self) {
        while !self.stop.is_cancelled() {
            let body =
                json!({ "template": self.draft.template, "group": self.draft.group, "time": e2e::now() });
            let Some(made) = self.post("/emails", &body).await else { continue };
            while !self.ended(&made).await {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// Asks as of its making: the read models may not have it yet.
    async fn ended(&self, made: &e2e::Answer) -> bool {
        let campaign: Uuid = made.id("campaign_id");
        let path = format!("/emails/{campaign}/report");
        let request = self.api.request(Method::GET, &path).header(POSITION, &made.headers[POSITION]);
        let Some(answer) = self.tally.answered(&path, self.api.send(request).await) else { return false };
        let report: Value = answer.json();
        let ended = report["status"] == "completed";
        if ended {
            self.tally.sent(report["accepted"].as_u64().unwrap_or_default());
        }
        if report["status"] == "paused" {
            self.tally.fault(format!("campaign {campaign} paused: {}", report["status_reason"]));
            return true;
        }
        ended
    }

    /// Half of each file is new, half is there.
    async fn imports(self) {
        for round in 0_usize.. {
            let name = format!("round{}x", round / 2);
            let csv = scene::export(&name, IMPORT_ROWS * (1 + round % 2));
            let path = format!("/subscribers/import?group={}&consent_source=soak", self.draft.group);
            let request = self.api.request(Method::POST, &path).header("Content-Type", "text/csv").body(csv);
            if self.tally.answered("import", self.api.send(request).await).is_some() {
                self.tally.imported((IMPORT_ROWS * (1 + round % 2)) as u64);
            }
            if !self.waits(IMPORT_EVERY).await {
                return;
            }
        }
    }

    async fn looks(self) {
        let group = self.draft.group;
        let paths = [
            "/emails".to_owned(),
            "/groups".into(),
            "/imports".into(),
            "/health/ready".into(),
            format!("/subscribers?group={group}"),
            format!("/audit/opt-outs?group={group}"),
        ];
        for path in paths.iter().cycle() {
            if !self.waits(LOOK_EVERY).await {
                return;
            }
            self.get(path).await;
        }
    }

    /// False once it is time to end.
    async fn waits(&self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.stop.cancelled() => false,
        }
    }

    async fn get(&self, path: &str) -> Option<e2e::Answer> {
        self.tally.answered(path, self.api.send(self.api.request(Method::GET, path)).await)
    }

    async fn post(&self, path: &str, body: &Value) -> Option<e2e::Answer> {
        self.tally.answered(path, self.api.send(self.api.request(Method::POST, path).json(body)).await)
    }
}
