//! The routes, a file for each group of them.

mod account_links;
mod api_keys;
mod auth;
mod docs;
mod emails;
mod groups;
mod health;
mod imports;
mod jwks;
mod media;
mod members;
mod oauth;
mod opt_outs;
mod preference_page;
mod preferences;
mod preview;
mod progress;
mod recipients;
mod report;
mod schedule;
mod security_events;
mod sessions;
mod staff_opt_out;
mod subscriber_history;
mod subscribers;
mod subscriptions;
mod templates;
mod test_mail;
mod unsubscribe;
mod users;

use crate::access::Routes;
use crate::state::App;

pub(crate) fn all(app: &App) -> Vec<Routes> {
    let groups = [
        auth::routes,
        account_links::routes,
        oauth::routes,
        sessions::routes,
        users::routes,
        api_keys::routes,
        security_events::routes,
        opt_outs::routes,
        staff_opt_out::routes,
        subscriber_history::routes,
        groups::routes,
        members::routes,
        subscribers::routes,
        subscriptions::routes,
        imports::routes,
        templates::routes,
        media::routes,
        test_mail::routes,
        emails::routes,
        schedule::routes,
        report::routes,
        recipients::routes,
        progress::routes,
        preferences::routes,
        preference_page::routes,
        unsubscribe::routes,
        health::routes,
        jwks::routes,
        docs::routes,
    ];
    groups.into_iter().map(|routes: fn(&App) -> Routes| routes(app)).collect()
}
