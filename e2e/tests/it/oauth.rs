//! Signing in at an OpenID provider that is not ours, by REST and in a real browser; and what an attacker would try.

use e2e::{
    Answer, Back, Browser, CLIENT_ID, CLIENT_SECRET, Client, OpenId, OpenIdOptions, Settings, Stack,
    eventually, login_by,
};
use fantoccini::Locator;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const PASSWORD: &str = "a password of the tests";
const REDIRECT_URI: &str = "https://app.example.com/signed-in";
const OTHER_REDIRECT_URI: &str = "https://app.example.com/signed-in-elsewhere";
const COOKIE: &str = "postledger-oauth";

/// Logins at the provider. `unverified` says that it is Ana, too.
const ACCOUNTS: &[(&str, &str, bool)] = &[
    ("ana", "ana@example.com", true),
    ("unverified", "ana@example.com", false),
    ("namesake", "Ana@Example.com", true),
    ("stranger", "stranger@example.com", true),
    ("bob", "bob@example.com", true),
];

/// A stack with the users Ana and Bob, and a provider named `company` that knows them.
struct World {
    stack: Stack,
    company: OpenId,
    /// Another provider, `other`, with the same logins.
    other: OpenId,
    public: Client,
}

impl World {
    /// `None` where no provider was fetched.
    async fn start() -> Option<Self> {
        let mut stack = Stack::prepare(Settings::new()).await;
        let url = stack.url();
        let options = |redirect_uri| OpenIdOptions {
            redirect_uris: redirect_uri,
            accounts: ACCOUNTS,
            api: Some(&url),
            ..OpenIdOptions::default()
        };
        let company = OpenId::start(&options(&[REDIRECT_URI])).await?;
        let in_id_token = OpenIdOptions { in_id_token: true, ..options(&[OTHER_REDIRECT_URI]) };
        let other = OpenId::start(&in_id_token).await?;
        let frontend = format!("{}/app/back", company.frontend.as_ref().unwrap());
        configure(&mut stack, "company", &company, &[REDIRECT_URI, &frontend]);
        configure(&mut stack, "other", &other, &[OTHER_REDIRECT_URI]);
        let file = stack.dir().join("password");
        std::fs::write(&file, PASSWORD).unwrap();
        let file = file.display().to_string();
        for (email, role) in [("ana@example.com", "marketer"), ("bob@example.com", "auditor")] {
            stack.operate(&["user", "add", email, "--roles", role, "--password-file", &file]);
        }
        stack.serve("server", "").await;
        stack.ready().await;
        let public = Client::public(&stack.url());
        Some(Self { stack, company, other, public })
    }

    async fn start_at(&self, provider: &str, redirect_uri: &str) -> Begun {
        let query = [("redirect_uri", redirect_uri)];
        let path = format!("/auth/oauth/{provider}/start");
        let request = self.public.request(Method::GET, &path).query(&query);
        let answer = self.public.send(request).await.unwrap().expect(200);
        let set = answer.header("set-cookie").expect("a cookie").to_owned();
        assert!(set.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"), "{set}");
        let started: Value = answer.json();
        Begun {
            url: started["authorization_url"].as_str().unwrap().to_owned(),
            state: started["state"].as_str().unwrap().to_owned(),
            cookie: set.split(';').next().unwrap().to_owned(),
        }
    }

    async fn begin(&self) -> Begun {
        self.start_at("company", REDIRECT_URI).await
    }

    /// From the start to where the provider sends the browser back.
    async fn come_back(&self, login: &str) -> (Begun, Back) {
        let begun = self.begin().await;
        let (at, back) = self.company.sign_in(&begun.url, login).await;
        assert!(at.as_str().starts_with(REDIRECT_URI), "{at}");
        assert_eq!(back.get("state"), Some(begun.state.as_str()));
        assert_eq!(back.get("iss"), Some(self.company.issuer.as_str()));
        (begun, back)
    }

    async fn login(&self, cookie: Option<&str>, body: &Value) -> Answer {
        let request = self.public.request(Method::POST, "/auth/login").json(body);
        let request = match cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        };
        self.public.send(request).await.unwrap()
    }

