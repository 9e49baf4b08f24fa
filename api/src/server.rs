//! Serves a router over HTTP/1.1, with limits that `axum::serve` has not: on the time that headers may take, on
//! connections, and on the time that the end may take. TLS and HTTP/2 are the gateway's.

use crate::client::is_trusted;
use crate::edge::Peer;
use crate::limits::Limits;
use crate::shares::{Share, Shares};
use axum::Router;
use axum::body::Body;
use domain::Network;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// A request's head has to be there within this time, and the next request on a connection, too.
const HEADER_TIME: Duration = Duration::from_secs(15);
const HEADERS_MAX: usize = 100;
const HEAD_MAX_BYTES: usize = 64 * 1024;
/// A connection ends after this time, whatever is on it: nobody holds one for ever by not reading.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(2 * 3600);
/// What is under way when the end comes has this long.
const DRAIN: Duration = Duration::from_secs(30);
/// When no connection can be taken (most likely for want of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections there may be at once.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Others wait in the listener's queue.
    pub max: usize,
    /// Of one network; more are closed at once.
    pub per_network_max: usize,
    /// These bring the connections of many.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for Connections {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            max: limits.connections,
            per_network_max: limits.connections_per_address,
            trusted_proxies: Vec::new(),
        }
    }
}

/// Serves until `shutdown`, then waits for what is under way.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Connections,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "the API listens");
    let slots = Arc::new(Semaphore::new(limits.max));
    let networks = Shares::new(limits.per_network_max);
    let connections = TaskTracker::new();
    while let Some(slot) = free_slot(&slots, &shutdown).await {
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let is_proxy = is_trusted(peer.ip().to_canonical(), &limits.trusted_proxies);
                    let share = networks.take(Network::of(peer.ip()));
                    if share.is_some() || is_proxy {
                        let held = (slot, share);
                        connections.spawn(connection(stream, peer, router.clone(), shutdown.clone(), held));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn free_slot(slots: &Arc<Semaphore>, shutdown: &CancellationToken) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        () = shutdown.cancelled() => None,
        slot = slots.clone().acquire_owned() => slot.ok(),
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
    _held: (OwnedSemaphorePermit, Option<Share<Network>>),
) {
    // Answers are whole when they are written: nothing is gained by waiting for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request.map(Body::new)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    http.max_headers(HEADERS_MAX).max_buf_size(HEAD_MAX_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return log(ended),
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(CONNECTION_LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    match tokio::time::timeout(DRAIN, connection).await {
        Ok(ended) => log(ended),
        Err(_) => tracing::warn!("a connection was cut off: its last request took too long"),
    }
}

/// Clients that go away are nothing to tell an operator.
fn log(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
