//! A body that streams in: bounded in size, and given up where it stalls.

use crate::body::content_length;
use crate::problem::ApiError;
use crate::state::App;
use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::HeaderMap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("it is too large")]
    TooLarge,
    #[error("it stalled")]
    Stalled,
    #[error("the connection ended")]
    Broken,
}

/// Keeps why a body ended early, for the answer.
#[derive(Clone)]
pub(crate) struct Verdict {
    max_bytes: u64,
    cause: Arc<OnceLock<UploadError>>,
}

impl Verdict {
    /// The transport's error, if there was one, in the place of what followed from it.
    pub fn over(&self, error: ApiError) -> ApiError {
        match self.cause.get() {
            None => error,
            Some(UploadError::TooLarge) => ApiError::TooLarge { max_bytes: self.max_bytes },
            Some(UploadError::Stalled) => ApiError::Stalled,
            Some(UploadError::Broken) => ApiError::Malformed("the body broke off".to_owned()),
        }
    }
}

struct Upload {
    chunks: BodyDataStream,
    left: u64,
    idle: Duration,
    cause: Arc<OnceLock<UploadError>>,
}

pub(crate) type UploadStream = Pin<Box<dyn Stream<Item = Result<Bytes, UploadError>> + Send>>;

pub(crate) fn stream(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<(UploadStream, Verdict), ApiError> {
    let max_bytes = app.config.import_max_bytes;
    if content_length(headers).is_some_and(|length| length > max_bytes) {
        return Err(ApiError::TooLarge { max_bytes });
    }
    let verdict = Verdict { max_bytes, cause: Arc::default() };
    let cause = verdict.cause.clone();
    let upload =
        Upload { chunks: body.into_data_stream(), left: max_bytes, idle: app.config.upload_idle, cause };
    Ok((Box::pin(futures::stream::unfold(Some(upload), Upload::step)), verdict))
}

impl Upload {
    async fn step(upload: Option<Self>) -> Option<(Result<Bytes, UploadError>, Option<Self>)> {
        let mut upload = upload?;
        match upload.next().await? {
            Ok(bytes) => Some((Ok(bytes), Some(upload))),
            Err(error) => {
                // There is one cause only: the stream ends with it.
                let _ = upload.cause.set(error);
                Some((Err(error), None))
            }
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, UploadError>> {
        let chunk = match tokio::time::timeout(self.idle, self.chunks.next()).await {
            Err(_) => return Some(Err(UploadError::Stalled)),
            Ok(chunk) => chunk?,
        };
        Some(chunk.map_err(|_| UploadError::Broken).and_then(|bytes| {
            self.left = self.left.checked_sub(bytes.len() as u64).ok_or(UploadError::TooLarge)?;
            Ok(bytes)
        }))
    }
}
