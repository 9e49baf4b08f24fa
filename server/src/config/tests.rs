use super::*;

fn load(toml: &str) -> Result<Config, String> {
    Config::extract(&Figment::from(Toml::string(toml))).map_err(|error| format!("{error:#}"))
}

#[test]
fn the_defaults_hold() {
    assert_eq!(load("").unwrap().mailer_names(), ["outbox"]);
}

#[test]
fn what_cannot_be_taken_is_named() {
    let table = [
        ("[send]\nwindow = 3", "window"),
        ("[sned]\nwindow_ms = 3", "sned"),
        ("[send]\nwindow_ms = \"soon\"", "window_ms"),
        ("[send]\nwindow_ms = 5", "send.window_ms"),
        ("[send]\nwindow_ms = 30_000", "send.window_ms"),
        ("[send]\npage_size = 501", "send.page_size"),
        ("[send]\nmailer = \"smtp\"", "send.mailer"),
        ("[api]\nlisten = \"0.0.0.0:80\"", "api.insecure_http"),
        ("[api]\nlisten = \"[::]:80\"\npublic_url = \"http://mail.example.org\"", "api.insecure_http"),
        ("[api]\ntrusted_proxies = [\"10.0.0.0/33\"]", "trusted_proxies"),
        ("[api]\nallowed_origins = [\"*\"]", "allowed_origins"),
        ("[api]\nallowed_origins = [\"https://app.example.org/\"]", "allowed_origins"),
        ("[api.limits]\nuser_per_minute = 0", "user_per_minute"),
        ("[api.limits]\nusers_per_minute = 1", "users_per_minute"),
        ("[api.limits]\nconnections = 0", "api.limits.connections"),
        ("[api.limits]\npasswords_per_address_at_once = 0", "api.limits.passwords_per_address_at_once"),
        ("demonstration = true\n[api]\nlisten = \"0.0.0.0:80\"", "demonstration"),
        ("[api]\nlisten = \"here\"", "listen"),
        ("[api]\npassword_reset_url = \"/reset\"", "api.password_reset_url"),
        ("[api]\ninvitation_url = \"https://app.example.com/#/join\"", "api.invitation_url"),
        ("[api.oauth.company]\nissuer = \"https://id.example.com\"", "client_id"),
        ("[api.oauth.company]\nissue = \"https://id.example.com\"", "issue"),
        (
            "[api.oauth.company]\nissuer = \"http://id.example.com\"\nclient_id = \"x\"\nredirect_uris = []",
            "company: issuer",
        ),
        ("[api]\ndrain_seconds = 21", "api.drain_seconds"),
        ("[smtp]\nhost = \"mx\"", "send.postal_address"),
        ("[smtp]\nhots = \"mx\"", "hots"),
        ("[[dkim]]\ndomain = \"a.example\"\nselector = \"s\"\nkey_file = \"/none\"", "key_file"),
        ("[media]\nbucket = \"b\"", "media.public_url"),
        ("[media]\nbuckte = \"b\"", "buckte"),
        ("[media]\nbucket = \"b\"\npublic_url = \"cdn.example.com\"", "media.public_url"),
        ("[media]\nbucket = \"b\"\npublic_url = \"https://c.example\"\nendpoint = \"s3\"", "media.endpoint"),
        (
            "[media]\nbucket = \"b\"\npublic_url = \"https://c.example\"\nmax_bytes = 5_368_709_121",
            "media.max_bytes",
        ),
        (
            "[media]\nbucket = \"b\"\npublic_url = \"https://c.example\"\naccess_key_id = \"x\"",
            "media.secret_access_key",
        ),
        ("[log]\nformat = \"xml\"", "format"),
        ("[metrics]\nlisten = \"9464\"", "metrics.listen"),
        ("[kafka]\nbroker = \"mq:9092\"", "broker"),
        ("[kafka]\nbrokers = \"mq\"", "kafka.brokers"),
        ("[kafka]\nprefix = \"a b\"", "kafka.prefix"),
        ("[kafka]\npartitions = 65", "kafka.partitions"),
        ("[kafka]\nreplication_factor = 0", "kafka.replication_factor"),
        ("[kafka]\nca_file = \"/etc/hostname\"", "kafka.ca_file"),
        ("[kafka]\ntls = true\nca_file = \"/none\"", "kafka.ca_file"),
        ("[kafka]\nusername = \"x\"", "kafka.sasl_mechanism"),
        ("[kafka]\nsasl_mechanism = \"GSSAPI\"", "sasl_mechanism"),
        ("[kafka]\nsasl_mechanism = \"PLAIN\"\nusername = \"x\"\npassword = \"y\"", "kafka.tls"),
    ];
    for (toml, name) in table {
        let error = load(toml).map(|_| ()).unwrap_err();
        assert!(error.contains(name), "{toml}: {error}");
    }
}

