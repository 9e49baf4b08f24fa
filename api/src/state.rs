//! What every handler can reach.

use crate::limits::Limiters;
use crate::link_keys::ReaderKeys;
use crate::problem::ApiError;
use crate::shares::Shares;
use crate::{AccessKeys, ApiConfig, Providers};
use bytes::Bytes;
use commands::Commands;
use mail::links::{LinkKeys, Links};
use media::Files;
use projections::Waits;
use sqlx::PgPool;
use std::sync::{Arc, OnceLock};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

/// Templates that are compiled or rendered at once: it is work for the processor alone.
const RENDERS_MAX: usize = 4;

/// What the API is made of.
pub struct Deps {
    pub commands: Commands,
    /// For queries. Commands and opt-outs have pools of their own.
    pub pool: PgPool,
    pub link_keys: Arc<LinkKeys>,
    pub access_keys: Arc<AccessKeys>,
    pub providers: Arc<Providers>,
    /// `None`: there are no media.
    pub media: Option<Arc<Files>>,
    pub config: ApiConfig,
    /// The process is about to end: it is not ready any more.
    pub leaving: CancellationToken,
    /// Ends streams that would otherwise hold up the server's shutdown.
    pub shutdown: CancellationToken,
}

pub(crate) type App = Arc<AppState>;

pub(crate) struct AppState {
    pub commands: Commands,
    pub pool: PgPool,
    pub waits: Waits,
    pub link_keys: ReaderKeys,
    pub links: Links,
    pub access_keys: Arc<AccessKeys>,
    pub providers: Arc<Providers>,
    pub media: Option<Arc<Files>>,
    pub config: ApiConfig,
    pub leaving: CancellationToken,
    pub shutdown: CancellationToken,
    pub limiters: Limiters,
    pub streams: Arc<Semaphore>,
    pub streams_each: Shares<String>,
    pub renders: Arc<Semaphore>,
    /// Readers' preferences that are looked at at once.
    looks: Semaphore,
    /// The reference, once all routes are known.
    pub openapi: OnceLock<Bytes>,
}

impl From<Deps> for AppState {
    fn from(deps: Deps) -> Self {
        Self {
            link_keys: ReaderKeys::new(
                deps.commands.opt_out_pool().clone(),
                deps.commands.store.master.clone(),
                deps.link_keys,
            ),
            links: Links::new(deps.config.public_url.as_str()),
            limiters: Limiters::new(&deps.config.limits, &deps.commands.passwords),
            streams: Arc::new(Semaphore::new(deps.config.limits.streams)),
            streams_each: Shares::new(deps.config.limits.streams_per_client),
            renders: Arc::new(Semaphore::new(RENDERS_MAX)),
            looks: Semaphore::new(looks_max(deps.commands.opt_out_pool())),
            openapi: OnceLock::new(),
            commands: deps.commands,
            waits: Waits::start(deps.pool.clone()),
            pool: deps.pool,
            access_keys: deps.access_keys,
            providers: deps.providers,
            media: deps.media,
            config: deps.config,
            leaving: deps.leaving,
            shutdown: deps.shutdown,
        }
    }
}

impl AppState {
    /// A turn to look at somebody's preferences; to be held while the database is asked.
    pub async fn look(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.looks.acquire().await.map_err(|_| ApiError::Internal)
    }
}

/// Scanners open every link of a campaign within a minute, by the connections that opt-outs have: half of them, so that who
/// leaves meanwhile does not stand behind them all.
fn looks_max(opt_outs: &PgPool) -> usize {
    (opt_outs.options().get_max_connections() as usize / 2).max(1)
}
