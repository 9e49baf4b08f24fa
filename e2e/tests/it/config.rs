//! What an operator is told about the settings, and what they keep to themselves.

use e2e::{Settings, Smtp, SmtpOptions, Stack};
use serde_json::Value;
use std::collections::BTreeMap;

const SMTP_PASSWORD: &str = "goldammer-41c9";
const SMTP_SIGN_IN: &str = "letters:goldammer-41c9";

/// Whether it succeeded, the worst word on each thing, and the whole text.
struct Told {
    succeeded: bool,
    statuses: BTreeMap<String, String>,
    text: String,
}

impl Told {
    fn of(&self, name: &str) -> &str {
        self.statuses.get(name).map_or("", String::as_str)
    }
}

/// `config check --json` with these settings besides the stack's.
fn check(stack: &Stack, settings: &Settings) -> Told {
    let output = stack.try_operate_by(settings, &["config", "check", "--json"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    let mut statuses = BTreeMap::new();
    for check in report["checks"].as_array().unwrap() {
        let (name, status) = (check["name"].as_str().unwrap(), check["status"].as_str().unwrap());
        let rank = |word: &str| ["ok", "warning", "failed"].iter().position(|known| *known == word).unwrap();
        let worst: &mut String = statuses.entry(name.to_owned()).or_insert_with(|| status.to_owned());
        if rank(status) > rank(worst) {
            status.clone_into(worst);
        }
    }
    let has_failed = statuses.values().any(|status| status == "failed");
    assert_eq!(output.status.success(), !has_failed, "{report:#}");
    Told { succeeded: output.status.success(), statuses, text: format!("{report:#}{errors}") }
}

fn set(key: &str, value: impl ToString) -> Settings {
    Settings::default().set(key, value)
}

#[tokio::test]
async fn config_check_tells_what_is_there_and_what_is_not() {
    let smtp = Smtp::start(SmtpOptions { sign_in: Some(SMTP_SIGN_IN), ..SmtpOptions::default() }).await;
    let settings = Settings::new().smtp(&smtp).set("smtp.username", "letters").set("demonstration", false);
    let mut stack = Stack::prepare(settings).await;
    let file = stack.dir().join("smtp-password");
    std::fs::write(&file, format!("{SMTP_PASSWORD}\n")).unwrap();
    stack.set("smtp.password_file", file.display());
    stack.serve("server", "").await;
    stack.ready().await;

    let well = check(&stack, &Settings::default());
    assert!(well.succeeded, "{}", well.text);
    for name in
        ["postgres", "durability", "schema", "master key", "clock", "kafka", "outbox", "smtp", "metrics"]
    {
        assert_eq!(well.of(name), "ok", "{name}: {}", well.text);
    }
    for name in ["replication", "public_url", "dkim", "files"] {
        assert_eq!(well.of(name), "warning", "{name}: {}", well.text);
    }
    let text = String::from_utf8(stack.try_operate(&["config", "check"]).stdout).unwrap();
    assert!(text.contains("smtp.username = ***") && text.contains("ok      schema"), "{text}");
    for secret in [Some(SMTP_PASSWORD.to_owned()), stack.database_password()].into_iter().flatten() {
        assert!(!text.contains(&secret) && !well.text.contains(&secret), "a secret is shown");
    }

    let another = stack.dir().join("another-key").display().to_string();
    stack.operate(&["keys", "generate", &another]);
    let missing = stack.dir().join("not-there");
    let told = check(&stack, &set("outbox.dir", missing.display()));
    assert_eq!((told.of("outbox"), missing.exists()), ("ok", false), "{}", told.text);
    let wrong = [
        ("outbox", set("outbox.dir", file.join("below-a-file").display())),
        ("master key", set("keys.master_key_file", &another)),
        ("master key", set("keys.master_key_file", "/none")),
        ("public_url", set("api.public_url", "http://mail.example.org")),
        ("smtp", set("smtp.port", 1)),
        ("postgres", set("database.url", "postgres://u:wrong@127.0.0.1:1/x")),
        ("connections", set("database.max_connections", 100_000)),
    ];
    for (name, settings) in wrong {
        let told = check(&stack, &settings);
        assert_eq!(told.of(name), "failed", "{name}: {}", told.text);
    }
    let told = check(&stack, &set("api.public_url", "https://mail.example.org"));
    assert_eq!(told.of("public_url"), "ok", "{}", told.text);
    let old = "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    sqlx::query(old).execute(stack.pool()).await.unwrap();
    assert_eq!(check(&stack, &Settings::default()).of("schema"), "failed");
}

#[tokio::test]
async fn what_a_demonstration_made_is_refused_in_production() {
    let stack = Stack::prepare(Settings::new()).await;
    let key = stack.dir().join("demonstration").display().to_string();
    stack.operate(&["keys", "generate", "--demonstration", &key]);
    let with_key = || set("keys.master_key_file", &key);
    for arguments in [&["serve"][..], &["api-key", "add", "x", "--scopes", "all"], &["keys", "rotate"]] {
        let refused = stack.try_operate_by(&with_key(), arguments);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && said.contains("the key of a demonstration"),
            "{arguments:?}: {said}"
        );
    }
    assert_eq!(check(&stack, &with_key()).of("master key"), "failed");

    // A demonstration's own database: it fills it, and production opens nothing of it, by no trick with the key.
    for table in ["service_keys", "api_keys"] {
        sqlx::query(&format!("DELETE FROM {table}")).execute(stack.pool()).await.unwrap();
    }
    let demonstration = with_key().set("demonstration", true);
    let rotated = stack.try_operate_by(&demonstration, &["keys", "rotate"]);
    assert!(rotated.status.success());
    let told = check(&stack, &demonstration);
    assert_eq!((told.of("master key"), told.of("demonstration")), ("ok", "warning"), "{}", told.text);
    let text = std::fs::read_to_string(&key).unwrap();
    std::fs::write(&key, text.strip_prefix("demonstration:").unwrap()).unwrap();
    for demonstration in [false, true] {
        let told = check(&stack, &with_key().set("demonstration", demonstration));
        assert_eq!(told.of("master key"), "failed", "{}", told.text);
    }
    let public = stack.try_operate_by(&demonstration.set("api.listen", "0.0.0.0:1"), &["config", "check"]);
    assert!(!public.status.success());
}
