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
        let is_public = matches!(cx.s3_path(), S3Path::Object { key, .. } if is_below(PUBLIC, key));
        match cx.credentials().is_some() || (reads && is_public) {
            true => Ok(()),
            false => Err(s3_error!(AccessDenied, "a signature is required")),
        }
    }
}

/// To the folder that the files are in, dots are no part of a name.
fn is_below(folder: &str, key: &str) -> bool {
    key.starts_with(folder) && key.split('/').all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_dots_lead_out_of_what_is_public() {
        assert!(is_below(PUBLIC, "media/1/a..b.png"));
        for key in ["media/..", "media/../secret", "media/1/../../../other/secret", "other/media/x", "media"]
        {
            assert!(!is_below(PUBLIC, key), "{key}");
        }
    }
}
