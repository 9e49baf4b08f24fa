//! A real browser: Chromium, driven by its WebDriver.

use crate::eventually;
use crate::process::Process;
use crate::temp::TempDir;
use base64::prelude::{BASE64_STANDARD, Engine};
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::key::Key;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// Who sits before it.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    /// For `Accept-Language`.
    pub language: &'static str,
    /// Pages may run scripts. What a test has the driver execute runs all the same.
    pub has_scripts: bool,
}

impl Default for Visitor {
    fn default() -> Self {
        Self { language: "en", has_scripts: true }
    }
}

/// What a page is looked at through.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    pub is_phone: bool,
    pub is_dark: bool,
}

impl Look {
    pub const ALL: [Self; 4] = [
        Self { is_phone: false, is_dark: false },
        Self { is_phone: false, is_dark: true },
        Self { is_phone: true, is_dark: false },
        Self { is_phone: true, is_dark: true },
    ];

    /// `phone-dark`
    pub fn name(self) -> String {
        let size = if self.is_phone { "phone" } else { "desktop" };
        let scheme = if self.is_dark { "dark" } else { "light" };
        format!("{size}-{scheme}")
    }
}

pub struct Browser {
    pub client: Client,
    _driver: Process,
    _dir: TempDir,
}

impl Browser {
    /// `None`, and a word on it, where there is none.
    pub async fn start() -> Option<Self> {
        Self::start_for(Visitor::default()).await
    }

    /// Likewise.
    pub async fn start_for(visitor: Visitor) -> Option<Self> {
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
        let preferences = json!({ "intl.accept_languages": visitor.language });
        let capabilities = json!({ "goog:chromeOptions": { "args": arguments, "prefs": preferences } });
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(serde_json::from_value(capabilities).unwrap())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        let browser = Self { client, _driver: driver, _dir: dir };
        let no_scripts = json!({ "value": !visitor.has_scripts });
        browser.devtools("Emulation.setScriptExecutionDisabled", no_scripts).await;
        Some(browser)
    }

    /// For the page that is open and those that follow. A phone is 320 pixels wide: pages have to do without scrolling
    /// sideways down to there (WCAG 2.2, 1.4.10).
    pub async fn look(&self, look: Look) {
        let (width, height, scale) = if look.is_phone { (320, 640, 2) } else { (1280, 800, 1) };
        let screen =
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": look.is_phone });
        self.devtools("Emulation.setDeviceMetricsOverride", screen).await;
        let scheme = if look.is_dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// The whole page, as PNG.
    pub async fn screenshot(&self, file: &Path) {
        let shot = self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        std::fs::write(file, BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// On the keyboard, wherever the focus is.
    pub async fn press(&self, key: Key) {
        let value = char::from(key);
        let stroke = KeyActions::new("keyboard".into()).then(KeyAction::Down { value });
        self.client.perform_actions(stroke.then(KeyAction::Up { value })).await.unwrap();
    }

    /// A command of Chromium's own protocol, for what WebDriver does not know.
    async fn devtools(&self, command: &'static str, parameters: Value) -> Value {
        let answer = self.client.issue_cmd(DevTools { command, parameters }).await;
        answer.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Before the driver is killed: it leaves its browser behind.
    pub async fn close(self) {
        self.client.close().await.unwrap();
    }
}

/// <https://chromedevtools.github.io/devtools-protocol/>, by chromedriver.
#[derive(Debug)]
struct DevTools {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = json!({ "cmd": self.command, "params": self.parameters });
        (Method::POST, Some(body.to_string()))
    }
}
