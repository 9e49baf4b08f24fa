//! The REST API as its caller sees it: keys, positions, retries, problems.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::answers::Tokens;

const POSITION: &str = "Postledger-Position";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request is repeated that the server asks to repeat.
const RETRY_FOR: Duration = Duration::from_secs(60);
const UPLOAD_CHUNK_BYTES: usize = 16 * 1024;

pub struct Client {
    http: reqwest::Client,
    url: String,
    tokens: Tokens,
    /// When the access token is half over.
    renew_at: Instant,
    /// Of the last command: queries send it back, and so see what the command did.
    position: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

impl Client {
    pub async fn sign_in(url: &str, email: &str, password: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).no_proxy().build()?;
        let url = url.trim_end_matches('/').to_owned();
        let login = json!({ "email": email, "password": password });
        let tokens = tokens(&http, &url, "/auth/login", &login).await?;
        let renew_at = half_life(&tokens);
        Ok(Self { http, url, tokens, renew_at, position: None })
    }

    /// Gets the next pair of tokens in good time.
    async fn stay_signed_in(&mut self) -> anyhow::Result<()> {
        if Instant::now() >= self.renew_at {
            let refresh = json!({ "refresh_token": self.tokens.refresh_token });
            self.tokens = tokens(&self.http, &self.url, "/auth/refresh", &refresh).await?;
            self.renew_at = half_life(&self.tokens);
        }
        Ok(())
    }

    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        Ok(self.query(path).await?.json().await?)
    }

    pub async fn text(&mut self, path: &str) -> anyhow::Result<String> {
        Ok(self.query(path).await?.text().await?)
    }

    /// Every page of a list.
    pub async fn all<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<Vec<T>> {
        let first = format!("{path}{}limit=500", if path.contains('?') { '&' } else { '?' });
        let mut page: Page<T> = self.get(&first).await?;
        let mut items = page.items;
        while let Some(cursor) = page.next_cursor {
            page = self.get(&format!("{first}&cursor={cursor}")).await?;
            items.append(&mut page.items);
        }
        Ok(items)
    }

    pub async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        idempotency_key: Option<&str>,
        body: &Value,
    ) -> anyhow::Result<T> {
        self.stay_signed_in().await?;
        let request = self.command(path, idempotency_key).json(body);
        let response = send(|| request.try_clone(), &format!("POST {path}")).await?;
        self.remember_position(&response);
        Ok(response.json().await?)
    }

    /// Sends a CSV in pieces, as one would that is too large for memory.
    pub async fn upload<T: DeserializeOwned>(
        &mut self,
        path: &str,
        idempotency_key: &str,
        csv: &'static [u8],
    ) -> anyhow::Result<T> {
        self.stay_signed_in().await?;
        let request = || {
            let pieces = futures::stream::iter(csv.chunks(UPLOAD_CHUNK_BYTES).map(Ok::<_, std::io::Error>));
            let request = self.command(path, Some(idempotency_key)).header(CONTENT_TYPE, "text/csv");
            Some(request.body(reqwest::Body::wrap_stream(pieces)))
        };
        let response = send(request, &format!("POST {path}")).await?;
        self.remember_position(&response);
        Ok(response.json().await?)
    }

    /// The form of RFC 8058, sent to a mail's own link: no key, no cookie.
    pub async fn one_click(&mut self, link: &str) -> anyhow::Result<()> {
        let request = self.http.post(link).form(&[("List-Unsubscribe", "One-Click")]);
        let response = send(|| request.try_clone(), "the one-click opt-out").await?;
        self.remember_position(&response);
        Ok(())
    }

    pub async fn server_time(&self) -> anyhow::Result<DateTime<Utc>> {
        let request = self.http.get(format!("{}/health/ready", self.url));
        let response = send(|| request.try_clone(), "GET /health/ready").await?;
        let date = response.headers().get(DATE).context("the server tells no time")?.to_str()?;
        Ok(DateTime::parse_from_rfc2822(date)?.to_utc())
    }

    async fn query(&mut self, path: &str) -> anyhow::Result<Response> {
        self.stay_signed_in().await?;
        let mut request = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.tokens.access_token);
        if let Some(position) = &self.position {
            request = request.header(POSITION, position);
        }
        send(|| request.try_clone(), &format!("GET {path}")).await
    }

    fn command(&self, path: &str, idempotency_key: Option<&str>) -> RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.tokens.access_token);
        match idempotency_key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        }
    }

    fn remember_position(&mut self, response: &Response) {
        if let Some(position) = response.headers().get(POSITION) {
            self.position = Some(position.clone());
        }
    }
}

async fn tokens(http: &reqwest::Client, url: &str, path: &str, body: &Value) -> anyhow::Result<Tokens> {
    let request = http.post(format!("{url}{path}")).json(body);
    Ok(send(|| request.try_clone(), &format!("POST {path}")).await?.json().await?)
}

fn half_life(tokens: &Tokens) -> Instant {
    Instant::now() + Duration::from_secs(tokens.expires_in / 2)
}

/// Sends until the answer is one: `Retry-After` says that the same request may succeed later.
async fn send(request: impl Fn() -> Option<RequestBuilder>, what: &str) -> anyhow::Result<Response> {
    let started = Instant::now();
    loop {
        let request = request().context("a request that can be sent once only")?;
        let response =
            request.send().await.with_context(|| format!("{what} reached no server: is the stack up?"))?;
        if response.status().is_success() {
            return Ok(response);
        }
        match retry_after(response.headers()) {
            Some(pause) if started.elapsed() + pause < RETRY_FOR => tokio::time::sleep(pause).await,
            _ => bail!("{what} answered {}", problem(response.status(), &response.bytes().await?)),
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).max(Duration::from_millis(100)))
}

/// RFC 9457 problem details in a line.
fn problem(status: StatusCode, body: &[u8]) -> String {
    let Ok(problem) = serde_json::from_slice::<Value>(body) else {
        return status.to_string();
    };
    let detail = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or_default();
    let fields: String = problem["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|error| format!("; {}: {}", text(&error["field"]), text(&error["reason"])))
        .collect();
    format!("{status}: {detail}{fields}")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The numbers in a CSV's first column, under its header.
pub fn first_column(csv: &str) -> anyhow::Result<Vec<u64>> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    reader.records().map(|row| Ok(row?.get(0).unwrap_or_default().parse()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_fields() {
        let body = br#"{"title": "Bad fields", "detail": "2 fields are bad", "errors": [{"field": "name", "reason": "empty"}]}"#;
        let line = problem(StatusCode::UNPROCESSABLE_ENTITY, body);
        assert_eq!(line, "422 Unprocessable Entity: 2 fields are bad; name: empty");
        assert_eq!(problem(StatusCode::BAD_GATEWAY, b"<html>"), "502 Bad Gateway");
    }

    #[test]
    fn the_lines_of_rejected_rows_are_read() {
        let csv = "line,value,reason\n33,\"two\nlines\",no address\n54,a@b,no domain\n";
        assert_eq!(first_column(csv).unwrap(), [33, 54]);
        assert!(first_column("line\nx\n").is_err());
    }
}
