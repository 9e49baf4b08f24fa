//! `postledger demo`: plays the main job over REST alone, as a marketer and one of the readers would.
//!
//! A dirty export is imported, a letter is sent to everyone in it, one reader opts out by the link in their mail, and a
//! second letter goes to the others. With `--once` every thing that it makes has a fixed name and is looked up before it is
//! made, so that a demonstration that was interrupted goes on, and one that is complete is only shown.

mod answers;
mod client;
mod outbox;
mod show;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use chrono::SecondsFormat;
use serde_json::{Value, json};

use answers::{Campaign, Expected, Import, Named, Recipient, Report, Stack};
use client::Client;
use show::Bar;

const SUBSCRIBERS_CSV: &[u8] = include_bytes!("../../demo/subscribers.csv");
const EXPECTED: &str = include_str!("../../demo/expected.json");
const SUBJECT: &str = include_str!("../../demo/newsletter.subject.txt");
const MJML: &str = include_str!("../../demo/newsletter.mjml");
const TEXT: &str = include_str!("../../demo/newsletter.txt");

const FROM: &str = "Harbour Street Library <letters@library.example>";

const POLL: Duration = Duration::from_millis(250);
const STALLED_AFTER: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub struct DemoArgs {
    /// Repeat nothing: go on where an earlier demonstration stopped, or only show it.
    #[arg(long)]
    once: bool,
    /// Where the stack is: the file that `./run up` writes.
    #[arg(long, value_name = "FILE", default_value = ".data/stack.json")]
    stack: PathBuf,
}

pub async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let file = std::fs::read(&args.stack)
        .with_context(|| format!("no stack is up, it seems: {} can't be read", args.stack.display()))?;
    let stack: Stack = serde_json::from_slice(&file)
        .with_context(|| format!("{} is no stack file", args.stack.display()))?;
    let marketer = stack.users.iter().find(|user| user.roles.iter().any(|role| role == "marketer"));
    let marketer = marketer.context("the stack has no user with the role marketer")?;
    let api = Client::sign_in(&stack.url, &marketer.email, &marketer.password).await?;
    let edition =
        if args.once { String::new() } else { format!(" {}", api.server_time().await?.format("%F %T")) };
    Story { api, stack, edition, sent_any: false }.play().await
}

struct Story {
    api: Client,
    stack: Stack,
    /// Sets the names and idempotency keys of this demonstration apart from those of another.
    edition: String,
    sent_any: bool,
}

impl Story {
    async fn play(&mut self) -> anyhow::Result<()> {
        let group = self.group().await?;
        let template = self.template().await?;
        let first = match self.find("/emails", &self.named("First letter")).await? {
            Some(id) => id,
            None => {
                self.import(&group).await?;
                self.preview(&template).await?;
                self.draft("First letter", &template, &group).await?
            }
        };
        let first_report = self.send(&first, "First letter").await?;

        let reader = self.some_reader(&first).await?;
        let second = match self.find("/emails", &self.named("Second letter")).await? {
            Some(id) => id,
            None => {
                self.opt_out(&reader).await?;
                self.draft("Second letter", &template, &group).await?
            }
        };
        let second_report = self.send(&second, "Second letter").await?;
        self.was_left_alone(&reader, &second).await?;

        if !self.sent_any {
            println!("The demonstration is there already: nothing was sent.");
        }
        show::reports(&[("First letter", &first_report), ("Second letter", &second_report)]);
        for campaign in [first, second] {
            println!("{}/emails/{campaign}/report", self.stack.url);
        }
        println!("{}", self.stack.outbox_dir.join("index.html").display());
        Ok(())
    }

    async fn group(&mut self) -> anyhow::Result<String> {
        let name = self.named("Readers");
        match self.find("/groups", &name).await? {
            Some(id) => Ok(id),
            None => self.create("/groups", "group", &json!({ "name": name })).await,
        }
    }

    async fn template(&mut self) -> anyhow::Result<String> {
        let name = self.named("Letter");
        match self.find("/templates", &name).await? {
            Some(id) => Ok(id),
            None => {
                let template =
                    json!({ "name": name, "subject": SUBJECT.trim_end(), "mjml": MJML, "text": TEXT });
                self.create("/templates", "template", &template).await
            }
        }
    }

    async fn import(&mut self, group: &str) -> anyhow::Result<()> {
        let path = format!("/subscribers/import?group={group}&consent_source=library-counter");
        let key = self.key("import");
        let started: Value = self.api.upload(&path, &key, SUBSCRIBERS_CSV).await?;
        let id = started["import_id"].as_str().context("the import has no import_id")?;
        let expected: Expected = serde_json::from_str(EXPECTED)?;
        let import = self.follow_import(id, expected.rows).await?;

        let rejected = client::first_column(&self.api.text(&format!("/imports/{id}/rejected.csv")).await?)?;
        ensure!(rejected == expected.rejected_lines, "the import rejected the lines {rejected:?}");
        ensure!(
            import.rejected == rejected.len() as u64,
            "the import counts {} rejected rows",
            import.rejected
        );
        ensure!(import.rows == expected.rows, "the import found {} of {} rows", import.rows, expected.rows);
        let kept = import.created + import.updated + import.unchanged + import.kept_opted_out;
        ensure!(kept + import.rejected == import.rows, "the import's counts do not add up to its rows");
        println!(
            "Imported {} rows: {} new readers ({} different ones in the file), {} rows of known readers, {} rejected.",
            import.rows,
            import.created,
            expected.distinct_valid,
            kept - import.created,
            import.rejected
        );
        Ok(())
    }

