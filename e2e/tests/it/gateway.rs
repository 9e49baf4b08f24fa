//! Signing in on real processes: by each role, over restarts and a rotation of keys, and a hundred refreshes at once over
//! a hundred connections.

use e2e::{Answer, Client, Settings, Stack};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const PASSWORD: &str = "a password of the tests";
const ROLES: [&str; 4] = ["admin", "marketer", "analyst", "auditor"];

async fn with_users() -> Stack {
    let mut stack = Stack::prepare(Settings::new()).await;
    let file = stack.dir().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let file = file.display().to_string();
    for role in ROLES {
        let email = format!("{role}@example.com");
        stack.operate(&["user", "add", &email, "--roles", role, "--password-file", &file]);
    }
    stack.serve("server", "").await;
    stack.ready().await;
    stack
}

async fn post(client: &Client, path: &str, body: &Value) -> Answer {
    client.send(client.request(Method::POST, path).json(body)).await.unwrap()
}

async fn sign_in(public: &Client, role: &str) -> Value {
    let login = json!({ "email": format!("{role}@example.com"), "password": PASSWORD });
    post(public, "/auth/login", &login).await.expect(200).json()
}

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap()
}

async fn refresh(public: &Client, token: &str) -> Answer {
    post(public, "/auth/refresh", &json!({ "refresh_token": token })).await
}

#[tokio::test]
async fn each_role_does_what_it_is_for_over_a_restart_and_a_rotation() {
    let mut stack = with_users().await;
    let public = Client::public(&stack.url());
    let report = "/emails/01a205b4-7525-737a-8780-9aef8897c437/report";
    let routes = ["/users", "/groups", "/subscribers", "/audit/security-events", report];
    // There is no such report to show.
    let allowed = [
        [200, 200, 200, 200, 404],
        [403, 200, 200, 403, 404],
        [403, 403, 403, 403, 404],
        [403, 403, 403, 200, 403],
    ];
    for (role, expected) in ROLES.into_iter().zip(allowed) {
        let tokens = sign_in(&public, role).await;
        let api = public.with_bearer(text(&tokens, "access_token"));
        for (path, status) in routes.into_iter().zip(expected) {
            api.query(path).await.expect(status);
        }
    }
    let before = sign_in(&public, "marketer").await;
    stack.operate(&["keys", "rotate"]);
    stack.kill("server").await;
    stack.serve("server", "").await;
    stack.ready().await;
    let keys: Value = public.get("/.well-known/jwks.json").await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2, "{keys}");
    public.with_bearer(text(&before, "access_token")).query("/groups").await.expect(200);
    let after: Value = refresh(&public, text(&before, "refresh_token")).await.expect(200).json();
    public.with_bearer(text(&after, "access_token")).query("/groups").await.expect(200);
    let twice = stack.try_operate(&[
        "user",
        "add",
        "ADMIN@example.com",
        "--roles",
        "admin",
        "--password-file",
        &stack.dir().join("password").display().to_string(),
    ]);
    assert!(!twice.status.success(), "an address has one user");
}

#[tokio::test]
async fn of_a_hundred_refreshes_over_a_hundred_connections_one_wins() {
    let stack = with_users().await;
    let public = Client::public(&stack.url());
    let tokens = sign_in(&public, "marketer").await;
    let spent = text(&tokens, "refresh_token");
    let all = futures::future::join_all((0..100).map(|_| refresh(&public, spent))).await;
    let (won, lost): (Vec<Answer>, Vec<Answer>) = all.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(won.len(), 1);
    for answer in lost {
        assert_eq!(answer.problem(401)["type"], "urn:postledger:problem:refresh-raced");
    }
    let next: Value = won[0].json();
    let next: Value = refresh(&public, text(&next, "refresh_token")).await.expect(200).json();
    // What comes back once the burst is over is somebody else's copy.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let late = refresh(&public, spent).await.problem(401);
    assert_eq!(late["type"], "urn:postledger:problem:unauthorized");
    refresh(&public, text(&next, "refresh_token")).await.problem(401);
}
