//! The reference's frame, and what all routes of a kind have in common in it.

use crate::access::{Access, Kind};
use crate::problem::{self, InvalidField, Problem};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem, Paths};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder,
    Type,
};
use utoipa::{Modify, OpenApi as _};

const ACCESS: &str = "access_token";
const KEY: &str = "api_key";
const PREFERENCE: &str = "preference_token";
const PREFERENCE_IN_QUERY: &str = "preference_link";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Postledger",
        description = "An e-mail campaign backend whose every decision is an event.\n\n\
            **Times** are RFC 3339 with an offset, and answered in UTC. **Lists** take `limit` and `cursor` and answer \
            `items` and `next_cursor`, newest first. **Commands** take an `Idempotency-Key` of your own making: \
            repeat a command with the same key and body, and you get the first answer again. They answer \
            `Postledger-Position`: send it back with a query, and the query waits until it can see what the command \
            did. **Errors** are problem documents (RFC 9457). **Limits**: answers bear `RateLimit-Limit`, \
            `RateLimit-Remaining` and `RateLimit-Reset` (seconds); who exceeds one gets 429 with `Retry-After`."
    ),
    components(schemas(Problem, InvalidField)),
    modifiers(&Schemes),
    tags(
        (name = "auth", description = "Signing in, and one's own sessions."),
        (name = "users", description = "Who may sign in, and keys of programs; by administrators alone."),
        (name = "audit", description = "What happened, from the log."),
        (name = "groups", description = "Who may be written to together."),
        (name = "subscribers", description = "Readers, their groups and their consent."),
        (name = "imports", description = "Readers from a file."),
        (name = "templates", description = "What a mail says."),
        (name = "media", description = "Images and videos that mails show."),
        (name = "emails", description = "Campaigns: one template, one group, one time."),
        (name = "subscriptions", description = "Subscribing oneself: a request, and its confirmation by the link in a mail."),
        (name = "preferences", description = "What a reader decides, by the link in a mail."),
        (name = "system", description = "Health and this reference."),
    )
)]
struct Frame;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, openapi: &mut OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let bearer = |text: &str| {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(text));
            SecurityScheme::Http(scheme.build())
        };
        components.add_security_scheme(ACCESS, bearer("The access token of a user who signed in."));
        components.add_security_scheme(KEY, bearer("An API key that bears the route's scope."));
        components.add_security_scheme(PREFERENCE, bearer("The token of the link in a mail."));
        let in_query = utoipa::openapi::security::ApiKeyValue::with_description(
            "token",
            "The same token, where the link itself is called.",
        );
        let scheme = SecurityScheme::ApiKey(utoipa::openapi::security::ApiKey::Query(in_query));
        components.add_security_scheme(PREFERENCE_IN_QUERY, scheme);
    }
}

pub(crate) fn frame() -> OpenApi {
    Frame::openapi()
}