    async fn sign_in(&self, login: &str) -> Answer {
        let (begun, back) = self.come_back(login).await;
        self.login(Some(&begun.cookie), &login_by("company", &back)).await
    }

    /// Why the last sign-in was refused; the visitor is not told.
    async fn last_refusal(&self) -> String {
        sqlx::query_scalar(
            "SELECT payload -> 'SignInFailed' ->> 'reason' FROM events WHERE event_type = 'SignInFailed'
             ORDER BY append_id DESC LIMIT 1",
        )
        .fetch_one(self.stack.pool())
        .await
        .unwrap()
    }

    async fn refused(&self, cookie: Option<&str>, body: &Value, reason: &str) {
        let problem = self.login(cookie, body).await.problem(401);
        assert_eq!(problem["type"], "urn:postledger:problem:unauthorized");
        assert_eq!(problem["detail"], "the sign-in was refused: start again, or sign in otherwise");
        assert_eq!(self.last_refusal().await, reason);
    }
}

struct Begun {
    url: String,
    state: String,
    cookie: String,
}

fn configure(stack: &mut Stack, name: &str, provider: &OpenId, redirect_uris: &[&str]) {
    let mut set = |key: &str, value: &str| stack.set(&format!("api.oauth.{name}.{key}"), value);
    set("issuer", &provider.issuer);
    set("client_id", CLIENT_ID);
    set("client_secret", CLIENT_SECRET);
    set("redirect_uris", &json!(redirect_uris).to_string());
}

async fn email_of(public: &Client, tokens: &Value) -> String {
    let me: Value = public.with_bearer(tokens["access_token"].as_str().unwrap()).get("/auth/me").await;
    me["email"].as_str().unwrap().to_owned()
}

/// The seed's diagram: sign in, call, refresh, call again.
#[tokio::test]
async fn a_user_signs_in_at_a_provider() {
    let Some(world) = World::start().await else { return };
    let tokens: Value = world.sign_in("ana").await.expect(200).json();
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(600)));
    assert_eq!(email_of(&world.public, &tokens).await, "ana@example.com");
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    let request = world.public.request(Method::POST, "/auth/refresh").json(&refresh);
    let next: Value = world.public.send(request).await.unwrap().expect(200).json();
    world.public.with_bearer(next["access_token"].as_str().unwrap()).query("/groups").await.expect(200);
    // Known by the subject from now on.
    let again: Value = world.sign_in("ana").await.expect(200).json();
    assert_eq!(email_of(&world.public, &again).await, "ana@example.com");
    // The ID token of the other provider tells the address itself.
    let begun = world.start_at("other", OTHER_REDIRECT_URI).await;
    let (_, back) = world.other.sign_in(&begun.url, "bob").await;
    let answer = world.login(Some(&begun.cookie), &login_by("other", &back)).await.expect(200);
    let forgets = answer.header("set-cookie").unwrap();
    assert!(forgets.starts_with(&format!("{COOKIE}=;")) && forgets.contains("Max-Age=0"), "{forgets}");
    assert_eq!(email_of(&world.public, &answer.json()).await, "bob@example.com");
    let linked = "SELECT count(*) FROM events WHERE event_type = 'UserIdentityLinked'";
    let linked: i64 = sqlx::query_scalar(linked).fetch_one(world.stack.pool()).await.unwrap();
    assert_eq!(linked, 2);
}

