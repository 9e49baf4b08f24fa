//! Which store, which CDN, and how they are reached.

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
pub use aws_sdk_s3::config::Credentials;
use std::time::Duration;

const CONNECT_TIME: Duration = Duration::from_secs(2);
const ATTEMPT_TIME: Duration = Duration::from_secs(3);
/// Of one call with what is tried again.
pub(crate) const CALL_TIME: Duration = Duration::from_secs(5);
/// Everything that is asked of them may be asked again.
const ATTEMPTS: u32 = 2;

#[derive(Debug, Clone)]
pub struct Settings {
    pub bucket: String,
    pub region: String,
    /// `None`: Amazon's.
    pub endpoint: Option<String>,
    /// The bucket is in the path and not in the host's name.
    pub path_style: bool,
    /// `None`: by AWS's own chain (environment, profile, container, machine).
    pub credentials: Option<Credentials>,
    /// What URLs of files begin with: the CDN's, or the bucket's own.
    pub public_url: String,
    /// Of one file.
    pub max_bytes: u64,
    pub cloudfront: Option<CloudFront>,
}

#[derive(Debug, Clone)]
pub struct CloudFront {
    pub distribution_id: String,
    /// `None`: Amazon's.
    pub endpoint: Option<String>,
}

impl Settings {
    pub(crate) async fn sdk(&self) -> SdkConfig {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIME)
            .operation_attempt_timeout(ATTEMPT_TIME)
            .operation_timeout(CALL_TIME)
            .build();
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        match &self.credentials {
            Some(credentials) => loader.credentials_provider(credentials.clone()).load().await,
            None => loader.load().await,
        }
    }
}
