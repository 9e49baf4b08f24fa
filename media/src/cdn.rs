//! The CDN forgets what it has of a file.

use crate::calls::{Service, Unavailable, failure, register, within};
use crate::settings::CloudFront;
use aws_config::SdkConfig;
use aws_sdk_cloudfront::Client;
use aws_sdk_cloudfront::config::Builder;
use aws_sdk_cloudfront::types::{InvalidationBatch, Paths};

const CDN: Service = Service::Cdn;

pub(crate) struct Cdn {
    client: Client,
    distribution_id: String,
}

impl Cdn {
    pub fn new(sdk: &SdkConfig, settings: &CloudFront) -> Self {
        register(CDN);
        let mut builder = Builder::from(sdk);
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Self { client: Client::from_conf(builder.build()), distribution_id: settings.distribution_id.clone() }
    }

    /// `reference`: of two invalidations that bear the same, one is done
    /// (<https://docs.aws.amazon.com/cloudfront/latest/APIReference/API_InvalidationBatch.html>).
    pub async fn invalidate(&self, key: &str, reference: String) -> Result<(), Unavailable> {
        let paths = Paths::builder().quantity(1).items(format!("/{key}")).build();
        let batch = paths
            .and_then(|paths| InvalidationBatch::builder().caller_reference(reference).paths(paths).build());
        let batch = batch.map_err(|error| Unavailable::new(CDN, error.to_string()))?;
        let call = self
            .client
            .create_invalidation()
            .distribution_id(&self.distribution_id)
            .invalidation_batch(batch);
        within(CDN, call.send()).await?.map_err(|error| failure(CDN, &error))?;
        Ok(())
    }
}
