//! Who may call a route. Permission is part of each route: [`Routes`] takes none without an [`Access`], and the
//! router takes nothing but [`Routes`].

use crate::compression::Compressible;
use crate::limits::Standing;
use crate::pages::{self, Words};
use crate::problem::ApiError;
use crate::state::App;
use crate::tokens::{AccessClaims, TOKEN_MAX_BYTES, TokenError};
use crate::{body, client, openapi};
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use commands::KEY_PREFIX;
use domain::access::{Role, Scope};
use domain::{ApiKeyId, SessionId, UserId};
use http::request::Parts;
use http::{HeaderMap, Method, Uri, header};
use mail::links::{PreferenceClaims, SAMPLE_TOKEN};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::Instant;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Public,
    /// The token of a mail's link, as `Bearer` or in the query.
    PreferenceToken,
    /// The same for what people open in a browser: who has no valid token gets a page that says what to do.
    PreferenceLink,
    /// Users with a role that has the scope, and keys that bear it.
    Scope(Scope),
    /// Any user, no key. The database is asked whether the session still stands.
    SignedIn,
    /// Administrators alone, no key. The database is asked whether they still are.
    Admin,
}

/// What a route is for: queries take a position, commands answer one and take an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Has nothing to do with positions: health, the reference, what reads streams.
    Plain,
    Query,
    Command,
    /// A command that may be repeated as it is: a key is ignored, lest it answer what is not so any more.
    OptOut,
    /// A command whose body streams in for as long as it takes.
    Upload,
    /// A command that takes or answers secrets, of which nothing is kept: no idempotency key.
    Secret,
}

/// Who sends an admitted request.
#[derive(Debug, Clone)]
pub(crate) enum Principal {
    Nobody,
    User(User),
    Key {
        id: ApiKeyId,
        /// It may read what it may change.
        sees: bool,
        /// It may read subscribers.
        reads_people: bool,
    },
    Reader(PreferenceClaims),
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or(Self::Nobody))
    }
}

/// Who signed in, on routes that keys cannot use.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub id: UserId,
    pub session: SessionId,
}

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.extensions.get() {
            Some(Principal::User(user)) => Ok(user.clone()),
            // Routes for users admit nobody else.
            Some(Principal::Nobody | Principal::Key { .. } | Principal::Reader(_)) | None => {
                Err(ApiError::Internal)
            }
        }
    }
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
        let compressible = Compressible::of(access, kind);
        let rule = Rule { app: self.app.clone(), access, time, compressible };
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

    pub fn opt_out(self, access: Access, route: UtoipaMethodRouter<App>) -> Self {
        self.add(access, Kind::OptOut, route)
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
    compressible: Option<Compressible>,
}

async fn guard(State(rule): State<Rule>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let started = Instant::now();
    // A database that does not answer must not hold it for ever.
    let admitted = tokio::time::timeout(rule.app.config.request_timeout, rule.enter(&parts)).await;
    let (principal, standing) = match admitted.unwrap_or(Err(ApiError::TimedOut)) {
        Ok(entered) => entered,
        Err(error) if rule.access == Access::PreferenceLink && !body::is_json(&parts.headers) => {
            let words = Words::of(&parts.headers);
            return match error {
                // Of a form as well: a mail program that unsubscribes by itself is told that all went well.
                ApiError::Unauthorized(_) if query_token(&parts.uri).as_deref() == Some(SAMPLE_TOKEN) => {
                    pages::test_link(words)
                }
                ApiError::TooMany(_) => pages::failed(words, error),
                _ => pages::bad_link(words, error),
            };
        }
        Err(error) => return error.into_response(),
    };
    if asks_for_the_past(&parts) {
        return ApiError::invalid("as_of", "what was true then cannot be asked for yet").into_response();
    }
    parts.extensions.insert(principal);
    let request = Request::from_parts(parts, body);
    let answered = match rule.time {
        None => Ok(next.run(request).await),
        Some(time) => tokio::time::timeout_at(started + time, next.run(request)).await,
    };
    let mut response = answered.unwrap_or_else(|_| ApiError::TimedOut.into_response());
    standing.write(response.headers_mut());
    if let Some(compressible) = rule.compressible {
        response.extensions_mut().insert(compressible);
    }
    response
}

/// An answer about now must not be taken for one about then.
fn asks_for_the_past(parts: &Parts) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    parts.method == Method::GET && query.split('&').any(|pair| pair.starts_with("as_of="))
}

