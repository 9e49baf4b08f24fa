//! A real browser: Chromium, driven by its WebDriver.

use crate::eventually;
use crate::process::Process;
use crate::temp::TempDir;
use fantoccini::{Client, ClientBuilder};
use serde_json::json;
use std::process::Command;
use std::time::Duration;

const STARTS_WITHIN: Duration = Duration::from_secs(30);

pub struct Browser {
    pub client: Client,
    _driver: Process,
    _dir: TempDir,
}

impl Browser {
    /// `None`, and a word on it, where there is none.
    pub async fn start() -> Option<Self> {
        let dir = TempDir::new("browser");
        if Command::new("chromedriver").arg("--version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "CI needs chromium-driver");
            crate::say_aloud("NOT RUN: a test that needs chromium-driver");
            return None;
        }
        let log = dir.path().join("log");
        let mut driver = Process::start("chromedriver", Command::new("chromedriver").arg("--port=0"), &log);
        let port: u16 = eventually("chromedriver listens", STARTS_WITHIN, async || {
            let said = std::fs::read_to_string(&log).unwrap();
            if let Some(status) = driver.ended() {
                panic!("chromedriver ended: {status}: {said}");
            }
            let (_, port) = said.rsplit_once("started successfully on port ")?;
            port.trim_end().trim_end_matches('.').parse().ok()
        })
        .await;
        let profile = format!("--user-data-dir={}", dir.path().join("profile").display());
        // A sandbox needs what containers lack; nothing foreign is opened here.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=900,900", &profile];
        let capabilities = json!({ "goog:chromeOptions": { "args": arguments } });
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(serde_json::from_value(capabilities).unwrap())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        Some(Self { client, _driver: driver, _dir: dir })
    }

    /// Before the driver is killed: it leaves its browser behind.
    pub async fn close(self) {
        self.client.close().await.unwrap();
    }
}
