//! The REST API: routes, the pages that readers see, and the reference. The only crate that knows HTTP.
//!
//! - Each route has an [`access::Access`]; the router takes none without.
//! - [`problem`] alone knows the status codes of errors.
//! - Handlers read one thing or command one thing. What may be done is decided inside; what was done is read from
//!   read models, or from the streams where a reader must see their own choice at once.
//! - Query strings are never logged: the links in mails carry tokens there. Personal data is opened here, on its way
//!   out, and is in no log and no error.

mod access;
mod body;
mod client;
mod compression;
mod config;
mod context;
mod cors;
mod csv_rows;
mod edge;
mod endpoints;
mod input;
mod limits;
mod link_keys;
mod metrics;
mod oidc;
mod openapi;
mod pages;
mod personal;
mod problem;
mod reader;
mod respond;
mod router;
mod server;
mod shares;
mod state;
mod streams;
mod tokens;
mod upload;
mod visit;

pub use config::{ApiConfig, ConfigError, Origin, PublicUrl};
pub use edge::{Peer, around};
pub use limits::Limits;
pub use link_keys::{LINK_KEYS, load_link_keys};
pub use oidc::{OAUTH_STATE_KEYS, ProviderConfig, ProviderConfigError, Providers};
pub use router::router;
pub use server::{Connections, serve};
pub use state::Deps;
pub use tokens::{ACCESS_KEYS, AccessClaims, AccessKeys};
