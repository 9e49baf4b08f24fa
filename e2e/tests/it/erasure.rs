//! Who is erased is found nowhere: not in the database, not in Kafka, not in the outbox, not in an answer, not in a log. The
//! same search finds them before, and what is planted after.

use crate::scene;
use crate::search::found;
use e2e::{Broker, Client, Draft, Mail, Metrics, Settings, Smtp, SmtpOptions, Stack, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

const OLD: &str = "Kanarienvogel.9c4e@canary-erasure.example";
const ADDRESS: &str = "Wellensittich.9c4e@canary-erasure.example";
const TOWN: &str = "Hänflingen-am-Girlitz";
const NAME: &str = "Zeisigine Stieglitzova";
/// All that tells who they are: the addresses and their parts, a name, where they live, what they read with.
const CANARIES: [&str; 7] =
    [OLD, ADDRESS, "wellensittich.9c4e", "kanarienvogel.9c4e", NAME, TOWN, "Canary-Agent/9"];
const STAYS: &str = "bleibt@example.com";
const WITHIN: Duration = Duration::from_secs(90);

fn canaries() -> Vec<String> {
    CANARIES.map(str::to_owned).into()
}

#[tokio::test]
async fn an_erased_reader_is_found_nowhere() {
    prove(None).await;
}

#[tokio::test]
async fn an_erased_reader_is_found_nowhere_in_kafka_either() {
    if let Some(broker) = Broker::start() {
        prove(Some(broker)).await;
    }
}

async fn prove(broker: Option<Broker>) {
    let smtp = Smtp::start(SmtpOptions::default()).await;
    let mut settings = Settings::new().smtp(&smtp).set("send.mailer", "outbox").set("log.filter", "debug");
    if let Some(broker) = &broker {
        settings = settings.set("kafka.brokers", &broker.address).set("kafka.partitions", 4);
    }
    let mut stack = Stack::start(settings).await;
    let lived = live(&stack, &smtp).await;
    let api = stack.client();
    api.caught_up(WITHIN).await;
    eventually("the outbox's page shows them", WITHIN, async || {
        let page = std::fs::read_to_string(stack.dir().join("outbox/index.html")).unwrap_or_default();
        page.contains(ADDRESS).then_some(())
    })
    .await;
    let before = look(&stack, &lived, broker.as_ref()).await;
    for place in ["the outbox", "rejected.csv", "GET /subscribers/{id}", "GET /audit/subscribers/{id}"] {
        assert!(
            before[place].iter().any(|canary| canary.starts_with(OLD) || canary.starts_with(ADDRESS)),
            "{place}"
        );
    }
    for place in ["the database", "the log", "the metrics", "Kafka"] {
        assert_eq!(before.get(place).into_iter().flatten().count(), 0, "{before:?}");
    }
    let names = stack.outbox().count();

    let key = format!("erase {ADDRESS}");
    let path = format!("/subscribers/{}/erase", lived.reader);
    let erased = api.keyed(Method::POST, &path, &Value::Null, &key).await.expect(202);
    assert_eq!(api.keyed(Method::POST, &path, &Value::Null, &key).await.expect(202).body, erased.body);
    finished(&stack).await;
    api.caught_up(WITHIN).await;
    for rebuilt in [false, true] {
        if rebuilt {
            for model in api.caught_up(WITHIN).await {
                stack.operate(&["rebuild", &model]);
            }
        }
        let after = look(&stack, &lived, broker.as_ref()).await;
        assert!(after.values().all(Vec::is_empty), "{after:?}");
        still_accounted_for(&stack, &lived, names).await;
    }
    stays_suppressed(&api, &lived).await;
    others_lost_nothing(&stack, &lived).await;
    plant(&mut stack, &lived, broker.as_ref()).await;
}

/// What there is of a reader.
struct Lived {
    group: Uuid,
    reader: Uuid,
    stays: Uuid,
    template: Uuid,
    imports: Vec<Uuid>,
    campaigns: Vec<Uuid>,
    test: Uuid,
}

/// A reader whom everything happens to that can happen to one.
async fn live(stack: &Stack, smtp: &Smtp) -> Lived {
    let api = stack.client();
    let group = api.group("Birds").await;
    let template = scene::template(&api).await;
    let consent = json!({ "source": "e2e", "given_from": "203.0.113.9" });
    let add = |email: &str, name: &str, town: &str| {
        json!({ "email": email, "name": name, "groups": [group], "consent": consent,
            "attributes": { "first_name": name, "town": town } })
    };
    let added = api.keyed(Method::POST, "/subscribers", &add(OLD, NAME, TOWN), &format!("add {OLD}")).await;
    let reader = added.expect(201).id("subscriber_id");
    let stays = api.post("/subscribers", &add(STAYS, "Bleibt", "Bern")).await.expect(201).id("subscriber_id");
    let csv = format!(
        "email,first_name,town\r\n{OLD},{NAME},{TOWN}\r\n{OLD},{NAME},one,too many\r\n<{OLD}>,{NAME},x\r\n"
    );
    let first = api.import(group, csv.as_bytes()).await;
    let status = api.import_ended(first, WITHIN).await;
    assert_eq!((status.updated + status.unchanged, status.rejected), (1, 2), "{status:?}");
    let mut campaigns = vec![launch(&api, template, group, "outbox").await];

    let moved = json!({ "email": ADDRESS, "name": NAME });
    api.command(Method::PATCH, &format!("/subscribers/{reader}"), &moved).await.expect(200);
    let csv = format!("email,first_name,town\r\n{ADDRESS},{NAME},one,too many\r\n");
    let second = api.import(group, csv.as_bytes()).await;
    assert_eq!(api.import_ended(second, WITHIN).await.rejected, 1);
    campaigns.push(launch(&api, template, group, "outbox").await);
    campaigns.push(launch(&api, template, group, "smtp").await);
    let to = json!({ "to": [ADDRESS, "colleague@example.com"] });
    let test = api.post(&format!("/templates/{template}/test"), &to).await.expect(202).id("dispatch_id");
    eventually("the test is sent", WITHIN, async || {
        (stack.outbox().handovers().iter().filter(|mail| mail.dispatch == test).count() == 2).then_some(())
    })
    .await;

    let handed = smtp.handovers().into_iter().find(|mail| mail.subscriber == reader).expect("their mail");
    let mail = Mail::read(&handed.file);
    assert_eq!(mail.to.address.to_lowercase(), ADDRESS.to_lowercase());
    let link = mail.one_click_link();
    let by_browser = api.with_bearer(link.split_once("token=").unwrap().1);
    let choose = async |method: Method, path: &str, body: Value| {
        let request = by_browser.request(method, path).header("User-Agent", "Canary-Agent/9");
        by_browser.send(request.json(&body)).await.unwrap().expect(204);
    };
    choose(Method::POST, "/emails/unsubscribe", json!({ "global": true })).await;
    choose(Method::PUT, "/preferences", json!({ "global_opt_out": false })).await;
    choose(Method::POST, "/emails/unsubscribe", json!({ "groups": [group] })).await;
    let back = json!({ "global_opt_out": false, "groups": [{ "group_id": group, "subscribed": true }] });
    choose(Method::PUT, "/preferences", back).await;
    let wish = json!({ "email": ADDRESS, "name": NAME, "groups": [group] });
    api.anonymous().post("/subscriptions", &wish).await.expect(202);
    eventually("every mail outside campaigns has ended", WITHIN, async || {
        let waiting: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM dispatch_work WHERE pending > 0)
                 OR EXISTS (SELECT FROM opt_out_mails WHERE done_at IS NULL)",
        )
        .fetch_one(stack.pool())
        .await
        .unwrap();
        (!waiting).then_some(())
    })
    .await;
    Lived { group, reader, stays, template, imports: vec![first, second], campaigns, test }
}

