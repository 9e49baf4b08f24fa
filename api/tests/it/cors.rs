//! Calls from pages of other origins, as browsers make them.

use crate::support::{Answer, TestApp};
use axum::http::Method;
use sqlx::PgPool;

const APP: &str = "https://app.example.org";
const LOCAL: &str = "http://localhost:5173";

async fn with_origins(pool: PgPool) -> TestApp {
    TestApp::without_projectors(pool, |config| {
        config.allowed_origins = [APP, LOCAL].map(|origin| origin.to_owned().try_into().unwrap()).into();
    })
    .await
}

async fn preflight(app: &TestApp, origin: &str, method: &str, path: &str) -> Answer {
    let call = app.call(Method::OPTIONS, path).anonymous().header("origin", origin);
    let call = call.header("access-control-request-method", method);
    call.header("access-control-request-headers", "authorization,idempotency-key").send().await
}

fn listed(answer: &Answer, name: &str) -> Vec<String> {
    let mut names: Vec<String> =
        answer.header(name).split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    names.sort();
    names
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn pages_of_a_configured_origin_may_call_and_read(pool: PgPool) {
    let app = with_origins(pool).await;
    for origin in [APP, LOCAL] {
        let asked = preflight(&app, origin, "PATCH", "/groups/x").await.ok(200);
        assert_eq!(asked.header("access-control-allow-origin"), origin);
        assert_eq!(listed(&asked, "access-control-allow-methods"), ["delete", "get", "patch", "post", "put"]);
        let headers = [
            "authorization",
            "content-type",
            "idempotency-key",
            "if-match",
            "postledger-position",
            "x-request-id",
        ];
        assert_eq!(listed(&asked, "access-control-allow-headers"), headers);
        assert!(!asked.headers.contains_key("access-control-allow-credentials"));
        let answer = app.get("/groups").header("origin", origin).send().await.ok(200);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        let exposed = [
            "etag",
            "location",
            "postledger-position",
            "ratelimit-limit",
            "ratelimit-remaining",
            "ratelimit-reset",
            "retry-after",
            "x-request-id",
        ];
        assert_eq!(listed(&answer, "access-control-expose-headers"), exposed);
        assert!(answer.header("vary").to_ascii_lowercase().contains("origin"));
        // What went wrong can be read as well.
        let refused = app.get("/groups").anonymous().header("origin", origin).send().await;
        refused.problem(401);
        assert_eq!(refused.header("access-control-allow-origin"), origin);
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn pages_of_other_origins_may_not(pool: PgPool) {
    let app = with_origins(pool).await;
    let foreign = [
        "https://evil.example",
        "https://app.example.org.evil.example",
        "https://app.example.org:8443",
        "http://app.example.org",
        "https://APP.example.org",
        "null",
        "https://localhost:5173",
    ];
    for origin in foreign {
        for path in ["/groups", "/auth/login"] {
            let asked = preflight(&app, origin, "POST", path).await;
            let answer = app.get("/groups").header("origin", origin).send().await.ok(200);
            for answer in [asked, answer] {
                for name in ["access-control-allow-origin", "access-control-allow-credentials"] {
                    assert!(!answer.headers.contains_key(name), "{origin} {path}: {answer:?}");
                }
            }
        }
    }
}

/// The cookie of an OAuth sign-in, and nothing else.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn cookies_travel_to_the_sign_in_alone(pool: PgPool) {
    let app = with_origins(pool).await;
    for path in ["/auth/login", "/auth/oauth/example/start"] {
        let asked = preflight(&app, APP, "POST", path).await.ok(200);
        assert_eq!(asked.header("access-control-allow-credentials"), "true", "{path}");
    }
    for path in ["/auth/refresh", "/auth/me", "/groups", "/auth/oauth", "/auth/login/x"] {
        let asked = preflight(&app, APP, "POST", path).await.ok(200);
        assert!(!asked.headers.contains_key("access-control-allow-credentials"), "{path}");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn without_configured_origins_no_page_may(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    preflight(&app, APP, "POST", "/groups").await.problem(405);
    let answer = app.get("/groups").header("origin", APP).send().await.ok(200);
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
}
