//! How a provider is asked: within bounds of time and size, at the very address that it published.

use futures::FutureExt;
use futures::future::BoxFuture;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::Client;
use reqwest::redirect::Policy;
use std::time::Duration;

const CONNECT_TIME: Duration = Duration::from_secs(3);
/// Of one request with its whole answer.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// Of an answer: metadata and keys have some 10 KB.
const ANSWER_MAX_BYTES: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// Without the address: a query may hold what is secret.
    #[error("the provider cannot be asked: {0}")]
    Client(#[source] reqwest::Error),
    #[error("the answer has more than {ANSWER_MAX_BYTES} bytes")]
    TooLarge,
    #[error("the answer cannot be read")]
    Malformed,
}

impl From<reqwest::Error> for HttpError {
    fn from(error: reqwest::Error) -> Self {
        Self::Client(error.without_url())
    }
}

/// The library's client. A type of its own: what comes of a closure cannot be sent between threads.
pub(super) struct Asker(pub Client);

impl<'c> AsyncHttpClient<'c> for Asker {
    type Error = HttpError;
    type Future = BoxFuture<'c, Result<HttpResponse, HttpError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        ask(&self.0, request).boxed()
    }
}

/// A redirect could lead anywhere, into our own network too: none is followed. HTTP/1.1, since the other's library logs
/// headers where it logs at all.
pub(super) fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIME)
        .timeout(REQUEST_TIME)
        .http1_only()
        .user_agent("Postledger")
        .build()
}

async fn ask(client: &Client, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    if !is_fit(&request.uri().to_string()) {
        return Err(HttpError::Malformed);
    }
    let mut answer = client.execute(request.try_into()?).await?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > ANSWER_MAX_BYTES {
            return Err(HttpError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    let mut response = HttpResponse::new(body);
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}

/// Whether secrets may go there: by TLS, or without leaving this machine.
pub(super) fn is_fit(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let is_local = || matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    let has_user = !url.username().is_empty() || url.password().is_some();
    !has_user
        && url.host_str().is_some()
        && (url.scheme() == "https" || (url.scheme() == "http" && is_local()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_leave_this_machine_by_tls_alone() {
        for fit in
            ["https://id.example.com/token", "http://127.0.0.1:3000", "http://localhost/x", "http://[::1]:1/"]
        {
            assert!(is_fit(fit), "{fit}");
        }
        for unfit in [
            "http://id.example.com",
            "ftp://localhost",
            "http://127.0.0.1.example.com",
            "https://u:p@a.example",
            "http://localhost@a.example",
            "file:///etc/passwd",
            "",
            "/token",
            "data:,x",
        ] {
            assert!(!is_fit(unfit), "{unfit}");
        }
    }
}
