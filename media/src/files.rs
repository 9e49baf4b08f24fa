//! The files of media in their bucket.

use crate::calls::{Service, Unavailable, failure, register, within};
use crate::cdn::Cdn;
use crate::recognise::{HEAD_MAX_BYTES, Recognised, recognise};
use crate::settings::Settings;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode};
use base64::prelude::{BASE64_STANDARD as BASE64, Engine};
use domain::media::{Found, Sha256, Upload};
use std::collections::BTreeMap;
use std::time::SystemTime;

pub(crate) const STORE: Service = Service::ObjectStore;

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
        register(STORE);
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
        let unsigned = |reason: String| Unavailable::new(STORE, reason);
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
        let signed = within(STORE, Box::pin(put.presigned(presigning)))
            .await?
            .map_err(|error| failure(STORE, &error))?;
        let headers = signed.headers().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
        Ok(SignedUpload {
            url: signed.uri().to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        })
    }

    /// What is at a key; `None`: nothing.
    pub async fn look(&self, key: &str) -> Result<Option<Found>, Unavailable> {
        let head = self.s3.head_object().bucket(&self.bucket).key(key).checksum_mode(ChecksumMode::Enabled);
        let head = match within(STORE, head.send()).await? {
            Ok(head) => head,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => {
                return Ok(None);
            }
            Err(error) => return Err(failure(STORE, &error)),
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
            let mut body = get.send().await.map_err(|error| failure(STORE, &error))?.body;
            let mut head = Vec::new();
            while head.len() < HEAD_MAX_BYTES
                && let Some(chunk) = body.next().await
            {
                let chunk = chunk.map_err(|_| Unavailable::new(STORE, "the answer broke off"))?;
                head.extend_from_slice(&chunk[..chunk.len().min(HEAD_MAX_BYTES - head.len())]);
            }
            Ok(head)
        };
        within(STORE, read).await?
    }

    /// The CDN may have kept that there was nothing.
    pub async fn publish(&self, key: &str) -> Result<(), Unavailable> {
        self.forget(key, "published").await
    }

    /// Also where nothing is there. `again`: it was removed before, and may have come back.
    pub async fn remove(&self, key: &str, again: bool) -> Result<(), Unavailable> {
        let delete = self.s3.delete_object().bucket(&self.bucket).key(key);
        match within(STORE, delete.send()).await? {
            Ok(_) => {}
            Err(error) if error.code() == Some("NoSuchKey") => {}
            Err(error) => return Err(failure(STORE, &error)),
        }
        self.forget(key, if again { "removed-again" } else { "removed" }).await
    }

    /// Whether the store answers at all.
    pub async fn reach(&self) -> Result<(), Unavailable> {
        let head = self.s3.head_bucket().bucket(&self.bucket);
        within(STORE, head.send()).await?.map(drop).map_err(|error| failure(STORE, &error))
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
