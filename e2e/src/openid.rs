//! An OpenID provider that is not ours, as a process of its own: `openid/provider.js`.

use crate::eventually;
use crate::process::Process;
use crate::script;
use crate::temp::TempDir;
use reqwest::{Url, header, redirect};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openid/provider.js");
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// From the first page of a sign-in to the last there are six.
const STEPS_MAX: usize = 10;

pub const CLIENT_ID: &str = "postledger-e2e";
pub const CLIENT_SECRET: &str = "a secret between servers";

pub struct OpenId {
    pub issuer: String,
    /// Where a page is that signs in by this provider, at `/app`; with the API's URL alone.
    pub frontend: Option<String>,
    process: Process,
    _dir: TempDir,
}

/// What a browser is sent back with.
#[derive(Debug, Clone)]
pub struct Back(BTreeMap<String, String>);

impl Back {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[derive(Default)]
pub struct OpenIdOptions<'a> {
    pub redirect_uris: &'a [&'a str],
    /// Login, address, and whether the provider calls it verified.
    pub accounts: &'a [(&'a str, &'a str, bool)],
    /// The ID token tells the address; else the userinfo endpoint alone does.
    pub in_id_token: bool,
    pub api: Option<&'a str>,
}

impl OpenId {
    /// `None`, and a word on it, where it was not fetched.
    pub async fn start(options: &OpenIdOptions<'_>) -> Option<Self> {
        let modules: PathBuf = script::path("POSTLEDGER_TEST_OPENID")?;
        let accounts: BTreeMap<_, _> = options
            .accounts
            .iter()
            .map(|(login, email, verified)| (*login, json!({ "email": email, "verified": verified })))
            .collect();
        let client =
            json!({ "id": CLIENT_ID, "secret": CLIENT_SECRET, "redirect_uris": options.redirect_uris });
        let options = json!({
            "client": client, "accounts": accounts, "in_id_token": options.in_id_token, "api": options.api,
        });
        let dir = TempDir::new("openid");
        let log = dir.path().join("log");
        let mut command = Command::new("node");
        command.arg(SCRIPT).arg(modules).arg(options.to_string());
        let mut process = Process::start("the OpenID provider", &mut command, &log);
        let (issuer, frontend) = eventually("the OpenID provider listens", STARTS_WITHIN, async || {
            let said = std::fs::read_to_string(&log).unwrap();
            if let Some(status) = process.ended() {
                panic!("the OpenID provider ended: {status}: {said}");
            }
            let line = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            Some((line("issuer ")?, line("frontend ")?))
        })
        .await;
        let frontend = Some(frontend).filter(|url| url != "-");
        Some(Self { issuer, frontend, process, _dir: dir })
    }

    /// Nothing listens there any more.
    pub fn stop(&mut self) {
        self.process.kill();
    }

    /// Signs in at the provider's own pages, as a browser would; where it is sent back to, which is not asked.
    pub async fn sign_in(&self, authorization_url: &str, login: &str) -> (Url, Back) {
        let mut browser = Browser::new();
        let mut at = Url::parse(authorization_url).unwrap();
        for _ in 0..STEPS_MAX {
            if !at.as_str().starts_with(&self.issuer) {
                let back = at.query_pairs().into_owned().collect();
                return (at, Back(back));
            }
            at = match browser.get(&at).await {
                Page::Redirect(url) => url,
                Page::Shown(html) if html.contains("name=\"login\"") => {
                    browser.post(&at, &[("prompt", "login"), ("login", login), ("password", "any")]).await
                }
                Page::Shown(html) if html.contains("value=\"consent\"") => {
                    browser.post(&at, &[("prompt", "consent")]).await
                }
                Page::Shown(html) => panic!("{at}: {html}"),
            };
        }
        panic!("no end of pages at {at}");
    }
}

enum Page {
    Redirect(Url),
    Shown(String),
}

/// Keeps cookies, of one host.
struct Browser {
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new() -> Self {
        let http = reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none());
        Self { http: http.build().unwrap(), cookies: BTreeMap::new() }
    }

    async fn get(&mut self, url: &Url) -> Page {
        self.send(url, self.http.get(url.clone())).await
    }

    async fn post(&mut self, url: &Url, form: &[(&str, &str)]) -> Url {
        match self.send(url, self.http.post(url.clone()).form(form)).await {
            Page::Redirect(url) => url,
            Page::Shown(html) => panic!("{url}: {html}"),
        }
    }

    async fn send(&mut self, at: &Url, request: reqwest::RequestBuilder) -> Page {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = request.header(header::COOKIE, cookies.join("; ")).send().await.unwrap();
        for cookie in answer.headers().get_all(header::SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        match answer.headers().get(header::LOCATION) {
            Some(location) => Page::Redirect(at.join(location.to_str().unwrap()).unwrap()),
            None => Page::Shown(answer.text().await.unwrap()),
        }
    }
}

/// A provider's answer as the API takes it.
pub fn login_by(provider: &str, back: &Back) -> Value {
    let given = |name: &str| back.get(name).unwrap_or_else(|| panic!("no {name}: {back:?}"));
    json!({ "provider": provider, "code": given("code"), "state": given("state"), "iss": given("iss") })
}
