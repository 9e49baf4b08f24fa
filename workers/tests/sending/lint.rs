//! Every kind of mail that we can send, held against what providers and standards ask of it, as another mail library reads
//! it.

use crate::support::*;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use commands::{Context, NewSubscriber, NewSubscription, NewUser, OptOut, Password, Preferences};
use domain::EmailAddress;
use domain::access::Role;
use domain::campaign::OnUnknown;
use domain::consent::{Channel, Origin, Scope};
use domain::template::{Body, Content};
use domain::transactional::{AccountMailKind, Mail, Transactional};
use eventstore::clock;
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgPool;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use uuid::Uuid;
use workers::dkim::{Dkim, DkimConfig};
use workers::mailers::Outgoing;

const LINT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sending/lint.py");
/// RFC 5322 section 2.1.1, without the line end; and RFC 2045 section 6.7 of what is encoded.
const LINE_BYTES_MAX: usize = 998;
const ENCODED_LINE_BYTES_MAX: usize = 76;
/// Between making a mail and reading it here.
const SECONDS_MAX: f64 = 60.0;
/// Of each kind, as [`kind`] tells them apart.
const KINDS: [&str; 7] =
    ["campaign", "invitation", "opt_in", "opt_out", "password_reset", "subscription", "test"];
/// Names that headers have to quote and to encode.
const READERS: [(&str, &str); 2] =
    [("lukasz@example.org", "Łukasz \"JJ\" O'Brien, Jr."), ("hao@example.net", "浩")];
const SUBJECT: &str =
    "{{ name }}: a café’s letter that is long enough to be folded, since no header line is for ever";

/// As the other library reads it. Names of headers and of those that were signed are in lower case.
#[derive(Debug, Deserialize)]
struct Read {
    headers: Vec<(String, String)>,
    from: Vec<String>,
    to: Vec<String>,
    date: f64,
    #[serde(rename = "type")]
    content_type: String,
    parts: Vec<Part>,
    signed: Vec<String>,
    verified: bool,
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    content_type: String,
    charset: Option<String>,
    encoding: String,
    content: String,
}

impl Read {
    fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(is, _)| is == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    fn only(&self, name: &str) -> &str {
        let [value] = self.all(name)[..] else { panic!("{name}: {:?}", self.all(name)) };
        value
    }
}

