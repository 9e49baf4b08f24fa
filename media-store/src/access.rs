//! Who may do what: everything for who signs, reading media for everybody.

use s3s::access::{S3Access, S3AccessContext};
use s3s::path::S3Path;
use s3s::{S3Result, s3_error};

const PUBLIC: &str = "media/";

pub struct PublicMedia;

#[async_trait::async_trait]
impl S3Access for PublicMedia {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let reads = matches!(cx.s3_op().name(), "GetObject" | "HeadObject");
        let is_public = matches!(cx.s3_path(), S3Path::Object { key, .. } if key.starts_with(PUBLIC));
        match cx.credentials().is_some() || (reads && is_public) {
            true => Ok(()),
            false => Err(s3_error!(AccessDenied, "a signature is required")),
        }
    }
}
