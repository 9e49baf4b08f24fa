//! A body that streams in: bounded in size, and given up where it stalls.

use crate::body::content_length;
use crate::problem::ApiError;
use crate::state::App;
use axum::body::{Body, BodyDataStream};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::HeaderMap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Of a form's file, between who receives and who writes.
const PIECES_MAX: usize = 4;

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

/// The file of a form (`curl -F file=@readers.csv`), as it streams in; what stands before it is not looked at, nor what follows.
pub(crate) async fn file_of_form(
    headers: &HeaderMap,
    body: UploadStream,
    verdict: &Verdict,
) -> Result<UploadStream, ApiError> {
    let malformed = || ApiError::Malformed("the body is not the form that its type says".to_owned());
    let mut request = Request::new(Body::from_stream(body));
    *request.headers_mut() = headers.clone();
    // The stream has its own bound.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| malformed())?;
    let (pieces, file) = mpsc::channel(PIECES_MAX);
    let (found, is_found) = oneshot::channel();
    let cause = verdict.cause.clone();
    // The file borrows the form: both live in a task, which ends with whoever reads.
    tokio::spawn(async move {
        while let Ok(Some(mut field)) = form.next_field().await {
            if field.name() != Some("file") {
                continue;
            }
            let _ = found.send(());
            loop {
                let piece = match field.chunk().await {
                    Ok(None) => return,
                    Ok(Some(piece)) => Ok(piece),
                    Err(_) => Err(UploadError::Broken),
                };
                let is_last = piece.is_err();
                if is_last {
                    // Unless the stream below said why.
                    let _ = cause.set(UploadError::Broken);
                }
                if pieces.send(piece).await.is_err() || is_last {
                    return;
                }
            }
        }
    });
    is_found.await.map_err(|_| ApiError::invalid("file", "is missing from the form"))?;
    let next = |mut file: mpsc::Receiver<_>| async move { file.recv().await.map(|piece| (piece, file)) };
    Ok(Box::pin(futures::stream::unfold(file, next)))
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