/// Adds to each operation what its access and kind imply.
pub(crate) fn complete(paths: &mut Paths, access: Access, kind: Kind) {
    for (path, item) in &mut paths.paths {
        let has_id = path.contains('{');
        for (method, operation) in operations(item) {
            operation.operation_id = Some(operation_id(method, path));
            secure(operation, access);
            match kind {
                Kind::Plain | Kind::Secret => {}
                Kind::Query => query(operation),
                Kind::Command | Kind::Upload => {
                    keyed(operation);
                    command(operation);
                }
                Kind::OptOut => command(operation),
            }
            if has_query(operation) {
                problem(operation, "422", "Some parameters cannot be taken: see `errors`.");
            }
            if operation.request_body.is_some() || matches!(kind, Kind::Command | Kind::OptOut | Kind::Upload)
            {
                takes_body(operation);
            }
            if has_id {
                problem(operation, "404", "The id is not known.");
            }
            problem(operation, "429", "Too many requests: see `Retry-After`.");
            problem(operation, "500", "Something went wrong in the server.");
            problem(operation, "503", "Not available now: see `Retry-After`.");
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, post, put, patch, delete, .. } = item;
    let methods = [("get", get), ("post", post), ("put", put), ("patch", patch), ("delete", delete)];
    methods.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// `get_emails_id_report`: what generated clients call it.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |id, word| format!("{id}_{word}"))
}

fn secure(operation: &mut Operation, access: Access) {
    let schemes: &[&str] = match access {
        Access::Public => &[],
        Access::SignedIn | Access::Admin => &[ACCESS],
        Access::Scope(_) => &[ACCESS, KEY],
        Access::PreferenceToken | Access::PreferenceLink => &[PREFERENCE, PREFERENCE_IN_QUERY],
    };
    if !schemes.is_empty() {
        let requirement = |name: &&str| SecurityRequirement::new::<_, _, String>(*name, []);
        operation.security = Some(schemes.iter().map(requirement).collect());
        problem(operation, "401", "No or no valid key or token.");
    }
    let forbidden = match access {
        Access::Scope(scope) => format!("Neither a role nor a key with the scope `{}`.", scope.as_str()),
        Access::Admin => "No administrator.".to_owned(),
        Access::SignedIn => "Keys cannot: this is for people.".to_owned(),
        Access::PreferenceToken | Access::PreferenceLink => {
            return problem(operation, "404", "The reader is not known.");
        }
        Access::Public => return,
    };
    problem(operation, "403", &forbidden);
}

fn query(operation: &mut Operation) {
    let text = "The position that a command answered: the query waits until it can see what the command did, five \
        seconds at the most.";
    parameter(operation, "Postledger-Position", text, text_schema().pattern(Some("^[A-Za-z0-9_-]+$")), None);
    problem(operation, "400", "`Postledger-Position` is malformed.");
    problem(operation, "409", "`Postledger-Position` is of another log than this one.");
}

fn has_query(operation: &Operation) -> bool {
    let parameters = operation.parameters.iter().flatten();
    parameters.into_iter().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query,
        RefOr::Ref(_) => false,
    })
}

fn takes_body(operation: &mut Operation) {
    problem(operation, "400", "The body is no JSON.");
    problem(operation, "408", "The body did not arrive in time.");
    problem(operation, "413", "The body is too large.");
    problem(operation, "415", "The content type is not supported.");
    problem(operation, "422", "Some fields cannot be taken: see `errors`.");
}

fn keyed(operation: &mut Operation) {
    let text = "A text of your own, at most 200 printable ASCII characters, kept for 24 hours: the same key and body \
        again get the first answer again.";
    let schema = text_schema().min_length(Some(1)).max_length(Some(200)).pattern(Some("^[ -~]+$"));
    parameter(operation, "Idempotency-Key", text, schema, Some("6c1d4f0e-order-1742"));
    let unfit = "Some fields cannot be taken, or the key was used with another body: see `errors`.";
    problem(operation, "422", unfit);
}

fn command(operation: &mut Operation) {
    problem(operation, "400", "The body is no JSON, or a header is malformed.");
    problem(operation, "409", "The present state does not allow it: see `status`.");
    problem(operation, "412", "`If-Match` is not the present version.");
    for (status, response) in &mut operation.responses.responses {
        if let (true, RefOr::T(response)) = (status.starts_with('2'), response) {
            let position = HeaderBuilder::new()
                .schema(Some(text_schema()))
                .description(Some("Send it back with a query to see what this command did."));
            response.headers.insert("Postledger-Position".to_owned(), position.build().into());
        }
    }
}

fn text_schema() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn parameter(
    operation: &mut Operation,
    name: &str,
    text: &str,
    schema: ObjectBuilder,
    example: Option<&str>,
) {
    let parameter: Parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(text))
        .schema(Some(schema))
        .example(example.map(Into::into))
        .build();
    operation.parameters.get_or_insert_default().push(parameter.into());
}

/// Documents a problem, unless the handler says more about that status itself.
fn problem(operation: &mut Operation, status: &str, text: &str) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response: Response =
        ResponseBuilder::new().description(text).content(problem::CONTENT_TYPE, content).build();
    operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.into());
}
