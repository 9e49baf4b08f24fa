//! What an operator sets under `[media]`.

use super::secrets::Secret;
use anyhow::ensure;
use media::{CloudFront, Credentials, Settings};
use serde::Deserialize;
use std::path::PathBuf;

/// The largest file that S3 takes in one PUT (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>).
const MAX_BYTES: u64 = 5 * 1024 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// Empty: there are no media.
    bucket: String,
    region: String,
    endpoint: String,
    path_style: bool,
    access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
    pub secret_access_key_file: Option<PathBuf>,
    public_url: String,
    max_bytes: u64,
    cloudfront_distribution: String,
    cloudfront_endpoint: String,
}

impl Media {
    pub fn check(&self) -> anyhow::Result<()> {
        if self.bucket.is_empty() {
            return Ok(());
        }
        let urls = [
            ("public_url", Some(&self.public_url)),
            ("endpoint", given(&self.endpoint)),
            ("cloudfront_endpoint", given(&self.cloudfront_endpoint)),
        ];
        for (name, url) in urls {
            let is_url = |url: &String| {
                let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
                rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['?', '#', ' ', '"', '\'', '<']))
            };
            ensure!(
                url.is_none_or(is_url),
                "media.{name} must be an address that begins with https:// or http://"
            );
        }
        ensure!((1..=MAX_BYTES).contains(&self.max_bytes), "media.max_bytes must be 1 to {MAX_BYTES}");
        ensure!(
            self.access_key_id.is_some() == self.secret_access_key.is_some(),
            "media.access_key_id and media.secret_access_key are set together, or neither"
        );
        Ok(())
    }

    /// What URLs of files begin with, without a slash at its end.
    pub fn public_url(&self) -> &str {
        self.public_url.trim_end_matches('/')
    }

    /// `None`: there are no media.
    pub fn settings(&self) -> Option<Settings> {
        let bucket = given(&self.bucket)?.clone();
        let keys = self.access_key_id.as_ref().zip(self.secret_access_key.as_ref());
        let distribution = given(&self.cloudfront_distribution).cloned();
        Some(Settings {
            bucket,
            region: self.region.clone(),
            endpoint: given(&self.endpoint).cloned(),
            path_style: self.path_style,
            credentials: keys
                .map(|(id, secret)| Credentials::new(id, secret.expose(), None, None, "configuration")),
            public_url: self.public_url().to_owned(),
            max_bytes: self.max_bytes,
            cloudfront: distribution.map(|distribution_id| CloudFront {
                distribution_id,
                endpoint: given(&self.cloudfront_endpoint).cloned(),
            }),
        })
    }
}

fn given(text: &String) -> Option<&String> {
    Some(text).filter(|text| !text.is_empty())
}