    async fn follow_import(&mut self, id: &str, rows: u64) -> anyhow::Result<Import> {
        let mut bar = Bar::new("Import", rows);
        loop {
            let import: Import = self.api.get(&format!("/imports/{id}")).await?;
            bar.set(rows, import.rows);
            match import.status.as_str() {
                "completed" => return Ok(import),
                "queued" | "running" => bar.wait(POLL, STALLED_AFTER).await?,
                other => bail!("the import is {other}"),
            }
        }
    }

    async fn preview(&mut self, template: &str) -> anyhow::Result<()> {
        let path = format!("/templates/{template}/preview");
        let sample = json!({ "attributes": { "first_name": "O'Brien" } });
        let preview: Value = self.api.post(&path, None, &sample).await?;
        let subject = preview["subject"].as_str().context("the preview has no subject")?;
        let text = preview["text"].as_str().context("the preview has no text")?;
        ensure!(text.contains("O'Brien"), "the preview does not greet its reader");
        println!("Previewed: {subject}");
        Ok(())
    }

    async fn draft(&mut self, name: &str, template: &str, group: &str) -> anyhow::Result<String> {
        // Whatever mailer is the default: nothing of a demonstration leaves the machine.
        let draft = json!({
            "name": self.named(name), "template": template, "group": group,
            "mailer": "outbox", "from": FROM,
        });
        self.create("/emails", name, &draft).await
    }

    /// Schedules a campaign that is still a draft, and follows it to its end.
    async fn send(&mut self, id: &str, name: &str) -> anyhow::Result<Report> {
        let path = format!("/emails/{id}");
        let campaign: Campaign = self.api.get(&path).await?;
        if campaign.status == "draft" {
            let due = self.api.server_time().await? + chrono::Duration::seconds(2);
            let due = due.to_rfc3339_opts(SecondsFormat::Secs, true);
            let key = self.key(&format!("schedule-{id}-{due}"));
            let schedule = json!({ "campaign_id": campaign.campaign_id, "datetime": due });
            self.sent_any = true;
            let _: Value = self.api.post("/schedule", Some(&key), &schedule).await?;
        }
        let report = self.follow_campaign(&path, name).await?;
        let total = report.accepted + report.suppressed + report.rejected + report.unknown + report.cancelled;
        ensure!(report.planned > 0 && report.planned == total, "the report of {path} does not add up");
        Ok(report)
    }

    async fn follow_campaign(&mut self, path: &str, name: &str) -> anyhow::Result<Report> {
        let mut bar = Bar::new(name, 0);
        loop {
            let campaign: Campaign = self.api.get(path).await?;
            let report: Report = self.api.get(&format!("{path}/report")).await?;
            bar.set(report.planned, report.planned - report.pending);
            match campaign.status.as_str() {
                "completed" if report.pending == 0 => return Ok(report),
                "paused" | "cancelled" => {
                    bail!("{name} is {} ({})", campaign.status, campaign.status_reason.unwrap_or_default())
                }
                _ => bar.wait(POLL, STALLED_AFTER).await?,
            }
        }
    }

    /// The same one each time it is asked: a completed campaign's recipients do not change.
    async fn some_reader(&mut self, campaign: &str) -> anyhow::Result<Recipient> {
        let accepted: Vec<Recipient> =
            self.api.all(&format!("/emails/{campaign}/recipients?state=accepted")).await?;
        let readable = |r: &Recipient| r.address.as_ref().is_some_and(|address| address.is_ascii());
        let reader = accepted.into_iter().filter(readable).min_by(|a, b| a.address.cmp(&b.address));
        reader.context("nobody got the first letter")
    }

    /// What a mail client does with the button that it shows beside the sender.
    async fn opt_out(&mut self, reader: &Recipient) -> anyhow::Result<()> {
        let address = reader.address.as_deref().unwrap_or_default();
        let mail = outbox::find(&self.stack.outbox_dir, &reader.dispatch_id, &reader.subscriber_id)?;
        let link = outbox::unsubscribe_link(&mail, address)?;
        let started = Instant::now();
        self.api.one_click(&link).await?;
        println!(
            "{address} opted out by one click, acknowledged after {} ms.",
            started.elapsed().as_millis()
        );
        Ok(())
    }

    async fn was_left_alone(&mut self, reader: &Recipient, campaign: &str) -> anyhow::Result<()> {
        let recipients: Vec<Recipient> = self.api.all(&format!("/emails/{campaign}/recipients")).await?;
        let address = reader.address.as_deref().unwrap_or_default();
        match recipients.iter().find(|r| r.subscriber_id == reader.subscriber_id).map(|r| r.state.as_str()) {
            None | Some("suppressed") => println!("{address} was not written to again."),
            Some(state) => bail!("{address} opted out, and is {state} in the second campaign"),
        }
        Ok(())
    }

    async fn find(&mut self, list: &str, name: &str) -> anyhow::Result<Option<String>> {
        let items: Vec<Named> = self.api.all(list).await?;
        Ok(items.into_iter().find(|item| item.name.as_deref() == Some(name)).map(|item| item.id))
    }

    async fn create(&mut self, path: &str, key: &str, body: &Value) -> anyhow::Result<String> {
        let key = self.key(key);
        let created: Value = self.api.post(path, Some(&key), body).await?;
        let id = ["group_id", "template_id", "campaign_id"].iter().find_map(|field| created[field].as_str());
        Ok(id.with_context(|| format!("POST {path} answered no id"))?.to_owned())
    }

    fn named(&self, thing: &str) -> String {
        format!("Demonstration{}: {thing}", self.edition)
    }

    fn key(&self, step: &str) -> String {
        self.named(step).replace(' ', "-")
    }
}
