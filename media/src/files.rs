//! The files of media in their bucket.

use crate::Unavailable;
use crate::cdn::Cdn;
use crate::recognise::{HEAD_MAX_BYTES, Recognised, recognise};
use crate::settings::{CALL_TIME, Settings};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode};
use base64::prelude::{BASE64_STANDARD as BASE64, Engine};
use domain::media::{Found, Sha256, Upload};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

pub(crate) const WHAT: &str = "the object store";
/// A call, and what it takes to have credentials for it.
const WAIT_MAX: Duration = CALL_TIME.saturating_add(Duration::from_secs(2));

pub struct Files {
    pub(crate) s3: Client,
    pub(crate) bucket: String,
    public_url: String,
    max_bytes: u64,
    cdn: Option<Cdn>,
}

/// How a client uploads one file. Whoever has it may upload that file, and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedUpload {
    pub url: String,
    /// To be sent with it as they are; `Content-Length`, which is signed as well, apart.
    pub headers: BTreeMap<String, String>,
}

impl Files {
    pub async fn new(settings: &Settings) -> Self {
        let sdk = settings.sdk().await;
        let mut builder = aws_sdk_s3::config::Builder::from(&sdk).force_path_style(settings.path_style);
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Self {
            s3: Client::from_conf(builder.build()),
            bucket: settings.bucket.clone(),
            public_url: settings.public_url.trim_end_matches('/').to_owned(),
            max_bytes: settings.max_bytes,
            cdn: settings.cloudfront.as_ref().map(|cloudfront| Cdn::new(&sdk, cloudfront)),
        }
    }

    /// Of one file.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Where everybody finds it.
    pub fn url(&self, key: &str) -> String {
        format!("{}/{key}", self.public_url)
    }

    /// A signed PUT. The same upload has the same signature, whenever it is asked for. Nobody is asked, but for credentials.
    pub async fn sign(&self, upload: &Upload) -> Result<SignedUpload, Unavailable> {
        let unsigned = |reason: String| Unavailable { what: WHAT, reason };
        let time = (upload.expires_at - upload.requested_at)
            .to_std()
            .map_err(|error| unsigned(error.to_string()))?;
        let presigning = PresigningConfig::builder()
            .start_time(SystemTime::from(upload.requested_at))
            .expires_in(time)
            .build()
            .map_err(|error| unsigned(error.to_string()))?;
        let put = self
            .s3
            .put_object()
            .bucket(&self.bucket)
            .key(&upload.key)
            .content_type(upload.content_type.as_str())
            .content_length(upload.size_bytes.cast_signed())
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(BASE64.encode(upload.sha256.0));
        let signed = within(WHAT, Box::pin(put.presigned(presigning)))
            .await?
            .map_err(|error| failure(WHAT, &error))?;
        let headers = signed.headers().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
        Ok(SignedUpload {
            url: signed.uri().to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        })
    }

    /// What is at a key; `None`: nothing.
    pub async fn look(&self, key: &str) -> Result<Option<Found>, Unavailable> {
        let head = self.s3.head_object().bucket(&self.bucket).key(key).checksum_mode(ChecksumMode::Enabled);
        let head = match within(WHAT, Box::pin(head.send())).await? {
            Ok(head) => head,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => {
                return Ok(None);
            }
            Err(error) => return Err(failure(WHAT, &error)),
        };
        let Recognised { media_type, dimensions } = match head.content_length() {
            None | Some(0) => recognise(&[]),
            Some(_) => recognise(&self.first_bytes(key, head.e_tag()).await?),
        };
        Ok(Some(Found {
            size_bytes: head.content_length().unwrap_or_default().cast_unsigned(),
            sha256: sha256(&head),
            content_type: head.content_type().map(str::to_owned),
            recognised: media_type,
            dimensions,
        }))
    }

    /// Of the very object that was looked at. Even if the store takes no notice of the range, no more is read.
    async fn first_bytes(&self, key: &str, e_tag: Option<&str>) -> Result<Vec<u8>, Unavailable> {
        let get = self
            .s3
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .range(format!("bytes=0-{}", HEAD_MAX_BYTES - 1))
            .set_if_match(e_tag.map(str::to_owned));
        let read = async {
            let mut body = get.send().await.map_err(|error| failure(WHAT, &error))?.body;
            let mut head = Vec::new();
            while head.len() < HEAD_MAX_BYTES
                && let Some(chunk) = body.next().await
            {
                let chunk =
                    chunk.map_err(|_| Unavailable { what: WHAT, reason: "the answer broke off".into() })?;
                head.extend_from_slice(&chunk[..chunk.len().min(HEAD_MAX_BYTES - head.len())]);
            }
            Ok(head)
        };
        within(WHAT, Box::pin(read)).await?
    }

    /// The CDN may have kept that there was nothing.
    pub async fn publish(&self, key: &str) -> Result<(), Unavailable> {
        self.forget(key, "published").await
    }

    /// Also where nothing is there. `again`: it was removed before, and may have come back.
    pub async fn remove(&self, key: &str, again: bool) -> Result<(), Unavailable> {
        let delete = self.s3.delete_object().bucket(&self.bucket).key(key);
        match within(WHAT, delete.send()).await? {
            Ok(_) => {}
            Err(error) if error.code() == Some("NoSuchKey") => {}
            Err(error) => return Err(failure(WHAT, &error)),
        }
        self.forget(key, if again { "removed-again" } else { "removed" }).await
    }

    /// Whether the store answers at all.
    pub async fn reach(&self) -> Result<(), Unavailable> {
        let head = self.s3.head_bucket().bucket(&self.bucket);
        within(WHAT, head.send()).await?.map(drop).map_err(|error| failure(WHAT, &error))
    }

    async fn forget(&self, key: &str, why: &str) -> Result<(), Unavailable> {
        match &self.cdn {
            Some(cdn) => cdn.invalidate(key, format!("postledger-{why}-{key}")).await,
            None => Ok(()),
        }
    }
}

/// The checksum that the store keeps of the whole object, as base64
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>).
fn sha256(head: &HeadObjectOutput) -> Option<Sha256> {
    let bytes = BASE64.decode(head.checksum_sha256()?).ok()?;
    bytes.try_into().ok().map(Sha256)
}

/// The SDK's own limits do not count what it does before and behind a call: credentials, the body.
pub(crate) async fn within<T>(what: &'static str, call: impl Future<Output = T>) -> Result<T, Unavailable> {
    let answer = tokio::time::timeout(WAIT_MAX, call).await;
    answer.map_err(|_| Unavailable { what, reason: "no answer in time".into() })
}

/// A code, or the kind of failure: the SDK's texts may quote a request.
pub(crate) fn failure<E: ProvideErrorMetadata, R>(what: &'static str, error: &SdkError<E, R>) -> Unavailable {
    let reason = match error {
        SdkError::ConstructionFailure(_) => "the request could not be made",
        SdkError::TimeoutError(_) => "no answer in time",
        SdkError::DispatchFailure(_) => "not reached",
        SdkError::ResponseError(_) => "the answer could not be read",
        _ => error.code().unwrap_or("an error without a code"),
    };
    Unavailable { what, reason: reason.to_owned() }
}