/// A frontend on another site than the provider, cookies and redirects as a browser has them.
#[tokio::test]
async fn a_browser_signs_in_at_a_provider() {
    let Some(world) = World::start().await else { return };
    let Some(browser) = Browser::start().await else { return };
    let page = &browser.client;
    let frontend = world.company.frontend.clone().unwrap();
    page.goto(&format!("{frontend}/app")).await.unwrap();
    page.find(Locator::Id("sign-in")).await.unwrap().click().await.unwrap();
    let wait = Duration::from_secs(20);
    let login = page.wait().at_most(wait).for_element(Locator::Css("input[name=login]")).await.unwrap();
    assert!(page.current_url().await.unwrap().as_str().starts_with(&world.company.issuer));
    login.send_keys("ana").await.unwrap();
    page.find(Locator::Css("input[name=password]")).await.unwrap().send_keys("any").await.unwrap();
    page.find(Locator::Css("button[type=submit]")).await.unwrap().click().await.unwrap();
    let consent = Locator::Css("input[name=prompt][value=consent]");
    page.wait().at_most(wait).for_element(consent).await.unwrap();
    page.find(Locator::Css("button[type=submit]")).await.unwrap().click().await.unwrap();
    let shown: Value = eventually("the frontend shows its tokens", wait, async || {
        let answer = page.find(Locator::Id("answer")).await.ok()?.text().await.ok()?;
        serde_json::from_str(&answer).ok()
    })
    .await;
    assert_eq!(shown["status"], 200, "{shown}");
    assert_eq!(email_of(&world.public, &shown["body"]).await, "ana@example.com");
    let cookies = page.get_all_cookies().await.unwrap();
    assert!(cookies.iter().all(|cookie| cookie.name() != COOKIE), "it is forgotten once it was used");
    browser.close().await;
}

#[tokio::test]
async fn a_state_is_of_its_browser_and_good_once() {
    let Some(world) = World::start().await else { return };
    let (begun, back) = world.come_back("ana").await;
    let answer = login_by("company", &back);
    // Missing: whoever has the answer alone, as a page that was made to post it (login CSRF).
    world.refused(None, &answer, "wrong_state").await;
    // Foreign: another browser's cookie.
    let other = world.begin().await;
    world.refused(Some(&other.cookie), &answer, "wrong_state").await;
    // None of it passes for a token of another kind.
    let (_, sealed) = begun.cookie.split_once('=').unwrap();
    for token in [sealed, &begun.state, back.get("code").unwrap()] {
        world.public.with_bearer(token).query("/groups").await.problem(401);
        world.public.with_bearer(token).query("/preferences").await.problem(401);
        let refresh =
            world.public.request(Method::POST, "/auth/refresh").json(&json!({ "refresh_token": token }));
        world.public.send(refresh).await.unwrap().problem(401);
        let chosen = json!({ "token": token, "password": PASSWORD });
        let reset = world.public.request(Method::POST, "/auth/password-reset/confirm").json(&chosen);
        world.public.send(reset).await.unwrap().problem(401);
    }
    let mut changed = answer.clone();
    changed["state"] = json!(other.state);
    world.refused(Some(&begun.cookie), &changed, "wrong_state").await;
    // The right one still works, once.
    world.login(Some(&begun.cookie), &answer).await.expect(200);
    world.refused(Some(&begun.cookie), &answer, "wrong_state").await;
}

#[tokio::test]
async fn a_code_is_not_replayed_or_injected() {
    let Some(world) = World::start().await else { return };
    let (begun, back) = world.come_back("ana").await;
    world.login(Some(&begun.cookie), &login_by("company", &back)).await.expect(200);
    // A code that was used, in a sign-in that has just begun.
    let fresh = world.begin().await;
    let mut replayed = login_by("company", &back);
    replayed["state"] = json!(fresh.state);
    world.refused(Some(&fresh.cookie), &replayed, "provider_refused").await;
    // A code that is good, of another's sign-in: the verifier of this browser does not fit.
    let (_, stolen) = world.come_back("bob").await;
    let own = world.begin().await;
    let mut injected = login_by("company", &stolen);
    injected["state"] = json!(own.state);
    world.refused(Some(&own.cookie), &injected, "provider_refused").await;
    let nonsense = world.begin().await;
    let body = json!({ "provider": "company", "code": "nonsense", "state": nonsense.state });
    world.refused(Some(&nonsense.cookie), &body, "provider_refused").await;
}

