//! The reference held against a running stack by schemathesis, which reads it and calls what it describes: with what it
//! asks for, with what it forbids, without credentials. Nothing may break, and no answer may be one that it lacks.
//!
//! `./run fuzz --examples 500` does the same for longer, with other examples each time.

use crate::scene;
use e2e::{Client, Draft, Mail, MediaStore, Settings, Stack, test_tool};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const ADMIN: &str = "admin@example.com";
const PASSWORD: &str = "a password of the tests";
/// Of each operation, besides those that its schema's corners ask for.
const EXAMPLES: &str = "5";

/// Operations that no call can succeed on here, and why.
const UNREACHED: &str = include_str!("../../fuzz/unreached.csv");

#[tokio::test]
async fn every_answer_is_one_of_the_reference() {
    let Some(schemathesis) = test_tool("POSTLEDGER_TEST_SCHEMATHESIS") else { return };
    let store = MediaStore::start().await;
    let stack = stack(&store).await;
    let api = stack.client();
    let scene = stack.dir().join("scene.json");
    fs::write(&scene, described(&stack, &api).await.to_string()).unwrap();
    let reached = stack.dir().join("reached");
    run(&schemathesis, &stack, &scene, &reached);
    check_reached(&api, &fs::read_to_string(&reached).unwrap()).await;
}

/// Nobody works on imports, so that there are some to cancel, and the null mailer takes longer than the test, so that
/// there are campaigns to pause.
async fn stack(store: &MediaStore) -> Stack {
    let settings = Settings::new()
        .media(store)
        .set("log.filter", "warn")
        .set("send.window_ms", 100)
        .set("send.margin_ms", 50)
        .set("null.latency_ms", 3_600_000);
    let mut stack = Stack::prepare(settings).await;
    let file = stack.dir().join("password");
    fs::write(&file, PASSWORD).unwrap();
    let file = file.display().to_string();
    stack.operate(&["media", "setup"]);
    stack.operate(&["user", "add", ADMIN, "--roles", "admin", "--password-file", &file]);
    stack.serve("server", "api,sequencer,projector,scheduler,sender").await;
    stack.ready().await;
    stack
}

/// What e2e/fuzz/scene.py begins with.
async fn described(stack: &Stack, api: &Client) -> Value {
    let (group, template) = (api.group("Readers").await, scene::template(api).await);
    let reader = json!({ "email": "reader@example.com", "groups": [group], "consent": { "source": "test" } });
    api.post("/subscribers", &reader).await.expect(201);
    let draft = Draft { template, group, ..Draft::default() };
    let campaign = api.launch(&draft).await;
    api.completes(campaign, Duration::from_secs(30)).await;
    let link = Mail::read(&stack.outbox().handovers()[0].file).one_click_link();
    let (_, token) = link.split_once("token=").expect("a token");
    json!({
        "url": stack.url(), "api_key": stack.api_key, "email": ADMIN, "password": PASSWORD, "link_token": token,
        "group_id": group,
    })
}

fn run(schemathesis: &Path, stack: &Stack, scene: &Path, reached: &Path) {
    let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let examples = std::env::var("POSTLEDGER_TEST_FUZZ_EXAMPLES");
    let mut command = Command::new(schemathesis);
    command.arg("--config-file").arg(fuzz.join("schemathesis.toml"));
    command.args(["run", &format!("{}/openapi.json", stack.url())]);
    match &examples {
        Ok(examples) => command.args(["--max-examples", examples]),
        // The same ones each time: a run tells of the change before it.
        Err(_) => command.args(["--max-examples", EXAMPLES, "--seed", "1", "--generation-deterministic"]),
    };
    command.env("PYTHONPATH", &fuzz).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(stack.dir());
    command.env("POSTLEDGER_FUZZ_SCENE", scene).env("POSTLEDGER_FUZZ_REACHED", reached);
    let output = command.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "schemathesis: {}, see above", output.status);
}

/// An operation that nothing succeeds on was not tried: it is reached, or listed with a reason.
async fn check_reached(api: &Client, reached: &str) {
    let reached: BTreeSet<String> = reached.lines().map(str::to_owned).collect();
    let listed: BTreeSet<String> = csv::Reader::from_reader(UNREACHED.as_bytes())
        .deserialize::<(String, String)>()
        .map(|row| row.unwrap().0)
        .collect();
    let document: Value = api.anonymous().get("/openapi.json").await;
    let operations: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let known = &reached | &listed;
    let untried: Vec<_> = operations.difference(&known).collect();
    assert!(untried.is_empty(), "no call succeeds on {untried:?}: see e2e/fuzz/hooks.py");
    let gone: Vec<_> = listed.difference(&operations).collect();
    assert!(gone.is_empty(), "listed, and not in the reference: {gone:?}");
}
