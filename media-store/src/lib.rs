//! The object store of the development stack: S3's protocol over a folder, with signatures checked. Files below `media/` are
//! readable by everybody, as a CDN would make them. For development alone: one key, no TLS.

mod access;
mod checked;
mod cors;
mod store;

use cors::Cors;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use std::path::PathBuf;
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub struct Options {
    /// A folder for each bucket. It is made where it is missing.
    pub dir: PathBuf,
    pub access_key_id: String,
    pub secret_access_key: String,
}

/// Until `stop`.
pub async fn serve(listener: TcpListener, options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    tokio::fs::create_dir_all(&options.dir).await?;
    let cors = Cors::default();
    let mut builder = S3ServiceBuilder::new(Store::open(&options.dir, cors.clone())?);
    builder.set_auth(SimpleAuth::from_single(options.access_key_id, options.secret_access_key));
    builder.set_access(access::PublicMedia);
    let service = cors::Layered { inner: builder.build(), cors };
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        // A connection that is gone before it was taken is no reason to end.
        let Ok((connection, _)) = accepted else { continue };
        let (service, stop) = (service.clone(), stop.clone());
        tokio::spawn(async move {
            let server = Builder::new(TokioExecutor::new());
            let serving = server.serve_connection(TokioIo::new(connection), service);
            // What a client breaks off is its own business.
            let _ = stop.run_until_cancelled(serving).await;
        });
    }
    Ok(())
}