impl Rule {
    /// Admits and counts. What opens nothing counts against the address it came from.
    async fn enter(&self, parts: &Parts) -> Result<(Principal, Standing), ApiError> {
        let network = client::of(parts).network();
        let limiters = &self.app.limiters;
        let principal = match self.admit(parts).await {
            Err(error @ ApiError::Unauthorized(_)) if !self.is_for_readers() => {
                limiters.public.count(network)?;
                return Err(error);
            }
            admitted => admitted?,
        };
        let standing = match &principal {
            Principal::Nobody => limiters.public.count(network),
            Principal::User(user) => limiters.users.count(user.id),
            Principal::Key { id, .. } => limiters.keys.count(id),
            // A scanner that opens a link again and again must not keep its reader from opting out.
            Principal::Reader(claims) => limiters.links.count((claims, parts.method.is_safe())),
        };
        Ok((principal, standing?))
    }

    fn is_for_readers(&self) -> bool {
        matches!(self.access, Access::PreferenceToken | Access::PreferenceLink)
    }

    async fn admit(&self, parts: &Parts) -> Result<Principal, ApiError> {
        match self.access {
            Access::Public => Ok(Principal::Nobody),
            Access::Scope(scope) => self.with_scope(bearer(&parts.headers)?, scope).await,
            Access::SignedIn => Ok(self.standing(bearer(&parts.headers)?).await?.0),
            Access::Admin => match self.standing(bearer(&parts.headers)?).await? {
                (principal, roles) if roles.contains(&Role::Admin) => Ok(principal),
                _ => Err(ApiError::Forbidden("this is for administrators".to_owned())),
            },
            Access::PreferenceToken | Access::PreferenceLink => {
                self.reader(parts).await.map(Principal::Reader)
            }
        }
    }

    async fn with_scope(&self, bearer: &str, scope: Scope) -> Result<Principal, ApiError> {
        if bearer.starts_with(KEY_PREFIX) {
            let (id, scopes) = self.key(bearer).await?;
            return match scopes.contains(&scope) {
                true => {
                    let has = |scope| scopes.contains(&scope);
                    Ok(Principal::Key {
                        id,
                        sees: has(scope.reading()),
                        reads_people: has(Scope::SubscribersRead),
                    })
                }
                false => Err(ApiError::Forbidden(format!("the key lacks the scope {}", scope.as_str()))),
            };
        }
        let claims = self.claims(bearer).await?;
        match claims.roles.iter().any(|role| role.has(scope)) {
            true => Ok(Principal::User(User { id: claims.user, session: claims.session })),
            false => Err(ApiError::Forbidden(format!("none of your roles has the scope {}", scope.as_str()))),
        }
    }

    /// A user whose session stands, with the roles of this moment.
    async fn standing(&self, bearer: &str) -> Result<(Principal, Vec<Role>), ApiError> {
        if bearer.starts_with(KEY_PREFIX) {
            self.key(bearer).await?;
            return Err(ApiError::Forbidden("this is for people who signed in, not for keys".to_owned()));
        }
        let claims = self.claims(bearer).await?;
        let roles = self.app.commands.standing(claims.session, claims.user).await?;
        let roles = roles.ok_or(ApiError::Unauthorized("the session is over: sign in again"))?;
        Ok((Principal::User(User { id: claims.user, session: claims.session }), roles))
    }

    async fn claims(&self, bearer: &str) -> Result<AccessClaims, ApiError> {
        self.app.access_keys.verify(bearer).await.map_err(|error| match error {
            TokenError::Store(error) => error.into(),
            TokenError::TooLong
            | TokenError::Malformed
            | TokenError::WrongKind
            | TokenError::UnknownKey
            | TokenError::Signature
            | TokenError::Time => ApiError::Unauthorized("the token is not valid"),
        })
    }

    async fn key(&self, bearer: &str) -> Result<(ApiKeyId, Vec<Scope>), ApiError> {
        let found = match bearer.len() <= TOKEN_MAX_BYTES {
            true => self.app.commands.api_key(bearer).await?,
            false => None,
        };
        found.ok_or(ApiError::Unauthorized("the key is not valid"))
    }

    async fn reader(&self, parts: &Parts) -> Result<PreferenceClaims, ApiError> {
        let in_query = query_token(&parts.uri);
        let token = match (bearer(&parts.headers), &in_query) {
            (Ok(token), _) => token,
            (Err(_), Some(token)) if !parts.headers.contains_key(header::AUTHORIZATION) => token,
            (Err(error), _) => return Err(error),
        };
        self.app.link_keys.verify(token).await
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

/// The token of a link as mail programs and gateways leave it: other parameters beside it, white space around it, the same
/// token twice, or the `&` before it still written as HTML.
pub(crate) fn query_token(uri: &Uri) -> Option<String> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let named = pairs.iter().filter(|(name, _)| matches!(name.as_str(), "token" | "amp;token"));
    let mut tokens = named.map(|(_, token)| token.trim()).filter(|token| !token.is_empty());
    let token = tokens.next()?;
    tokens.all(|other| other == token).then(|| token.to_owned())
}
