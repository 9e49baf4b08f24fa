//! The write side, and a store that can go away.

use commands::{Commands, Context, MailerNames, NewMedium, Timing};
use domain::MediaId;
use domain::media::{ContentType, Sha256, Upload};
use eventstore::Store;
use eventstore::keys::MasterKey;
use media::{Credentials, Files, Settings};
use media_store::Options;
use sqlx::PgPool;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use workers::media::MediaSweeper;

const KEY_ID: &str = "test";
const SECRET: &str = "a secret of the tests";
const BUCKET: &str = "media";
/// The beginning of a PNG.
const FILE: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x03\0\0\0\x02\x08\x02\0\0\0";
const TIMING: Timing = Timing { window: Duration::from_millis(200), margin: Duration::from_millis(50) };

pub struct Studio {
    pub commands: Commands,
    files: Arc<Files>,
    dir: PathBuf,
    at: SocketAddr,
    store: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Studio {
    pub async fn new(pool: &PgPool) -> Self {
        let store = Store::new(pool.clone(), Arc::new(MasterKey::from_hex(&"5a".repeat(32)).unwrap()));
        let commands = Commands::new(store, pool.clone(), TIMING, MailerNames::of(["outbox"]));
        let dir = std::env::temp_dir().join(format!("postledger-{}", eventstore::ids::new_id()));
        std::fs::create_dir_all(dir.join(BUCKET)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let files = Arc::new(Files::new(&settings(at)).await);
        let mut studio = Self { commands, files, dir, at, store: None };
        studio.serve(listener);
        studio
    }

    pub async fn start(&mut self) {
        let listener = TcpListener::bind(self.at).await.unwrap();
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        let stop = CancellationToken::new();
        let options =
            Options { dir: self.dir.clone(), access_key_id: KEY_ID.into(), secret_access_key: SECRET.into() };
        let serving = media_store::serve(listener, options, stop.clone());
        self.store = Some((stop, tokio::spawn(async move { serving.await.unwrap() })));
    }

    /// Nothing listens there any more.
    pub async fn stop(&mut self) {
        let (stop, serving) = self.store.take().unwrap();
        stop.cancel();
        serving.await.unwrap();
    }

    pub fn sweeper(&self) -> MediaSweeper {
        MediaSweeper { commands: self.commands.clone(), files: self.files.clone() }
    }

    /// Announced and uploaded.
    pub async fn upload(&self) -> MediaId {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, FILE);
        let new = NewMedium {
            filename: "a.png".into(),
            content_type: ContentType::Png,
            size_bytes: FILE.len() as u64,
            sha256: Sha256(digest.as_ref().try_into().unwrap()),
        };
        let (id, upload) = new.announce();
        self.commands.request_medium(&Context::system("test"), id, upload.clone()).await.unwrap();
        self.put_signed(&upload).await;
        id
    }

    /// Once more, as it was announced.
    pub async fn put(&self, id: MediaId) {
        let events = eventstore::load_at(&self.commands.store.pool, id, 1).await.unwrap();
        let announced: domain::media::Media = events.aggregate;
        self.put_signed(&announced.upload.unwrap()).await;
    }

    async fn put_signed(&self, upload: &Upload) {
        let signed = self.files.sign(upload).await.unwrap();
        let mut request = reqwest::Client::builder().no_proxy().build().unwrap().put(&signed.url).body(FILE);
        for (name, value) in &signed.headers {
            request = request.header(name, value);
        }
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    pub async fn complete(&self, id: MediaId) {
        let key = self.key(id).await;
        let found = self.files.look(&key).await.unwrap();
        self.commands.complete_medium(&Context::system("test"), id, found).await.unwrap();
    }

    async fn key(&self, id: MediaId) -> String {
        let media = self.commands.media(&[id].into()).await.unwrap();
        media[&id].upload.as_ref().unwrap().key.clone()
    }

    /// Now a folder with something in it stands where the file was.
    pub async fn make_irremovable(&self, id: MediaId) {
        let path = self.dir.join(BUCKET).join(self.key(id).await);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir_all(path.join("something")).unwrap();
    }

    pub async fn has_file(&self, id: MediaId) -> bool {
        self.files.look(&self.key(id).await).await.unwrap().is_some()
    }

    pub async fn events(&self, id: MediaId) -> Vec<String> {
        sqlx::query_scalar("SELECT event_type FROM events WHERE aggregate_id = $1 ORDER BY sequence")
            .bind(id.to_string())
            .fetch_all(&self.commands.store.pool)
            .await
            .unwrap()
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn settings(at: SocketAddr) -> Settings {
    Settings {
        bucket: BUCKET.into(),
        region: "us-east-1".into(),
        endpoint: Some(format!("http://{at}")),
        path_style: true,
        credentials: Some(Credentials::new(KEY_ID, SECRET, None, None, "test")),
        public_url: format!("http://{at}/{BUCKET}"),
        max_bytes: 1_000_000,
        cloudfront: None,
    }
}
