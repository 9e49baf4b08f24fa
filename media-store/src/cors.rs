//! Which pages may call: the rules of `PutBucketCors`, kept while the process lives, and what browsers are told by them
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html>).

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;
use s3s::dto::CORSRule;
use s3s::service::S3Service;
use s3s::{Body, HttpError};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

/// By bucket.
#[derive(Clone, Default)]
pub struct Cors(Arc<RwLock<HashMap<String, Vec<CORSRule>>>>);

impl Cors {
    pub fn set(&self, bucket: String, rules: Vec<CORSRule>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(bucket, rules);
    }

    /// The rule that lets a page of `origin` call by `method`.
    fn rule(&self, path: &str, origin: &str, method: &str) -> Option<CORSRule> {
        let bucket = path.trim_start_matches('/').split('/').next()?;
        let rules = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let allows = |rule: &&CORSRule| {
            rule.allowed_origins.iter().any(|allowed| allowed == origin)
                && rule.allowed_methods.iter().any(|allowed| allowed == method)
        };
        rules.get(bucket)?.iter().find(allows).cloned()
    }

    /// What a preflight is answered with; `None`: it is refused.
    fn preflight(&self, path: &str, headers: &HeaderMap) -> Option<HeaderMap> {
        let origin = headers.get(ORIGIN)?;
        let method = headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        let rule = self.rule(path, origin.to_str().ok()?, method.to_str().ok()?)?;
        let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).map(HeaderValue::to_str).transpose().ok()?;
        let allowed = rule.allowed_headers.unwrap_or_default();
        let is_allowed = |name: &str| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name.trim()));
        if !asked.unwrap_or_default().split(',').filter(|name| !name.is_empty()).all(is_allowed) {
            return None;
        }
        let mut told = allow(origin.clone());
        told.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
        if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            told.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        told.extend(rule.max_age_seconds.map(|seconds| (ACCESS_CONTROL_MAX_AGE, seconds.into())));
        Some(told)
    }
}

fn allow(origin: HeaderValue) -> HeaderMap {
    let vary: (HeaderName, HeaderValue) = (VARY, HeaderValue::from_static("origin"));
    [(ACCESS_CONTROL_ALLOW_ORIGIN, origin), vary].into_iter().collect()
}

/// The store, with its answers to browsers.
#[derive(Clone)]
pub struct Layered {
    pub inner: S3Service,
    pub cors: Cors,
}

impl Service<Request<Incoming>> for Layered {
    type Response = Response<Body>;
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, HttpError>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Self { inner, cors } = self.clone();
        Box::pin(async move {
            let (path, method) = (request.uri().path().to_owned(), request.method().clone());
            if method == Method::OPTIONS {
                let told = cors.preflight(&path, request.headers());
                let mut answer = Response::new(Body::empty());
                *answer.status_mut() = if told.is_some() { StatusCode::OK } else { StatusCode::FORBIDDEN };
                answer.headers_mut().extend(told.unwrap_or_default());
                return Ok(answer);
            }
            let origin = request.headers().get(ORIGIN).cloned();
            let allowed = origin.filter(|origin| {
                origin.to_str().is_ok_and(|origin| cors.rule(&path, origin, method.as_str()).is_some())
            });
            let mut answer = inner.call(request.map(Body::from)).await?;
            answer.headers_mut().extend(allowed.map(allow).unwrap_or_default());
            Ok(answer)
        })
    }
}
