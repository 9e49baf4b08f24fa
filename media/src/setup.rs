//! Makes the bucket what uploads from browsers need it to be.

use crate::Files;
use crate::calls::{Unavailable, failure, within};
use crate::files::STORE;
use aws_sdk_s3::config::Region;
use aws_sdk_s3::types::{BucketLocationConstraint, CorsConfiguration, CorsRule, CreateBucketConfiguration};

const FIRST_REGION: &str = "us-east-1";
/// Browsers ask again after this time.
const CORS_MAX_AGE_SECONDS: i32 = 3_600;
/// All that a signed upload is sent with.
const HEADERS: [&str; 3] = ["content-type", "x-amz-checksum-sha256", "x-amz-sdk-checksum-algorithm"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetUp {
    pub made_bucket: bool,
}

impl Files {
    /// Makes the bucket where there is none, and lets pages of these origins upload to it. Nobody but them: the rules that
    /// the bucket had are replaced.
    pub async fn set_up(&self, origins: &[String]) -> Result<SetUp, Unavailable> {
        let made_bucket = !self.has_bucket().await?;
        if made_bucket {
            self.make_bucket().await?;
        }
        match origins {
            [] => {
                let forget = self.s3.delete_bucket_cors().bucket(&self.bucket);
                within(STORE, forget.send()).await?.map_err(|error| failure(STORE, &error))?;
            }
            origins => self.allow(origins).await?,
        }
        Ok(SetUp { made_bucket })
    }

    /// Amazon wants the region to be named, unless it is its first.
    async fn make_bucket(&self) -> Result<(), Unavailable> {
        let region = self.s3.config().region().map(Region::as_ref).filter(|region| *region != FIRST_REGION);
        let place = region.map(|region| {
            let place = BucketLocationConstraint::from(region);
            CreateBucketConfiguration::builder().location_constraint(place).build()
        });
        let create = self.s3.create_bucket().bucket(&self.bucket).set_create_bucket_configuration(place);
        within(STORE, create.send()).await?.map(drop).map_err(|error| failure(STORE, &error))
    }

    async fn has_bucket(&self) -> Result<bool, Unavailable> {
        match within(STORE, self.s3.head_bucket().bucket(&self.bucket).send()).await? {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => Ok(false),
            Err(error) => Err(failure(STORE, &error)),
        }
    }

    async fn allow(&self, origins: &[String]) -> Result<(), Unavailable> {
        let rule = CorsRule::builder()
            .set_allowed_origins(Some(origins.to_vec()))
            .allowed_methods("PUT")
            .set_allowed_headers(Some(HEADERS.map(str::to_owned).to_vec()))
            .max_age_seconds(CORS_MAX_AGE_SECONDS)
            .build();
        let cors = rule.and_then(|rule| CorsConfiguration::builder().cors_rules(rule).build());
        let cors = cors.map_err(|error| Unavailable::new(STORE, error.to_string()))?;
        let put = self.s3.put_bucket_cors().bucket(&self.bucket).cors_configuration(cors);
        within(STORE, put.send()).await?.map_err(|error| failure(STORE, &error))?;
        Ok(())
    }
}
