//! Nothing personal and no secret is in a log, in a table in plain, or in the body of an error, whatever goes wrong and
//! however much is logged.

use crate::account::Account;
use crate::search::found;
use e2e::{Broker, Client, Draft, Mail, Metrics, Settings, Smtp, SmtpOptions, Stack, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

const ADDRESS: &str = "kanarienvogel.7f3a@canary-domain.example";
const STAFF: &str = "staff.kanarienvogel.7f3a@canary-domain.example";
/// What is personal, and passwords: none may be anywhere.
const CANARIES: &[&str] = &[
    "kanarienvogel.7f3a",
    "canary-domain",
    "zeisig-stieglitz",
    "girlitz-gimpel",
    "canary-agent/9",
    "hänfling",
    SMTP_PASSWORD,
    "86753090123456789",
];
const SMTP_PASSWORD: &str = "goldammer-41c9";
const SMTP_SIGN_IN: &str = "letters:goldammer-41c9";
/// Everything of everything; a bound that it cannot lift keeps libraries quiet.
const FILTER: &str = "trace,hyper=trace,hyper_util=trace,h2=trace,sqlx=trace,sqlx_postgres=trace,rustls=trace,\
                      lettre=trace,rdkafka=trace,reqwest=trace,tower_http=trace";
const WITHIN: Duration = Duration::from_secs(60);
const STOPS_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn what_is_personal_or_secret_is_in_no_log_no_table_and_no_error() {
    let sign_in = SmtpOptions { sign_in: Some(SMTP_SIGN_IN), ..SmtpOptions::default() };
    let smtp = Smtp::start(sign_in).await;
    let settings =
        Settings::new().smtp(&smtp).set("smtp.username", "letters").set("smtp.password", SMTP_PASSWORD);
    let mut settings = settings.set("log.filter", FILTER).set("log.format", "json");
    let broker = Broker::start_secure();
    if let Some(broker) = &broker {
        settings = broker.sign_in(settings, "SCRAM-SHA-512");
    }
    let mut stack = Stack::prepare(settings).await;
    stack.serve("server", "").await;
    stack.ready().await;
    let api = stack.client();
    let group = api.group("Canaries").await;
    let mut errors = Vec::new();
    import(&api, group, &mut errors).await;
    add(&api, group, &mut errors).await;
    let link = send(&stack, &smtp, &api, group, &mut errors).await;
    opt_out(&api, &link, &mut errors).await;
    let mut secrets = sign_in_and_out(&stack, &api, &mut errors).await;
    secrets.push(forgotten_password(&smtp, &api, &mut errors).await.to_lowercase());
    broken_database(&stack, &api, group, &link, &mut errors).await;
    operator_commands(&stack, &mut errors);
    api.caught_up(WITHIN).await;
    let metrics = Metrics::of(&stack, "server").await.text;
    let arguments = stack.process("server").arguments();
    stack.terminate("server", STOPS_WITHIN).await;

    // Once more as text, what goes wrong in requests.
    stack.set("log.format", "text");
    stack.serve("text", "").await;
    stack.ready().await;
    for _ in 0..2 {
        add_refused(&api, group, &mut errors).await;
        opt_out_refused(&api, &link, &mut errors).await;
    }
    stack.terminate("text", STOPS_WITHIN).await;

    secrets.extend(secrets_of(&stack, &link));
    let json = check_log(&stack, "server", 100, &secrets);
    check_log(&stack, "text", 20, &secrets);
    check_request_ids(&json);
    assert_eq!(found("the metrics", &metrics, &secrets), [""; 0]);
    assert_eq!(found("the arguments of the process", &arguments, &secrets), [""; 0]);
    for (place, text) in &tables(&stack).await {
        assert_eq!(found(place, text, &secrets), [""; 0]);
    }
    assert!(errors.len() >= 30, "{}", errors.len());
    for error in &errors {
        assert_eq!(found("an error", error, &secrets), [""; 0], "{error}");
    }
    if let Some(broker) = broker {
        secrets.push(broker.password().to_lowercase());
        let records = broker.every_record();
        assert!(records.lines().count() > 20, "so little is in Kafka: nothing was proved: {records}");
        assert_eq!(found("Kafka", &records, &secrets), [""; 0]);
        check_log(&stack, "server", 100, &secrets);
    }
}

/// What the stack itself was given, and the reader's token.
fn secrets_of(stack: &Stack, link: &str) -> Vec<String> {
    let read = |name: &str| std::fs::read_to_string(stack.dir().join(name)).unwrap();
    let (_, token) = link.split_once("token=").unwrap();
    let mut secrets =
        vec![signature(token), stack.api_key.to_lowercase(), read("master-key").trim().to_lowercase()];
    // Where the tests' Postgres wants one.
    secrets.extend(stack.database_password());
    // As they were written, too: base64 is not the same in lower case.
    secrets.extend(["Zeisig-Stieglitz", "Girlitz-Gimpel", "Hänfling"].map(str::to_owned));
    secrets.extend(CANARIES.iter().map(|canary| (*canary).to_owned()));
    secrets
}

/// Of a JWT the signature alone is a secret.
fn signature(token: &str) -> String {
    token.rsplit('.').next().unwrap().to_lowercase()
}

/// Answers the log, in which so many lines have to be.
fn check_log(stack: &Stack, name: &str, lines: usize, secrets: &[String]) -> String {
    let log = std::fs::read_to_string(stack.log_file(name)).unwrap();
    assert!(log.lines().count() > lines, "so little is logged: nothing was proved");
    assert_eq!(found(&format!("the log of {name}"), &log, secrets), [""; 0]);
    log
}

/// A line for each request, with its id.
fn check_request_ids(log: &str) {
    let mut ids = BTreeMap::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if line["message"] == "answered" {
            let span = &line["span"];
            assert!(span["http.status"].is_u64() && span["latency_ms"].is_u64(), "{line}");
            *ids.entry(span["request.id"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    assert!(ids.len() > 40 && ids.values().all(|count| *count == 1), "{ids:?}");
}

/// A row that is taken, one that can't be, and files that can't be.
async fn import(api: &Client, group: Uuid, errors: &mut Vec<String>) {
    let row = format!("{ADDRESS},Zeisig-Stieglitz,Girlitz-Gimpel\r\n");
    let csv =
        format!("email,first_name,last_name\r\n{row}no-at-sign.kanarienvogel.7f3a,Zeisig-Stieglitz,x\r\n");
    let import = api.imported(group, csv.as_bytes()).await;
    assert_eq!((import.created, import.rejected), (1, 1), "{import:?}");
    let path = format!("group={group}");
    for csv in [row.clone(), format!("email\r\n\"{row}"), format!("Zeisig,Stieglitz\r\n{row}")] {
        errors.push(api.upload(&path, csv.as_bytes()).await.expect(422).body);
    }
}

fn subscriber(email: &str, group: Uuid) -> Value {
    json!({ "email": email, "name": "Zeisig-Stieglitz", "groups": [group], "consent": { "source": "e2e" },
        "attributes": { "town": "Girlitz-Gimpel", "wish": "Hänfling" } })
}

async fn add(api: &Client, group: Uuid, errors: &mut Vec<String>) {
    let other = "second.kanarienvogel.7f3a@canary-domain.example";
    let id = api.post("/subscribers", &subscriber(other, group)).await.expect(201).id("subscriber_id");
    add_refused(api, group, errors).await;
    let path = format!("/subscribers/{id}");
    let change = async |body: Value| api.command(Method::PATCH, &path, &body).await;
    let wrong = [
        json!({ "name": ["Zeisig-Stieglitz"] }),
        json!({ "attributes": { "town": { "Girlitz-Gimpel": 1 } } }),
        json!({ "email": "kanarienvogel.7f3a" }),
        json!({ "attributes": "Girlitz-Gimpel" }),
    ];
    for body in wrong {
        errors.push(change(body).await.expect(422).body);
    }
    change(json!({ "attributes": { "town": "Girlitz-Gimpel II" } })).await.expect(200);
    let template =
        api.template(&json!({ "name": "x", "subject": "x", "html": "<p>{{ first_name }}</p>" })).await;
    let path = format!("/templates/{template}/preview");
    let preview = json!({ "attributes": { "first_name": ["Zeisig-Stieglitz"] } });
    errors.push(api.post(&path, &preview).await.expect(422).body);
}

async fn add_refused(api: &Client, group: Uuid, errors: &mut Vec<String>) {
    errors.push(api.post("/subscribers", &subscriber(ADDRESS, group)).await.expect(409).body);
    for bad in
        ["kanarienvogel.7f3a@@canary-domain.example", "kanarienvogel.7f3a@canary-domain.example\nBcc: x@y.zz"]
    {
        errors.push(api.post("/subscribers", &subscriber(bad, group)).await.expect(422).body);
    }
    let broken = api.request(Method::POST, "/subscribers").header("Content-Type", "application/json");
    let broken = broken.body(format!("{{\"email\": \"{ADDRESS}\", \"name\": Zeisig-Stieglitz}}"));
    errors.push(api.send(broken).await.unwrap().expect(400).body);
    errors.push(api.query("/subscribers?email=kanarienvogel.7f3a").await.expect(422).body);
    errors.push(api.query("/kanarienvogel.7f3a/canary-domain?x=zeisig-stieglitz").await.expect(404).body);
    let strange = api.request(Method::from_bytes(b"ZEISIG-STIEGLITZ").unwrap(), "/subscribers");
    errors.push(api.send(strange).await.unwrap().expect(405).body);
}

/// By both mailers; answers the reader's link.
async fn send(stack: &Stack, smtp: &Smtp, api: &Client, group: Uuid, errors: &mut Vec<String>) -> String {
    let html = "<p>{{ first_name }} {{ last_name }}</p>";
    let template =
        api.template(&json!({ "name": "Letter", "subject": "For {{ first_name }}", "html": html })).await;
    let path = format!("/templates/{template}/test");
    errors.push(api.post(&path, &json!({ "to": ["kanarienvogel.7f3a@"] })).await.expect(422).body);
    let test = json!({ "to": [ADDRESS, "third.kanarienvogel.7f3a@canary-domain.example"] });
    let test = api.post(&path, &test).await.expect(202).id("dispatch_id");
    eventually("the test mails are sent", WITHIN, async || {
        let sent = smtp.handovers().into_iter().filter(|handover| handover.dispatch == test);
        (sent.count() == 2).then_some(())
    })
    .await;
    let by_outbox = Draft { template, group, mailer: Some("outbox"), ..Draft::default() };
    let by_outbox = api.launch(&by_outbox).await;
    let by_smtp = api.launch(&Draft { template, group, ..Draft::default() }).await;
    for campaign in [by_outbox, by_smtp] {
        api.completes(campaign, WITHIN).await;
    }
    let ledger = Account::of(stack, by_outbox).await.hand_overs(stack.outbox().handovers());
    assert_eq!(ledger.len(), 2);
    let ledger = Account::of(stack, by_smtp).await.hand_overs(smtp.handovers());
    let mails: Vec<Mail> = ledger.iter().map(|handover| Mail::read(&handover.file)).collect();
    mails.iter().find(|mail| mail.to.address == ADDRESS).expect("the reader's mail").one_click_link()
}

/// From a mail program with a telling name, and with tokens that are not valid.
async fn opt_out(api: &Client, link: &str, errors: &mut Vec<String>) {
    let token = link.split_once("token=").unwrap().1;
    let reader = api.with_bearer(token);
    let request = reader.request(Method::POST, "/emails/unsubscribe").header("User-Agent", "Canary-Agent/9");
    reader.send(request.json(&json!({ "global": true }))).await.unwrap().expect(204);
    api.one_click(link).await.expect(200);
    opt_out_refused(api, link, errors).await;
}

async fn opt_out_refused(api: &Client, link: &str, errors: &mut Vec<String>) {
    let token = link.split_once("token=").unwrap().1;
    let reader = api.with_bearer(token);
    let (bad, forged) = (format!("{link}x"), &token[..token.len() - 4]);
    errors.push(api.one_click(&bad).await.expect(401).body);
    errors.push(api.with_bearer(forged).query("/preferences").await.expect(401).body);
    let nonsense = json!({ "global": "kanarienvogel.7f3a" });
    errors.push(reader.post("/emails/unsubscribe", &nonsense).await.expect(422).body);
}

/// As somebody whose address, password and browser are telling; answers what they were given.
async fn sign_in_and_out(stack: &Stack, api: &Client, errors: &mut Vec<String>) -> Vec<String> {
    let password = stack.dir().join("password");
    std::fs::write(&password, "Zeisig-Stieglitz singt").unwrap();
    let password = password.display().to_string();
    let staff = STAFF;
    stack.operate(&["user", "add", staff, "--roles", "admin", "--password-file", &password]);
    let public = api.anonymous();
    let post = async |path: &str, body: Value| {
        let request = public.request(Method::POST, path).header("User-Agent", "Canary-Agent/9");
        public.send(request.json(&body)).await.unwrap()
    };
    let login = |password: &str| json!({ "email": staff, "password": password });
    errors.push(post("/auth/login", login("Girlitz-Gimpel")).await.expect(401).body);
    errors.push(
        post("/auth/login", json!({ "email": ADDRESS, "password": ["Girlitz-Gimpel"] }))
            .await
            .expect(422)
            .body,
    );
    let first: Value = post("/auth/login", login("Zeisig-Stieglitz singt")).await.expect(200).json();
    let second: Value =
        post("/auth/refresh", json!({ "refresh_token": first["refresh_token"] })).await.expect(200).json();
    let given = |tokens: &Value, name: &str| tokens[name].as_str().unwrap().to_owned();
    let staff = api.with_bearer(&given(&second, "access_token"));
    let key = json!({ "name": "e2e", "scopes": ["groups:read"] });
    let key: Value =
        staff.send(staff.request(Method::POST, "/api-keys").json(&key)).await.unwrap().expect(201).json();
    staff.query("/users").await.expect(200);
    errors.push(
        post("/auth/refresh", json!({ "refresh_token": first["refresh_token"] })).await.expect(401).body,
    );
    let mut all = vec![given(&key, "key").to_lowercase()];
    for tokens in [&first, &second] {
        all.push(signature(&given(tokens, "access_token")));
        all.push(given(tokens, "refresh_token").to_lowercase());
    }
    all
}

/// By the mail's link, as its reader and as somebody who guesses; answers the link's token.
async fn forgotten_password(smtp: &Smtp, api: &Client, errors: &mut Vec<String>) -> String {
    let public = api.anonymous();
    let post = async |path: &str, body: Value| {
        public.send(public.request(Method::POST, path).json(&body)).await.unwrap()
    };
    post("/auth/password-reset", json!({ "email": STAFF })).await.expect(202);
    let mail = eventually("the mail with the link is sent", WITHIN, async || {
        smtp.handovers()
            .iter()
            .map(|handover| Mail::read(&handover.file))
            .find(|mail| mail.to.address == STAFF)
    });
    let mail = mail.await;
    let link = mail.text.split_whitespace().find(|word| word.contains("token=")).expect("a link");
    public.send(public.request(Method::GET, link)).await.unwrap().expect(200);
    let token = link.split_once("token=").unwrap().1;
    let confirm = async |token: &str, password: &str| {
        post("/auth/password-reset/confirm", json!({ "token": token, "password": password })).await
    };
    errors.push(confirm(token, "Hänfling").await.expect(422).body);
    errors.push(confirm(&format!("{token}x"), "Zeisig-Stieglitz pfeift").await.expect(401).body);
    confirm(token, "Zeisig-Stieglitz pfeift").await.expect(204);
    errors.push(confirm(token, "Zeisig-Stieglitz pfeift").await.expect(401).body);
    token.to_owned()
}

/// Tables that are missing, rows that are refused, and no database at all.
async fn broken_database(stack: &Stack, api: &Client, group: Uuid, link: &str, errors: &mut Vec<String>) {
    let run = async |sql: &str| sqlx::query(sql).execute(stack.pool()).await.map(drop).unwrap();
    let add = || {
        let body = subscriber("fourth.kanarienvogel.7f3a@canary-domain.example", group);
        api.request(Method::POST, "/subscribers").json(&body)
    };
    let login = || {
        let body = json!({ "email": ADDRESS, "password": "Zeisig-Stieglitz singt" });
        api.anonymous().request(Method::POST, "/auth/login").json(&body)
    };
    for table in ["gates", "accounts", "events"] {
        run(&format!("ALTER TABLE {table} RENAME TO {table}_gone")).await;
        let request = if table == "accounts" { login() } else { add() };
        errors.push(api.send(request).await.unwrap().expect(500).body);
        run(&format!("ALTER TABLE {table}_gone RENAME TO {table}")).await;
    }
    run("ALTER TABLE gates ADD CONSTRAINT canary CHECK (subscriber_id IS NULL) NOT VALID").await;
    errors.push(api.send(add()).await.unwrap().expect(500).body);
    run("ALTER TABLE gates DROP CONSTRAINT canary").await;
    stack.take_database_away().await;
    for request in [add(), login(), api.anonymous().request(Method::GET, link)] {
        errors.push(api.send(request).await.unwrap().expect(503).body);
    }
    stack.database_is_back().await;
    api.query("/groups").await.expect(200);
}

/// What goes wrong by an operator's hand, with secrets in the settings.
fn operator_commands(stack: &Stack, errors: &mut Vec<String>) {
    let dir = stack.dir();
    let file = |name: &str, content: &str| {
        std::fs::write(dir.join(name), content).unwrap();
        dir.join(name).display().to_string()
    };
    let short = file("short", "Hänfling");
    let staff = "other.staff@example.com";
    let unfinished = file("unfinished.toml", "[smtp]\npassword = \"zeisig-stieglitz\n");
    let number = file("number.toml", "[database]\npassword = 86753090123456789\n");
    let list = file("list.toml", "[database]\npassword = [\"girlitz-gimpel\"]\n");
    let url = |url: &str| Settings::default().set("database.url", url);
    let none = Settings::default();
    let wrong: [(&Settings, &[&str]); 8] = [
        (&none, &["user", "add", staff, "--roles", "admin", "--password-file", &short]),
        (&none, &["--config", &unfinished, "migrate"]),
        (&none, &["--config", &number, "migrate"]),
        (&none, &["--config", &list, "migrate"]),
        (&url("postgres://zeisig-stieglitz:girlitz-gimpel@127.0.0.1:notaport/x"), &["migrate"]),
        (&url("postgres://u:zeisig-stieglitz@127.0.0.1:1/x?pasword=girlitz-gimpel"), &["migrate"]),
        (&url("zeisig-stieglitz"), &["migrate"]),
        (
            &Settings::default().set("smtp.password", "[86753090123456789]").set("smtp.port", "x"),
            &["migrate"],
        ),
    ];
    for (settings, arguments) in wrong {
        let output = stack.try_operate_by(settings, arguments);
        assert!(!output.status.success(), "{arguments:?}");
        errors.push(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned());
    }
    let long = file("long", "Zeisig-Stieglitz singt");
    let added = stack.operate(&["user", "add", staff, "--roles", "admin", "--password-file", &long]);
    let config = stack.try_operate(&["config", "check"]);
    errors.extend([added, String::from_utf8_lossy(&config.stdout).into_owned()]);
}

/// Every row of every table as text; bytes too, where they are text.
async fn tables(stack: &Stack) -> BTreeMap<String, String> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
    )
    .fetch_all(stack.pool())
    .await
    .unwrap();
    let mut tables = BTreeMap::new();
    for name in names {
        let rows: Vec<String> = sqlx::query_scalar(&format!("SELECT t::text FROM \"{name}\" t"))
            .fetch_all(stack.pool())
            .await
            .unwrap();
        tables.insert(name, rows.join("\n"));
    }
    for filled in ["events", "log", "subscribers", "recipients", "import_rejected"] {
        assert!(!tables[filled].is_empty(), "{filled} is empty: nothing was proved");
    }
    tables
}
