//! Who may call a route. Permission is part of each route: [`Routes`] takes none without an [`Access`], and the
//! router takes nothing but [`Routes`].

use crate::pages;
use crate::problem::ApiError;
use crate::state::App;
use crate::{body, openapi};
use axum::extract::{Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Uri, header};
use mail::links::{LinkError, PreferenceClaims};
use serde::Deserialize;
use std::time::Duration;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Public,
    /// The token of a mail's link, as `Bearer` or in the query.
    PreferenceToken,
    /// The same for what people open in a browser: who has no valid token gets a page that says what to do.
    PreferenceLink,
    /// The bootstrap key. Roles take its place with sign-in.
    Admin,
}

/// What a route is for: queries take a position, commands answer one and take an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Has nothing to do with positions: health, the reference, what reads streams.
    Plain,
    Query,
    Command,
    /// A command whose body streams in for as long as it takes.
    Upload,
}

/// Who sends an admitted request.
#[derive(Debug, Clone)]
pub(crate) enum Principal {
    Nobody,
    Admin,
    Reader(PreferenceClaims),
}

/// Routes with their permissions and their part of the reference.
pub(crate) struct Routes {
    app: App,
    router: OpenApiRouter<App>,
}

impl Routes {
    pub fn new(app: &App) -> Self {
        Self { app: app.clone(), router: OpenApiRouter::default() }
    }

    pub fn add(self, access: Access, kind: Kind, route: UtoipaMethodRouter<App>) -> Self {
        let time = (kind != Kind::Upload).then_some(self.app.config.request_timeout);
        let rule = Rule { app: self.app.clone(), access, time };
        let (schemas, mut paths, methods) =
            route.map(|methods| methods.route_layer(middleware::from_fn_with_state(rule, guard)));
        openapi::complete(&mut paths, access, kind);
        Self { router: self.router.routes((schemas, paths, methods)), ..self }
    }

    pub fn query(self, access: Access, route: UtoipaMethodRouter<App>) -> Self {
        self.add(access, Kind::Query, route)
    }

    pub fn command(self, access: Access, route: UtoipaMethodRouter<App>) -> Self {
        self.add(access, Kind::Command, route)
    }

    pub fn into_router(self) -> OpenApiRouter<App> {
        self.router
    }
}

#[derive(Clone)]
struct Rule {
    app: App,
    access: Access,
    time: Option<Duration>,
}

async fn guard(State(rule): State<Rule>, mut request: Request, next: Next) -> Response {
    let principal = match rule.admit(&request) {
        Ok(principal) => principal,
        Err(error) if rule.access == Access::PreferenceLink && !body::is_json(request.headers()) => {
            return pages::bad_link(error);
        }
        Err(error) => return error.into_response(),
    };
    request.extensions_mut().insert(principal);
    match rule.time {
        None => next.run(request).await,
        Some(time) => match tokio::time::timeout(time, next.run(request)).await {
            Ok(response) => response,
            Err(_) => ApiError::TimedOut.into_response(),
        },
    }
}

impl Rule {
    fn admit(&self, request: &Request) -> Result<Principal, ApiError> {
        match self.access {
            Access::Public => Ok(Principal::Nobody),
            Access::Admin => match self.app.config.admin_key.is(bearer(request.headers())?.as_bytes()) {
                true => Ok(Principal::Admin),
                false => Err(ApiError::Unauthorized("the key is not valid")),
            },
            Access::PreferenceToken | Access::PreferenceLink => self.reader(request).map(Principal::Reader),
        }
    }

    fn reader(&self, request: &Request) -> Result<PreferenceClaims, ApiError> {
        let in_query = query_token(request.uri());
        let token = match (bearer(request.headers()), &in_query) {
            (Ok(token), _) => token,
            (Err(_), Some(token)) if !request.headers().contains_key(header::AUTHORIZATION) => token,
            (Err(error), _) => return Err(error),
        };
        self.app.link_keys.verify_preference(token).map_err(|error| match error {
            LinkError::NoKey | LinkError::KeyId => ApiError::Internal,
            LinkError::TooLong
            | LinkError::Malformed
            | LinkError::WrongKind
            | LinkError::UnknownKey
            | LinkError::Signature => ApiError::Unauthorized("the token is not valid"),
        })
    }
}

/// The token of `Authorization: Bearer …` (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(ApiError::Unauthorized("send Authorization: Bearer and your key or token"));
    };
    let credentials = value.to_str().ok().and_then(|value| value.split_once(' '));
    match credentials {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(ApiError::Unauthorized("the scheme of Authorization has to be Bearer")),
    }
}

/// Other parameters may stand beside the token: mail programs and gateways add some.
pub(crate) fn query_token(uri: &Uri) -> Option<String> {
    #[derive(Deserialize)]
    struct Link {
        token: String,
    }
    Query::<Link>::try_from_uri(uri).ok().map(|Query(link)| link.token).filter(|token| !token.is_empty())
}