/// What a mail is, by what was recorded of it, and whose preferences its links may open. There is no arm for the rest: a new
/// kind has to be looked at here.
async fn kind(world: &World, mail: &Outgoing) -> (&'static str, Uuid) {
    let recorded: Transactional = eventstore::load(&world.pool, mail.dispatch).await.unwrap().aggregate;
    let kind = match recorded.mail {
        None => "campaign",
        Some(Mail::Test(_)) => "test",
        Some(Mail::Account(account)) => match account.kind {
            AccountMailKind::PasswordReset => "password_reset",
            AccountMailKind::Invitation => "invitation",
        },
        Some(Mail::Subscription(_)) => "subscription",
        Some(Mail::OptOut(opt_out)) => return ("opt_out", opt_out.subscriber_id),
        Some(Mail::OptIn(opt_in)) => return ("opt_in", opt_in.subscriber_id),
    };
    (kind, mail.subscriber)
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn every_kind_of_mail_is_as_its_standards_have_it(pool: PgPool) {
    let mut world = World::new(&pool).await;
    let key = Key::make();
    let mails = one_of_each(&mut world, key.dkim()).await;
    let mut seen = BTreeSet::new();
    for mail in &mails {
        let (kind, reader) = kind(&world, mail).await;
        let read = read(mail, &key.record);
        common(mail, &read);
        match kind {
            "campaign" => of_a_list(mail, &read),
            "test" => of_no_reader(&read),
            _ => to_one_person(&read),
        }
        nobody_elses(mail, &mails, &read, reader);
        seen.insert(kind);
    }
    assert_eq!(seen, KINDS.into());
}

async fn one_of_each(world: &mut World, dkim: Dkim) -> Vec<Outgoing> {
    let by = Context::system("test");
    let html = format!(
        "<p>Łódź, {{{{ name }}}}. <a href=\"{{{{ unsubscribe_url }}}}\">No more</a> {}</p>",
        "x".repeat(2_000)
    );
    let content = Content {
        name: "Letter".into(),
        subject: SUBJECT.into(),
        body: Body::Html(html),
        ..Content::default()
    };
    world.template = id_of(&world.commands.create_template(&by, content).await.unwrap(), "template_id");
    let mut readers = Vec::new();
    for (email, name) in READERS {
        let (name, groups, consent) = (Some(name.to_owned()), vec![world.group], by_form());
        let reader =
            NewSubscriber { email: email.into(), name, attributes: Default::default(), groups, consent };
        readers.push(id_of(&world.commands.add_subscriber(&by, reader).await.unwrap(), "subscriber_id"));
    }
    let mailer = Scripted::accepting();
    let sender = world.signing_sender(mailer.clone(), dkim).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    world.send_until(&sender, campaign, "completed").await;
    let template = world.commands.template(world.template).await.unwrap();
    let to = ["editor@example.com".to_owned()];
    world
        .commands
        .request_test_mail(&by, world.template, &template, &to, commands::TestFields::Own)
        .await
        .unwrap();
    let [ana, ben] = ["ana@example.com", "ben@example.com"].map(|email| EmailAddress::parse(email).unwrap());
    let password = Password::new("correct horse battery staple".into()).unwrap();
    for (email, password) in [(ana.clone(), Some(password)), (ben, None)] {
        let user = NewUser { email, roles: vec![Role::Analyst], password };
        world.commands.add_user(&by, user).await.unwrap();
    }
    world.commands.request_password_reset(&Context::default(), &ana, Default::default()).await.unwrap();
    assert_eq!(world.commands.take_reset_requests().await.unwrap(), 1);
    let subscription = NewSubscription {
        email: "new@example.com".into(),
        name: Some("Łukasz".into()),
        groups: vec![world.group],
        wording_version: None,
        visit: Default::default(),
    };
    world.commands.request_subscription(&Context::default(), subscription).await.unwrap();
    let (scope, channel) = (Scope::Global, Channel::OneClick);
    let opt_out = OptOut { subscriber: readers[0], scope, channel, origin: Origin::default() };
    world.commands.opt_out(&Context::default(), opt_out).await.unwrap();
    let other = world.commands.create_group(&by, "Offers".into(), String::new()).await.unwrap();
    let opt_in = Preferences {
        subscriber: readers[1],
        global_opt_out: None,
        groups: vec![(id_of(&other, "group_id"), true)],
        origin: Origin::default(),
    };
    world.commands.set_preferences(&Context::default(), opt_in).await.unwrap();
    world.opt_outs_become_mails().await;
    while sender.step_transactional("scripted").await.unwrap() {}
    mailer.taken()
}

/// What is true of each.
fn common(mail: &Outgoing, read: &Read) {
    let text = std::str::from_utf8(&mail.message).unwrap();
    assert!(text.is_ascii() && !text.contains('\0'), "servers without 8BITMIME take it: {text}");
    for line in text.split("\r\n") {
        assert!(!line.contains(['\r', '\n']), "a bare line end: {line:?}");
        assert!(line.len() <= LINE_BYTES_MAX, "{} bytes: {line}", line.len());
    }
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(body.split("\r\n").all(|line| line.len() <= ENCODED_LINE_BYTES_MAX), "{body}");
    for once in ["from", "to", "subject", "date", "message-id", "mime-version", "content-type"] {
        read.only(once);
    }
    for never in ["bcc", "cc", "sender", "return-path", "received", "precedence"] {
        assert_eq!(read.all(never), [""; 0], "{never}");
    }
    assert_eq!(read.from, ["news@example.com"]);
    assert_eq!(read.to.len(), 1);
    assert!(read.only("message-id").ends_with("@example.com>"), "{}", read.only("message-id"));
    let now = clock::now().timestamp() as f64;
    assert!((read.date - now).abs() < SECONDS_MAX, "{} at {now}", read.date);
    assert_eq!(read.content_type, "multipart/alternative");
    let parts: Vec<_> = read.parts.iter().map(|part| part.content_type.as_str()).collect();
    assert_eq!(parts, ["text/plain", "text/html"]);
    for part in &read.parts {
        assert_eq!(part.charset.as_deref(), Some("utf-8"));
        assert!(
            ["7bit", "quoted-printable", "base64"].contains(&part.encoding.as_str()),
            "{}",
            part.encoding
        );
        assert!(!part.content.trim().is_empty() && !part.content.contains("{{"), "{}", part.content);
    }
    assert!(read.verified, "the signature does not verify");
    for header in ["from", "to", "subject", "date", "message-id", "content-type", "mime-version"] {
        assert!(read.signed.iter().any(|signed| signed == header), "{header}: {:?}", read.signed);
    }
}

/// RFC 8058, RFC 2919; and providers ask for it of whoever writes to many.
fn of_a_list(mail: &Outgoing, read: &Read) {
    let link =
        read.only("list-unsubscribe").strip_prefix('<').and_then(|link| link.strip_suffix('>')).unwrap();
    assert!(
        link.starts_with("https://mail.example.com/emails/unsubscribe?token=") && !link.contains(','),
        "{link}"
    );
    assert_eq!(read.only("list-unsubscribe-post"), "List-Unsubscribe=One-Click");
    assert!(read.only("list-id").ends_with(".example.com>"), "{}", read.only("list-id"));
    for header in ["list-unsubscribe", "list-unsubscribe-post", "list-id"] {
        assert!(read.signed.iter().any(|signed| signed == header), "{header}: {:?}", read.signed);
    }
    assert_eq!(read.all("auto-submitted"), [""; 0]);
    for part in &read.parts {
        assert!(part.content.contains(link), "each part has the way out: {}", part.content);
    }
    let (_, name) = READERS.iter().find(|(email, _)| *email == mail.envelope_to).unwrap();
    let subject = SUBJECT.replace("{{ name }}", name);
    assert_eq!(read.only("subject"), subject);
}

/// A test has the headers that its readers' mails will have, and its link is nobody's.
fn of_no_reader(read: &Read) {
    let link = "<https://mail.example.com/emails/unsubscribe?token=preview>";
    assert_eq!(read.only("list-unsubscribe"), link);
    assert_eq!(read.only("list-unsubscribe-post"), "List-Unsubscribe=One-Click");
}

/// RFC 3834; and nothing that belongs to a list's mail.
fn to_one_person(read: &Read) {
    assert_eq!(read.only("auto-submitted"), "auto-generated");
    let of_lists = read.headers.iter().filter(|(name, _)| name.starts_with("list-") || name == "feedback-id");
    assert_eq!(of_lists.count(), 0);
}

/// No address and no token of another mail's reader.
fn nobody_elses(mail: &Outgoing, mails: &[Outgoing], read: &Read, reader: Uuid) {
    let parts = read.parts.iter().map(|part| part.content.as_str());
    let text: String =
        parts.chain(read.headers.iter().map(|(_, value)| value.as_str())).collect::<Vec<_>>().join("\n");
    for other in mails.iter().filter(|other| other.envelope_to != mail.envelope_to) {
        assert!(
            !text.contains(&other.envelope_to),
            "{} is in the mail to {}",
            other.envelope_to,
            mail.envelope_to
        );
    }
    assert!(readers_of_tokens(&text).iter().all(|named| *named == reader), "the token of somebody else");
}

/// Whose preferences the JWTs in a text open.
fn readers_of_tokens(text: &str) -> Vec<Uuid> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
    let payloads = words.filter(|word| word.starts_with("eyJ")).filter_map(|token| token.split('.').nth(1));
    payloads
        .map(|payload| {
            let claims: Value =
                serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
            claims["sub"].as_str().unwrap().parse().unwrap()
        })
        .collect()
}

fn read(mail: &Outgoing, record: &str) -> Read {
    let python = std::env::var("POSTLEDGER_TEST_PYTHON").expect("POSTLEDGER_TEST_PYTHON");
    let mut lint = Command::new(python);
    let mut lint = lint.arg(LINT).arg(record).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    lint.stdin.take().unwrap().write_all(&mail.message).unwrap();
    let output = lint.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&mail.message);
    assert!(output.status.success(), "it is no well-formed mail, see above: {message}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Of the sender's domain, as an operator makes it.
struct Key {
    file: PathBuf,
    /// What DNS says of it.
    record: String,
}

impl Key {
    fn make() -> Self {
        let file = std::env::temp_dir().join(format!("postledger-lint-{}.pem", std::process::id()));
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl").args(arguments).arg(&file).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]);
        let public = openssl(&["pkey", "-pubout", "-in"]);
        let public: String = public.lines().filter(|line| !line.starts_with('-')).collect();
        Self { record: format!("v=DKIM1; k=rsa; p={public}"), file }
    }

    fn dkim(&self) -> Dkim {
        let (domain, selector) = ("example.com".into(), "news".into());
        Dkim::new(&[DkimConfig { domain, selector, key_file: self.file.clone() }]).unwrap()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