/// We always send S256, and a provider that wants it takes nothing less.
#[tokio::test]
async fn pkce_is_s256_and_nothing_less() {
    let Some(world) = World::start().await else { return };
    let begun = world.begin().await;
    let url = Url::parse(&begun.url).unwrap();
    let sent: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(sent["code_challenge_method"], "S256");
    assert_eq!(sent["code_challenge"].len(), 43);
    assert_eq!((sent["response_type"].as_str(), sent["redirect_uri"].as_str()), ("code", REDIRECT_URI));
    assert_eq!((sent["scope"].as_str(), sent["nonce"].len()), ("openid email", 43));
    let without = |dropped: &[&str], more: &[(&str, &str)]| {
        let mut changed = url.clone();
        let kept = sent.iter().filter(|(name, _)| !dropped.contains(&name.as_str()));
        changed.query_pairs_mut().clear().extend_pairs(kept).extend_pairs(more);
        changed.to_string()
    };
    let both = ["code_challenge", "code_challenge_method"];
    for weaker in [without(&both, &[]), without(&both[1..], &[("code_challenge_method", "plain")])] {
        let (_, back) = world.company.sign_in(&weaker, "ana").await;
        assert_eq!((back.get("error"), back.get("code")), (Some("invalid_request"), None), "{back:?}");
    }
    let again = world.begin().await;
    assert_ne!(again.url, begun.url);
    assert!(again.state != begun.state && again.cookie != begun.cookie);
}

#[tokio::test]
async fn one_providers_answer_is_not_anothers() {
    let Some(world) = World::start().await else { return };
    // The browser began at one provider; the answer is handed in as the other's.
    let (begun, back) = world.come_back("ana").await;
    world.refused(Some(&begun.cookie), &login_by("other", &back), "wrong_state").await;
    // Or it says itself that it is the other's (RFC 9207).
    let mut mixed = login_by("company", &back);
    mixed["iss"] = json!(world.other.issuer);
    world.refused(Some(&begun.cookie), &mixed, "wrong_state").await;
    // A code of the other's, in a sign-in that began here.
    let elsewhere = world.start_at("other", OTHER_REDIRECT_URI).await;
    let (_, foreign) = world.other.sign_in(&elsewhere.url, "ana").await;
    let mut mixed = login_by("company", &back);
    mixed["code"] = json!(foreign.get("code"));
    world.refused(Some(&begun.cookie), &mixed, "provider_refused").await;
    // Each may be sent back to its own pages alone.
    let query = [("redirect_uri", OTHER_REDIRECT_URI)];
    let start = world.public.request(Method::GET, "/auth/oauth/company/start").query(&query);
    world.public.send(start).await.unwrap().invalid("redirect_uri");
}

#[tokio::test]
async fn an_address_alone_opens_nobodys_account() {
    let Some(world) = World::start().await else { return };
    world.sign_in("unverified").await.problem(401);
    assert_eq!(world.last_refusal().await, "unverified_address");
    world.sign_in("stranger").await.problem(401);
    assert_eq!(world.last_refusal().await, "unknown_user");
    world.sign_in("ana").await.expect(200);
    // Another subject of the provider with the same address; the same address at another provider.
    world.sign_in("namesake").await.problem(401);
    assert_eq!(world.last_refusal().await, "other_identity");
    let begun = world.start_at("other", OTHER_REDIRECT_URI).await;
    let (_, back) = world.other.sign_in(&begun.url, "ana").await;
    world.refused(Some(&begun.cookie), &login_by("other", &back), "other_identity").await;
    world.sign_in("ana").await.expect(200);
}

/// Other ways in go on, and who had begun goes on when the provider is back.
#[tokio::test]
async fn a_provider_that_goes_away_takes_nothing_along() {
    let Some(mut world) = World::start().await else { return };
    let (begun, back) = world.come_back("ana").await;
    world.company.stop();
    let answer = login_by("company", &back);
    for _ in 0..2 {
        let refused = world.login(Some(&begun.cookie), &answer).await;
        assert!(refused.header("retry-after").is_some());
        refused.problem(503);
    }
    let password = json!({ "email": "ana@example.com", "password": PASSWORD });
    world.login(None, &password).await.expect(200);
    let begun = world.start_at("other", OTHER_REDIRECT_URI).await;
    let (_, back) = world.other.sign_in(&begun.url, "bob").await;
    world.login(Some(&begun.cookie), &login_by("other", &back)).await.expect(200);
}
