//! What Postledger asks of a store, and no more, by `s3s-fs`.

use crate::checked;
use crate::cors::Cors;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use std::path::Path;

pub struct Store {
    files: FileSystem,
    cors: Cors,
}

impl Store {
    pub fn open(dir: &Path, cors: Cors) -> anyhow::Result<Self> {
        let files = FileSystem::new(dir).map_err(|error| anyhow::anyhow!("{}: {error:?}", dir.display()))?;
        Ok(Self { files, cors })
    }
}

type Answer<T> = S3Result<S3Response<T>>;

#[async_trait::async_trait]
impl S3 for Store {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
        self.files.create_bucket(request).await
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        self.files.head_bucket(request).await
    }

    async fn put_bucket_cors(&self, request: S3Request<PutBucketCorsInput>) -> Answer<PutBucketCorsOutput> {
        let PutBucketCorsInput { bucket, cors_configuration, .. } = request.input;
        self.cors.set(bucket, cors_configuration.cors_rules);
        Ok(S3Response::new(PutBucketCorsOutput {}))
    }

    async fn delete_bucket_cors(
        &self,
        request: S3Request<DeleteBucketCorsInput>,
    ) -> Answer<DeleteBucketCorsOutput> {
        self.cors.set(request.input.bucket, Vec::new());
        Ok(S3Response::new(DeleteBucketCorsOutput {}))
    }

    async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let (Some(body), Some(sha256)) = (request.input.body.take(), request.input.checksum_sha256.clone())
        else {
            return Err(s3_error!(InvalidRequest, "this store wants x-amz-checksum-sha256"));
        };
        let (body, verdict) = checked::check(body, sha256);
        request.input.body = Some(body);
        let done = self.files.put_object(request).await;
        match verdict.is_other() {
            true => Err(s3_error!(BadDigest)),
            false => done,
        }
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        self.files.head_object(request).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        self.files.get_object(request).await
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        self.files.delete_object(request).await
    }
}
