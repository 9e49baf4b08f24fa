//! The preference centre: the page behind each mail's link, and its forms. It works without scripts.

use crate::access::{Access, Kind, Routes, query_token};
use crate::context;
use crate::endpoints::preferences::Loaded;
use crate::endpoints::unsubscribe::opt_out;
use crate::pages::{self, Choice, GroupChoice, Words};
use crate::problem::{ApiError, Problem};
use crate::reader::Reader;
use crate::respond;
use crate::state::App;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use commands::{Context, Preferences};
use domain::GroupId;
use domain::consent::{Channel, Scope};
use domain::group::Group;
use eventstore::Done;
use http::request::Parts;
use http::{HeaderMap, Uri, header};
use std::collections::HashSet;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app).add(Access::PreferenceLink, Kind::Plain, routes!(page))
}

/// Show the preference centre
///
/// Changes nothing. In English or German, by `Accept-Language`. The link of a test mail shows what a reader's would do.
#[utoipa::path(get, path = "/emails/unsubscribe", tag = "preferences",
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"),
        (status = 401, description = "The link does not work: a page that says what to do.", content(
            (String = "text/html"), (Problem = "application/problem+json"))),
        (status = 404, description = "The reader is not known: the same page.", content(
            (String = "text/html"), (Problem = "application/problem+json"))),
        (status = 503, description = "Not available now: a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json")))))]
async fn page(State(app): State<App>, reader: Reader, headers: HeaderMap, uri: Uri) -> Response {
    let words = Words::of(&headers);
    match choice(&app, &reader).await {
        Ok(choice) => pages::preferences(words, &choice, said(&uri)),
        Err(error) => as_page(words, error),
    }
}

/// What the page shows. An old link shows nobody's address and no groups.
async fn choice(app: &App, reader: &Reader) -> Result<Choice, ApiError> {
    let _turn = app.look().await?;
    let loaded = Loaded::of(app, reader.claims.subscriber).await?;
    let (may_look, may_return) = (loaded.may_look(reader), loaded.may_return(reader));
    let masked = match may_look {
        true => Some(loaded.email_masked(app, reader.claims.subscriber).await?),
        false => None,
    };
    let group = match reader.claims.group {
        None => None,
        Some(id) => Some(match loaded.groups.get(&id) {
            Some(name) => name.clone(),
            // It was deleted, or the reader was taken out of it: its name is still known.
            None => eventstore::load::<Group>(app.commands.opt_out_pool(), id).await?.aggregate.name,
        }),
    };
    let subscriber = &loaded.subscriber;
    let is_out = |group: GroupId| subscriber.groups.get(&group) == Some(&None);
    let mut groups: Vec<GroupChoice> = match may_look {
        true => loaded.groups.iter().map(|(id, name)| group_choice(&loaded, *id, name)).collect(),
        false => Vec::new(),
    };
    // What the link cannot join it does not offer.
    groups.retain(|group| may_return || group.subscribed);
    groups.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    Ok(Choice {
        reader: masked.filter(|masked| !masked.is_empty()),
        group,
        out_of_group: reader.claims.group.is_some_and(is_out),
        out_of_everything: subscriber.global_opt_out,
        may_look,
        may_return,
        groups,
    })
}

fn group_choice(loaded: &Loaded, id: GroupId, name: &str) -> GroupChoice {
    GroupChoice { id, name: name.to_owned(), subscribed: loaded.subscriber.is_subscribed(id) }
}

/// What a button of the page asks for.
enum Action {
    /// What the link is for.
    Leave,
    LeaveAll,
    /// The groups that the page's boxes leave, and those that they join.
    Save(Vec<(GroupId, bool)>),
    /// Takes back what the link opted out of.
    Return,
}

impl Action {
    /// Any form that asks for nothing else opts out.
    fn of(fields: &[(String, String)]) -> Self {
        let action = fields.iter().find(|(name, _)| name == "action").map(|(_, value)| value.as_str());
        match action {
            Some("leave_all") => Self::LeaveAll,
            Some("save") => Self::Save(ticked(fields)),
            Some("return") => Self::Return,
            _ => Self::Leave,
        }
    }
}

impl Action {
    fn is_allowed(&self, loaded: &Loaded, reader: &Reader) -> bool {
        match self {
            Self::Save(groups) if groups.iter().all(|(_, wanted)| !wanted) => loaded.may_look(reader),
            Self::Save(_) | Self::Return => loaded.may_return(reader),
            Self::Leave | Self::LeaveAll => true,
        }
    }
}