#[test]
fn beyond_loopback_the_public_url_is_https_unless_it_is_said_that_it_need_not_be() {
    for fine in ["public_url = \"https://mail.example.org\"", "insecure_http = true"] {
        load(&format!("[api]\nlisten = \"0.0.0.0:8080\"\n{fine}")).unwrap();
    }
    load("[api]\nlisten = \"[::1]:8080\"").unwrap();
}

#[test]
fn the_defaults_of_the_limits_are_the_codes() {
    assert_eq!(load("").unwrap().api.limits, api::Limits::default());
}

#[test]
fn the_database_url_is_not_printed() {
    let config = load("[database]\nurl = \"postgres://u:hunter2@db/x\"").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

const COMPANY: &str = "[api.oauth.company]\nissuer = \"https://id.example.com\"\nclient_id = \"postledger\"\n\
    redirect_uris = [\"https://app.example.com/back\"]\n";

#[test]
fn a_providers_secret_is_read_and_not_printed() {
    let config = load(&format!("{COMPANY}client_secret = \"hunter2\"")).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let providers = config.providers();
    assert_eq!((providers[0].name.as_str(), providers[0].client_id.as_str()), ("company", "postledger"));
    assert_eq!(providers[0].client_secret.as_ref().unwrap().as_str(), "hunter2");
    assert!(load(COMPANY).unwrap().providers()[0].client_secret.is_none());
    for both in ["", "client_secret = \"a\"\n"] {
        let error = load(&format!("{COMPANY}{both}client_secret_file = \"/none\"")).map(|_| ()).unwrap_err();
        assert!(error.contains("api.oauth.company.client_secret_file"), "{error}");
    }
}

#[test]
fn links_lead_to_our_own_pages_unless_others_are_named() {
    let ours = load("[api]\npublic_url = \"https://mail.example.org/api/\"").unwrap().account_pages();
    assert_eq!(ours.password_reset, "https://mail.example.org/api/auth/password-reset");
    let others = load("[api]\ninvitation_url = \"https://app.example.com/join\"").unwrap().account_pages();
    assert_eq!(others.invitation, "https://app.example.com/join");
}

#[test]
fn the_brokers_password_is_not_printed() {
    let sasl = "sasl_mechanism = \"SCRAM-SHA-512\"\nusername = \"u\"\npassword = \"hunter2\"";
    let config = load(&format!("[kafka]\nbrokers = \"mq:9093\"\ntls = true\n{sasl}")).unwrap();
    assert!(config.kafka.is_used());
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn what_is_wrong_is_told_without_the_secret() {
    let table = [
        ("[kafka]\npassword = 8675309", "kafka.password"),
        ("[kafka]\npassword = [\"hunter2\"]", "kafka.password"),
        ("[smtp]\nusername = 8675309", "smtp.username"),
        ("[database]\nurl = { hunter2 = 1 }", "database.url"),
        ("[database]\npassword = \"hunter2", "line 2"),
        ("[kafka]\npassword = \"hunter2\"\npassword = \"hunter2\"", "line 3"),
    ];
    for (toml, name) in table {
        let error = load(toml).map(|_| ()).unwrap_err();
        assert!(error.contains(name), "{toml}: {error}");
        assert!(!error.contains("hunter2") && !error.contains("8675309"), "{toml}: {error}");
    }
}

#[test]
fn a_secret_may_be_in_a_file_and_not_in_both_places() {
    let dir = std::env::temp_dir().join(format!("postledger-{}", eventstore::ids::new_id()));
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("secret");
    std::fs::write(&file, "hunter2\r\n").unwrap();
    let file = file.display();
    let signed_in = "brokers = \"mq:9093\"\ntls = true\nsasl_mechanism = \"PLAIN\"\nusername = \"u\"";
    let config = load(&format!(
        "[database]\npassword_file = \"{file}\"\n[kafka]\n{signed_in}\npassword_file = \"{file}\""
    ));
    let config = config.unwrap();
    assert_eq!(config.database.password.as_ref().unwrap().expose(), "hunter2");
    assert!(config.kafka.password.is_some() && !format!("{config:?}").contains("hunter2"));
    let url = load(&format!("[database]\nurl_file = \"{file}\"")).unwrap().database.url;
    assert_eq!(url.expose(), "hunter2");

    for section in ["database", "kafka", "smtp"] {
        let both = format!("[{section}]\npassword = \"x\"\npassword_file = \"{file}\"");
        assert!(load(&both).map(|_| ()).unwrap_err().contains(&format!("{section}.password_file")));
    }
    let both = format!("[database]\nurl = \"x\"\nurl_file = \"{file}\"");
    assert!(load(&both).map(|_| ()).unwrap_err().contains("database.url_file"));
    let none = load("[database]\npassword_file = \"/none\"").map(|_| ()).unwrap_err();
    assert!(none.contains("database.password_file"), "{none}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_demonstrations_key_is_refused_elsewhere() {
    let file = std::env::temp_dir().join(format!("postledger-{}", eventstore::ids::new_id()));
    std::fs::write(&file, format!("demonstration:{}\n", "ab".repeat(32))).unwrap();
    let keys = format!("[keys]\nmaster_key_file = \"{}\"", file.display());
    let refused = load(&keys).unwrap().master_key().map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("the key of a demonstration"), "{refused}");
    let config = load(&format!("demonstration = true\n{keys}")).unwrap();
    assert!(config.master_key().unwrap().is_demonstration());
    std::fs::remove_file(file).unwrap();
}

#[test]
fn settings_are_shown_without_secrets() {
    let given = "[database]\nurl = \"postgres://u:hunter2@db:1/x?sslpassword=hunter2\"\n\
                 [smtp]\nhost = \"mx\"\nusername = \"hunter2\"\npassword = \"hunter2\"\n\
                 [media]\nsecret_access_key = \"hunter2\"";
    let values: serde_json::Value = with_defaults(&Figment::from(Toml::string(given))).extract().unwrap();
    let mut settings = BTreeMap::new();
    flatten(&mut settings, String::new(), &values);
    assert_eq!(settings["database.url"], "postgres://u:***@db:1/x?***");
    assert_eq!((settings["smtp.host"].as_str(), settings["smtp.password"].as_str()), ("mx", "***"));
    assert!(!format!("{settings:?}").contains("hunter2"));
}

/// `config.default.toml` with its commented settings taken in, but for examples, which nobody has by default: names of hosts, files,
/// and secrets.
fn with_commented_settings() -> String {
    let is_example = |setting: &str| ["example", "…", "/etc/"].iter().any(|word| setting.contains(word));
    // Sections that stand for any number of them have no defaults.
    let mut is_in_list = false;
    let taken_in = DEFAULTS.lines().filter_map(|line| {
        let commented = line.strip_prefix("# ").filter(|rest| is_setting(rest));
        let setting = commented.unwrap_or(line);
        if setting.starts_with('[') {
            is_in_list = setting.starts_with("[[") || setting.starts_with("[api.oauth.");
        }
        (!is_in_list && (commented.is_none() || !is_example(setting))).then_some(setting)
    });
    taken_in.collect::<Vec<_>>().join("\n")
}

fn is_setting(text: &str) -> bool {
    let begins =
        text.starts_with('[') || text.starts_with(|c: char| c.is_ascii_lowercase()) && text.contains(" = ");
    begins && Figment::from(Toml::string(text)).extract::<serde_json::Value>().is_ok()
}

#[test]
fn each_commented_setting_shows_its_default() {
    let shown = Figment::from(Toml::string(&with_commented_settings()));
    let smtp: BTreeMap<String, serde_json::Value> = shown.extract_inner("smtp").unwrap();
    let null: BTreeMap<String, serde_json::Value> = shown.extract_inner("null").unwrap();
    assert_eq!((smtp.len(), null.len()), (8, 3), "{smtp:?} {null:?}");
    let debug = |config: &dyn std::fmt::Debug| format!("{config:?}");
    let of_smtp: SmtpConfig = shown.extract_inner("smtp").unwrap();
    let of_null: NullConfig = shown.extract_inner("null").unwrap();
    let of_outbox: OutboxConfig = shown.extract_inner("outbox").unwrap();
    assert_eq!(debug(&of_smtp), debug(&SmtpConfig::default()));
    assert_eq!(debug(&of_null), debug(&NullConfig::default()));
    let built_in = OutboxConfig { dir: of_outbox.dir.clone(), ..OutboxConfig::default() };
    assert_eq!(debug(&of_outbox), debug(&built_in));
    // All others are in force as the file has them: taking comments off changes nothing.
    let config = |toml: &str| Figment::from(Toml::string(toml)).extract::<Config>().unwrap();
    let mut taken_in = config(&with_commented_settings());
    (taken_in.smtp, taken_in.null) = (None, None);
    assert_eq!(debug(&taken_in), debug(&config(DEFAULTS)));
}
