//! What is logged, and what never is.

use crate::support::TestApp;
use serde_json::json;
use sqlx::PgPool;
use std::io::Write;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn tokens_keys_and_addresses_are_in_no_log(pool: PgPool) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    // While there is but one, each thread asks its own default what is of interest, and other tests' threads say: nothing.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let reader = app.subscriber("reader@example.com", &[]).await;
    let token = app.token(reader, None);
    app.get(&format!("/emails/unsubscribe?token={token}")).anonymous().send().await.ok(200);
    app.get("/preferences").bearer(&token).send().await.ok(200);
    app.get(&format!("/preferences?token={token}x")).anonymous().send().await.problem(401);
    app.get("/subscribers?email=reader%40example.com").send().await.ok(200);
    app.post("/subscribers")
        .json(json!({ "email": "reader@example.com", "consent": { "source": "x" } }))
        .send()
        .await
        .problem(409);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("answered")).collect();
    assert!(lines.len() >= 6, "{text}");
    assert!(
        text.contains("http.route=\"/emails/unsubscribe\"") && text.contains("http.status=200"),
        "{text}"
    );
    let signature = token.rsplit('.').next().unwrap();
    for secret in [
        signature,
        "reader@example.com",
        "reader%40example.com",
        app.admin.rsplit('.').next().unwrap(),
        "token=",
    ] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
}