async fn launch(api: &Client, template: Uuid, group: Uuid, mailer: &'static str) -> Uuid {
    let draft = Draft { template, group, mailer: Some(mailer), ..Draft::default() };
    let campaign = api.launch(&draft).await;
    assert_eq!(api.completes(campaign, WITHIN).await.accepted, 2);
    campaign
}

/// Nothing of anybody is left to be emptied, and the outbox's page has noticed.
async fn finished(stack: &Stack) {
    eventually("the erasure is finished", WITHIN, async || {
        let open: i64 =
            sqlx::query_scalar("SELECT count(*) FROM erasures").fetch_one(stack.pool()).await.unwrap();
        let page = std::fs::read_to_string(stack.dir().join("outbox/index.html")).unwrap_or_default();
        (open == 0 && found("the page", &page, &canaries()).is_empty()).then_some(())
    })
    .await;
}

/// What is found in each place.
async fn look(stack: &Stack, lived: &Lived, broker: Option<&Broker>) -> BTreeMap<&'static str, Vec<String>> {
    let mut places = answers(stack, lived).await;
    places.insert("the database", stack.dump());
    places.insert("the outbox", files(&stack.dir().join("outbox")));
    places.insert("the log", std::fs::read_to_string(stack.log_file("server")).unwrap());
    places.insert("the metrics", Metrics::of(stack, "server").await.text);
    if let Some(broker) = broker {
        let segments = broker.segments();
        assert!(segments.contains(&lived.reader.to_string()), "so little is in Kafka: nothing was proved");
        places.insert("Kafka", segments);
    }
    assert!(places["the database"].contains(&lived.reader.to_string()));
    assert!(places["the log"].lines().count() > 100, "so little is logged: nothing was proved");
    let look = |(place, text): (&'static str, String)| (place, found(place, &text, &canaries()));
    places.into_iter().map(look).collect()
}

