//! A body whose checksum is compared before its end. `s3s-fs` compares when the file has its name already, and then whatever had
//! that name is gone.

use base64::prelude::{BASE64_STANDARD as BASE64, Engine};
use futures::{Stream, StreamExt};
use s3s::StdError;
use s3s::crypto::{Checksum, Sha256};
use s3s::dto::StreamingBlob;
use s3s::stream::{ByteStream, RemainingLength};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

#[derive(Debug, thiserror::Error)]
#[error("the body's SHA-256 is another one")]
struct OtherBytes;

/// Whether a body turned out to be another than was said.
#[derive(Clone, Default)]
pub struct Verdict(Arc<AtomicBool>);

impl Verdict {
    pub fn is_other(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Fails at the end of a body whose SHA-256, in base64, is not `expected`.
pub fn check(body: StreamingBlob, expected: String) -> (StreamingBlob, Verdict) {
    let verdict = Verdict::default();
    let checked = Checked { body, hash: Some(Sha256::new()), expected, verdict: verdict.clone() };
    (StreamingBlob::new(checked), verdict)
}

struct Checked {
    body: StreamingBlob,
    /// Until the end.
    hash: Option<Sha256>,
    expected: String,
    verdict: Verdict,
}

impl Stream for Checked {
    type Item = Result<bytes::Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.body.poll_next_unpin(context);
        match &polled {
            Poll::Ready(Some(Ok(bytes))) => {
                if let Some(hash) = &mut self.hash {
                    hash.update(bytes);
                }
            }
            Poll::Ready(None) => {
                let found = self.hash.take().map(|hash| BASE64.encode(hash.finalize()));
                if found.is_some_and(|found| found != self.expected) {
                    self.verdict.0.store(true, Ordering::SeqCst);
                    return Poll::Ready(Some(Err(Box::new(OtherBytes))));
                }
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }
}

impl ByteStream for Checked {
    fn remaining_length(&self) -> RemainingLength {
        self.body.remaining_length()
    }
}
