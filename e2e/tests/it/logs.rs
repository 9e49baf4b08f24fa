//! Nothing personal and no secret is in a log, in a table in plain, or in the body of an error, whatever goes wrong and
//! however much is logged.

use crate::account::Account;
use e2e::{Client, Draft, Mail, Settings, Stack, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

const ADDRESS: &str = "kanarienvogel.7f3a@canary-domain.example";
/// In lower case, what may be nowhere.
const CANARIES: &[&str] =
    &["kanarienvogel.7f3a", "canary-domain", "zeisig-stieglitz", "girlitz-gimpel", "canary-agent/9"];

#[tokio::test]
async fn what_is_personal_or_secret_is_in_no_log_no_table_and_no_error() {
    // Everything, but what the HTTP library logs of its own bytes.
    let mut stack = Stack::prepare(Settings::new().set("log.filter", "trace,hyper=info,h2=info")).await;
    stack.serve("server", "").await;
    stack.ready().await;
    let api = stack.client();
    let group = api.group("Canaries").await;
    let mut errors = Vec::new();
    import(&api, group, &mut errors).await;
    add(&api, group, &mut errors).await;
    let link = send(&stack, &api, group, &mut errors).await;
    let token = link.split_once("token=").unwrap().1.to_owned();
    opt_out(&api, &link, &mut errors).await;
    let given = sign_in(&stack, &api, &mut errors).await;
    stack.terminate("server", Duration::from_secs(30)).await;

    let signature = token.rsplit_once('.').unwrap().1;
    let mut secrets: Vec<String> = CANARIES.iter().map(|canary| (*canary).to_owned()).collect();
    secrets.extend([signature.to_lowercase(), stack.api_key.to_lowercase()]);
    // Of a JWT the signature alone is a secret.
    secrets.extend(given.iter().map(|token| token.rsplit('.').next().unwrap().to_lowercase()));
    let log = std::fs::read_to_string(stack.log_file("server")).unwrap();
    assert!(log.lines().count() > 500, "so much is not logged: nothing was proved");
    assert_eq!(found("the log", &log, &secrets), [""; 0]);
    for (place, text) in &tables(&stack).await {
        assert_eq!(found(place, text, &secrets), [""; 0]);
    }
    assert!(errors.len() >= 10);
    for error in &errors {
        assert_eq!(found("an error", error, &secrets), [""; 0], "{error}");
    }
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

async fn add(api: &Client, group: Uuid, errors: &mut Vec<String>) {
    let subscriber = |email: &str| {
        json!({ "email": email, "name": "Zeisig-Stieglitz", "groups": [group], "consent": { "source": "e2e" },
            "attributes": { "town": "Girlitz-Gimpel" } })
    };
    let other = "second.kanarienvogel.7f3a@canary-domain.example";
    let id = api.post("/subscribers", &subscriber(other)).await.expect(201).id("subscriber_id");
    errors.push(api.post("/subscribers", &subscriber(ADDRESS)).await.expect(409).body);
    for bad in
        ["kanarienvogel.7f3a@@canary-domain.example", "kanarienvogel.7f3a@canary-domain.example\nBcc: x@y.zz"]
    {
        errors.push(api.post("/subscribers", &subscriber(bad)).await.expect(422).body);
    }
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
    let broken = api.request(Method::POST, "/subscribers").header("Content-Type", "application/json");
    let broken = broken.body(format!("{{\"email\": \"{ADDRESS}\", \"name\": Zeisig-Stieglitz}}"));
    errors.push(api.send(broken).await.unwrap().expect(400).body);
    errors.push(api.query("/subscribers?email=kanarienvogel.7f3a").await.expect(422).body);
    let template =
        api.template(&json!({ "name": "x", "subject": "x", "html": "<p>{{ first_name }}</p>" })).await;
    let path = format!("/templates/{template}/preview");
    let preview = json!({ "attributes": { "first_name": ["Zeisig-Stieglitz"] } });
    errors.push(api.post(&path, &preview).await.expect(422).body);
}

/// Answers the reader's link.
async fn send(stack: &Stack, api: &Client, group: Uuid, errors: &mut Vec<String>) -> String {
    let html = "<p>{{ first_name }} {{ last_name }}</p>";
    let template =
        api.template(&json!({ "name": "Letter", "subject": "For {{ first_name }}", "html": html })).await;
    let path = format!("/templates/{template}/test");
    errors.push(api.post(&path, &json!({ "to": ["kanarienvogel.7f3a@"] })).await.expect(422).body);
    let test = json!({ "to": [ADDRESS, "third.kanarienvogel.7f3a@canary-domain.example"] });
    let test = api.post(&path, &test).await.expect(202).id("dispatch_id");
    eventually("the test mails are sent", Duration::from_secs(60), async || {
        let sent = stack.outbox().handovers().into_iter().filter(|handover| handover.dispatch == test);
        (sent.count() == 2).then_some(())
    })
    .await;
    let campaign = api.launch(&Draft { template, group, ..Draft::default() }).await;
    api.completes(campaign, Duration::from_secs(60)).await;
    let account = Account::of(stack, campaign).await;
    let ledger = account.hand_overs(stack.outbox().handovers());
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
    let (bad, forged) = (format!("{link}x"), &token[..token.len() - 4]);
    errors.push(api.one_click(&bad).await.expect(401).body);
    errors.push(api.with_bearer(forged).query("/preferences").await.expect(401).body);
    let nonsense = json!({ "global": "kanarienvogel.7f3a" });
    errors.push(reader.post("/emails/unsubscribe", &nonsense).await.expect(422).body);
}

/// As somebody whose address, password and browser are telling; answers what they were given.
async fn sign_in(stack: &Stack, api: &Client, errors: &mut Vec<String>) -> Vec<String> {
    let password = stack.dir().join("password");
    std::fs::write(&password, "Zeisig-Stieglitz singt").unwrap();
    let password = password.display().to_string();
    let staff = "staff.kanarienvogel.7f3a@canary-domain.example";
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
    let mut all = vec![given(&key, "key")];
    for tokens in [&first, &second] {
        all.extend([given(tokens, "access_token"), given(tokens, "refresh_token")]);
    }
    all
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

/// In any case, and in hexadecimal, as Postgres shows bytes.
fn found(place: &str, text: &str, secrets: &[String]) -> Vec<String> {
    let text = text.to_lowercase();
    let hex = |secret: &str| secret.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let is_there = |secret: &&String| text.contains(secret.as_str()) || text.contains(&hex(secret));
    secrets.iter().filter(is_there).map(|secret| format!("{secret} in {place}")).collect()
}