/// Whatever an API key with every scope is told.
async fn answers(stack: &Stack, lived: &Lived) -> BTreeMap<&'static str, String> {
    let api = stack.client();
    let body = async |path: &str| api.query(path).await.expect(200).body;
    let mut answers = BTreeMap::new();
    answers.insert("GET /subscribers", body("/subscribers").await);
    answers.insert("GET /subscribers/{id}", body(&format!("/subscribers/{}", lived.reader)).await);
    answers
        .insert("GET /audit/subscribers/{id}", body(&format!("/audit/subscribers/{}", lived.reader)).await);
    answers.insert(
        "GET /audit/opt-outs",
        body("/audit/opt-outs").await + &body("/audit/opt-outs?format=csv").await,
    );
    answers.insert("GET /imports", body("/imports").await);
    answers.insert("GET /dispatches/{id}", body(&format!("/dispatches/{}", lived.test)).await);
    let mut rejected = String::new();
    for import in &lived.imports {
        rejected += &body(&format!("/imports/{import}/rejected.csv")).await;
    }
    answers.insert("rejected.csv", rejected);
    let mut recipients = String::new();
    for campaign in &lived.campaigns {
        recipients += &body(&format!("/emails/{campaign}/recipients?format=csv")).await;
    }
    answers.insert("recipients", recipients);
    let preview = json!({ "subscriber_id": lived.reader });
    let preview = api.post(&format!("/templates/{}/preview", lived.template), &preview).await.expect(200);
    answers.insert("preview", preview.body);
    answers
}

/// Everything below a folder, names and contents.
fn files(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        text.push_str(&format!("{}\n", path.display()));
        match path.is_dir() {
            true => text.push_str(&files(&path)),
            false => text.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap())),
        }
    }
    text
}

