//! AWS as moto plays it: S3 and CloudFront by a program that is not ours. It verifies no signature.

use crate::process::Process;
use crate::temp::TempDir;
use crate::{Settings, eventually, script};
use std::process::Command;
use std::time::Duration;

const STARTS_WITHIN: Duration = Duration::from_secs(60);
const BUCKET: &str = "postledger-media";

pub struct Moto {
    pub url: String,
    http: reqwest::Client,
    _process: Process,
    _dir: TempDir,
}

impl Moto {
    /// `None`, and a word on it, where it was not fetched.
    pub async fn start() -> Option<Self> {
        let server = script::path("POSTLEDGER_TEST_MOTO")?;
        let dir = TempDir::new("moto");
        let log = dir.path().join("log");
        let mut command = Command::new(server);
        command.args(["-H", "127.0.0.1", "-p", "0"]).env("PYTHONUNBUFFERED", "1");
        let mut process = Process::start("moto", &mut command, &log);
        let url = eventually("moto listens", STARTS_WITHIN, async || {
            let said = std::fs::read_to_string(&log).unwrap();
            if let Some(status) = process.ended() {
                panic!("moto ended: {status}: {said}");
            }
            let (_, rest) = said.split_once("Running on ")?;
            rest.lines().next().map(|line| line.trim().to_owned())
        })
        .await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Some(Self { url, http, _process: process, _dir: dir })
    }

    /// Makes a distribution before the bucket; its id.
    pub async fn distribute(&self) -> String {
        let config = format!(
            "<DistributionConfig><CallerReference>e2e</CallerReference><Comment>e2e</Comment><Enabled>true</Enabled>
             <Origins><Quantity>1</Quantity><Items><Origin><Id>s3</Id><DomainName>{BUCKET}.s3.amazonaws.com</DomainName>
             <S3OriginConfig><OriginAccessIdentity></OriginAccessIdentity></S3OriginConfig></Origin></Items></Origins>
             <DefaultCacheBehavior><TargetOriginId>s3</TargetOriginId><ViewerProtocolPolicy>allow-all</ViewerProtocolPolicy>
             </DefaultCacheBehavior></DistributionConfig>"
        );
        let made =
            self.cloudfront(reqwest::Method::POST, "/2020-05-31/distribution").body(config).send().await;
        let made = made.unwrap();
        assert_eq!(made.status(), 201);
        between(&made.text().await.unwrap(), "Id")
    }

    /// The paths that were invalidated, in their order.
    pub async fn invalidated(&self, distribution: &str) -> Vec<String> {
        let path = format!("/2020-05-31/distribution/{distribution}/invalidation");
        let list = self.cloudfront(reqwest::Method::GET, &path).send().await.unwrap().text().await.unwrap();
        let mut paths = Vec::new();
        for part in list.split("<Id>").skip(1) {
            let id = part.split('<').next().unwrap();
            let one = self.cloudfront(reqwest::Method::GET, &format!("{path}/{id}")).send().await.unwrap();
            paths.push(between(&one.text().await.unwrap(), "Path"));
        }
        paths
    }

    /// Which of AWS's services is meant, moto reads from the credentials' scope.
    fn cloudfront(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let scope = "AWS4-HMAC-SHA256 Credential=e2e/20260101/us-east-1/cloudfront/aws4_request, SignedHeaders=host, Signature=0";
        self.http.request(method, format!("{}{path}", self.url)).header("authorization", scope)
    }
}

fn between(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name}: {xml}"));
    rest.split('<').next().unwrap().to_owned()
}

impl Settings {
    /// Media are in moto's S3, before which is its CloudFront.
    pub fn moto(self, moto: &Moto, distribution: &str) -> Self {
        self.set("media.bucket", BUCKET)
            // Another than the first, which `setup` has to name.
            .set("media.region", "eu-central-1")
            .set("media.endpoint", &moto.url)
            .set("media.path_style", true)
            .set("media.access_key_id", "e2e")
            .set("media.secret_access_key", "any")
            .set("media.public_url", format!("{}/{BUCKET}", moto.url))
            .set("media.cloudfront_distribution", distribution)
            .set("media.cloudfront_endpoint", &moto.url)
    }
}