/// A box that is ticked as it was shown says nothing: whoever left the group since, in another window or by one click, stays out.
fn ticked(fields: &[(String, String)]) -> Vec<(GroupId, bool)> {
    let named = |wanted: &str| -> HashSet<Uuid> {
        let values = fields.iter().filter(|(name, _)| name == wanted);
        values.filter_map(|(_, value)| value.parse().ok()).collect()
    };
    let (ticked, had) = (named("group"), named("had"));
    let shown = named("shown").into_iter().chain(had.iter().copied());
    let chosen = shown.map(|group| (group, ticked.contains(&group)));
    chosen.filter(|(group, on)| !(*on && had.contains(group))).collect()
}

/// A form that is not one click's. It has to come from our own page, and leads back to it.
pub(super) async fn pressed(
    app: &App,
    reader: Reader,
    parts: &Parts,
    fields: &[(String, String)],
) -> Response {
    let words = Words::of(&parts.headers);
    if !is_from_our_page(app, &parts.headers) {
        return pages::foreign_form(words);
    }
    let (action, context) = (Action::of(fields), context::plain(parts));
    let back = |said: &str| {
        // The token of the link, which the page's own address has; where another one opened the door, anything may be there.
        let is_token =
            |token: &String| token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let token = query_token(&parts.uri).filter(is_token).unwrap_or_default();
        Redirect::to(&format!("{}{said}", app.links.unsubscribe_url(&token))).into_response()
    };
    let done = match action {
        Action::Leave => {
            let scope = reader.scope();
            opt_out(app, &context, reader, scope, Channel::PreferencePage).await.map(|done| (done, ""))
        }
        Action::LeaveAll => {
            let left = opt_out(app, &context, reader, Scope::Global, Channel::PreferencePage).await;
            left.map(|done| (done, ""))
        }
        Action::Save(_) | Action::Return => match Loaded::of(app, reader.claims.subscriber).await {
            Ok(loaded) if !action.is_allowed(&loaded, &reader) => {
                return pages::old_link(words, ApiError::Unauthorized("the link can only opt out"));
            }
            Ok(loaded) => choose(app, &context, reader, &loaded, action).await,
            Err(error) => Err(error),
        },
    };
    match done {
        Ok((done, said)) => respond::with_position(back(said), &done.position),
        Err(error) => as_page(words, error),
    }
}

/// Sets what was chosen, and says what the page then says.
async fn choose(
    app: &App,
    context: &Context,
    reader: Reader,
    loaded: &Loaded,
    action: Action,
) -> Result<(Done, &'static str), ApiError> {
    let is_known = |group: &GroupId| loaded.groups.contains_key(group);
    // Whoever opts out of everything meanwhile stays so.
    let (global_opt_out, groups, said) = match action {
        Action::Save(groups) => {
            let groups = groups.into_iter().filter(|(group, _)| is_known(group)).collect();
            (None, groups, "&said=saved")
        }
        // One step back: what was opted out of last stands in front.
        _ if loaded.subscriber.global_opt_out => (Some(false), Vec::new(), "&said=returned"),
        _ => {
            let group = reader.claims.group.filter(is_known);
            (None, group.map(|group| (group, true)).into_iter().collect(), "&said=returned")
        }
    };
    let wanted =
        Preferences { subscriber: reader.claims.subscriber, global_opt_out, groups, origin: reader.origin };
    Ok((app.commands.set_preferences(context, wanted).await?, said))
}

fn as_page(words: &Words, error: ApiError) -> Response {
    match error {
        ApiError::NotFound(_) => pages::bad_link(words, error),
        other => pages::failed(words, other),
    }
}

/// The id of what the page says of the last press.
fn said(uri: &Uri) -> Option<&'static str> {
    let query = uri.query().unwrap_or_default();
    match query.split('&').find_map(|pair| pair.strip_prefix("said="))? {
        "saved" => Some("said-saved"),
        "returned" => Some("said-returned"),
        _ => None,
    }
}

/// By `Origin`, which browsers send with every form; by `Referer` where there is none.
pub(super) fn is_from_our_page(app: &App, headers: &HeaderMap) -> bool {
    let source = headers.get(header::ORIGIN).or_else(|| headers.get(header::REFERER));
    source.and_then(|value| value.to_str().ok()).is_some_and(|url| app.config.public_url.is_same_origin(url))
}