/// What became of each mail, and who did what when.
async fn still_accounted_for(stack: &Stack, lived: &Lived, names: usize) {
    let api = stack.client();
    api.caught_up(WITHIN).await;
    assert_eq!(stack.outbox().count(), names, "no name is gone");
    for campaign in &lived.campaigns {
        let report = api.report(*campaign).await;
        assert_eq!((report.planned, report.accepted), (2, 2), "{report:?}");
        let recipients = api.recipients(*campaign).await;
        let theirs = recipients.iter().find(|recipient| recipient.subscriber_id == lived.reader).unwrap();
        assert!(theirs.state == "accepted" && theirs.authorized_by.is_some(), "{theirs:?}");
    }
    let shown: Value = api.get(&format!("/subscribers/{}", lived.reader)).await;
    assert_eq!((&shown["status"], &shown["email"]), (&json!("erased"), &json!("")));
    let found: Vec<Value> = api.all(&format!("/subscribers?email={ADDRESS}&status=erased")).await;
    assert_eq!(found, [shown]);
    let history: Value = api.get(&format!("/audit/subscribers/{}", lived.reader)).await;
    let last = history["items"].as_array().unwrap().last().unwrap();
    assert_eq!(last["event"], "SubscriberErased");
    assert!(last["actor"].as_str().unwrap().starts_with("key:") && last["time"].is_string(), "{last}");
    let opt_outs: Vec<Value> = api.all("/audit/opt-outs?channel=admin").await;
    assert_eq!((opt_outs.len(), &opt_outs[0]["subscriber_id"]), (1, &json!(lived.reader)));
}

/// Both addresses, whoever brings them back.
async fn stays_suppressed(api: &Client, lived: &Lived) {
    let csv = format!("email,first_name\r\n{OLD},Again\r\n{},Again\r\n", ADDRESS.to_uppercase());
    let status = api.imported(lived.group, csv.as_bytes()).await;
    assert_eq!((status.kept_opted_out, status.rows), (2, 2), "{status:?}");
    for email in [OLD, ADDRESS] {
        let again = json!({ "email": email, "groups": [lived.group], "consent": { "source": "e2e" } });
        api.post("/subscribers", &again).await.problem(409);
    }
    let campaign =
        api.launch(&Draft { template: lived.template, group: lived.group, ..Draft::default() }).await;
    assert_eq!(api.completes(campaign, WITHIN).await.planned, 1);
}

async fn others_lost_nothing(stack: &Stack, lived: &Lived) {
    let shown: Value = stack.client().get(&format!("/subscribers/{}", lived.stays)).await;
    assert_eq!((&shown["email"], &shown["status"]), (&json!(STAYS), &json!("active")));
    let theirs = stack.outbox().handovers().into_iter().filter(|mail| mail.subscriber == lived.stays);
    let mails: Vec<Mail> = theirs.map(|mail| Mail::read(&mail.file)).collect();
    assert_eq!(mails.len(), 3);
    assert!(mails.iter().all(|mail| mail.to.address == STAYS));
}

/// Each search finds what is put where it looks.
async fn plant(stack: &mut Stack, lived: &Lived, broker: Option<&Broker>) {
    sqlx::query("INSERT INTO attribute_names (name) VALUES (encode(convert_to($1, 'UTF8'), 'base64'))")
        .bind(format!("x{ADDRESS}"))
        .execute(stack.pool())
        .await
        .unwrap();
    std::fs::write(stack.dir().join("outbox/tmp/planted"), NAME.replace(' ', "=\r\n=20")).unwrap();
    let mut log = std::fs::read_to_string(stack.log_file("server")).unwrap();
    log.push_str(&OLD.replace('@', "%40"));
    std::fs::write(stack.log_file("server"), log).unwrap();
    if let Some(broker) = broker {
        broker.plant(ADDRESS);
    }
    let planted = look(stack, lived, broker).await;
    for place in ["the database", "the outbox", "the log"].into_iter().chain(broker.map(|_| "Kafka")) {
        assert!(!planted[place].is_empty(), "nothing was found in {place}");
    }
}

/// The process that has the outbox dies before the erasure; what another one began is finished when it is back.
#[tokio::test]
async fn what_a_killed_sender_left_undone_is_done_when_it_is_back() {
    let mut stack = Stack::prepare(Settings::new()).await;
    stack.serve("api", "api,sequencer,projector,scheduler,importer").await;
    stack.serve("sender", "sender").await;
    stack.ready().await;
    let api = stack.client();
    let group = api.group("Birds").await;
    let template = scene::template(&api).await;
    let add = json!({ "email": ADDRESS, "name": NAME, "groups": [group], "consent": { "source": "e2e" } });
    let reader = api.post("/subscribers", &add).await.expect(201).id("subscriber_id");
    let campaign = api.launch(&Draft { template, group, ..Draft::default() }).await;
    api.completes(campaign, WITHIN).await;
    stack.kill("sender").await;

    api.post(&format!("/subscribers/{reader}/erase"), &Value::Null).await.expect(202);
    stack.kill("api").await;
    let file = stack.outbox().handovers().remove(0).file;
    assert!(
        !found("the mail", &String::from_utf8_lossy(&std::fs::read(&file).unwrap()), &canaries()).is_empty()
    );
    let open: i64 =
        sqlx::query_scalar("SELECT count(*) FROM erasures").fetch_one(stack.pool()).await.unwrap();
    assert_eq!(open, 1);
    for name in ["sender", "api"] {
        stack.serve_again(name).await;
    }
    finished(&stack).await;
    assert_eq!(std::fs::read(&file).unwrap(), b"");
    assert!(found("the outbox", &files(&stack.dir().join("outbox")), &canaries()).is_empty());
}

/// By an operator, who types the address.
#[tokio::test]
async fn an_operator_erases_by_address_and_is_asked() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let add = |email: &str| json!({ "email": email, "name": NAME, "consent": { "source": "e2e" } });
    let reader = api.post("/subscribers", &add(ADDRESS)).await.expect(201).id("subscriber_id");
    let other = api.post("/subscribers", &add(OLD)).await.expect(201).id("subscriber_id");
    let status = async |id: Uuid| -> Value {
        api.caught_up(WITHIN).await;
        api.get::<Value>(&format!("/subscribers/{id}")).await["status"].clone()
    };
    let typed = |text: &str| {
        let output = stack.operate_by_hand(&["erase"], text);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(found("what it says", &said, &canaries()).is_empty(), "{said}");
        (output.status.success(), said)
    };
    for (text, expected) in [
        ("", "ended without an answer"),
        ("nobody@example.com\nyes\n", "no subscriber has, or had, this address"),
        ("wellensittich.9c4e\nyes\n", "the address"),
        (&*format!("{ADDRESS}\n"), "ended without an answer"),
        (&*format!("{ADDRESS}\ny\n"), "nobody was erased"),
    ] {
        let (success, said) = typed(text);
        assert!(!success && said.contains(expected), "{said}");
    }
    assert_eq!(status(reader).await, "active");
    let (success, said) = typed(&format!("{}\nyes\n", ADDRESS.to_lowercase()));
    assert!(success && said.contains(&reader.to_string()) && said.contains("are emptied"), "{said}");
    assert_eq!(status(reader).await, "erased");
    stack.operate(&["erase", &other.to_string(), "--yes"]);
    assert_eq!(status(other).await, "erased");
    let again = stack.operate(&["erase", &other.to_string(), "--yes"]);
    assert!(again.contains("are emptied"), "{again}");
    let nobody = stack.try_operate(&["erase", &e2e::new_id().to_string(), "--yes"]);
    assert!(!nobody.status.success());
    let history: Value = api.get(&format!("/audit/subscribers/{reader}")).await;
    assert_eq!(history["items"][2]["actor"], "system:operator");
}
