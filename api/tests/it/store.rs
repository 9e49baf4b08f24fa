//! The development stack's object store in this process, and a gate before it that counts and breaks things.

use crate::support::{Answer, TestApp};
use commands::UPLOAD_BEGINS_WITHIN;
use domain::media::Upload;
use media::{Credentials, Files, Settings, SignedUpload};
use media_store::Options;
use reqwest::Client;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const KEY_ID: &str = "test";
const SECRET: &str = "a secret of the tests";
const BUCKET: &str = "media";
pub const MAX_BYTES: u64 = 1_000_000;
/// The SHA-256 of nothing in particular.
pub const NO_CHECKSUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What the gate does with connections, those that are open too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Open,
    Closed,
    /// Takes requests and answers none.
    Silent,
    /// Answers 500 to everything.
    Failing,
}

/// One API whose media are in a store of its own.
pub struct Studio {
    pub app: TestApp,
    pub files: Arc<Files>,
    pub http: Client,
    mode: watch::Sender<Mode>,
    /// From the store to the API, headers included.
    sent_bytes: Arc<AtomicU64>,
    dir: PathBuf,
    _stop: DropGuard,
}

impl Studio {
    pub async fn new(pool: PgPool) -> Self {
        let stop = CancellationToken::new();
        let dir = std::env::temp_dir().join(format!("postledger-{}", eventstore::ids::new_id()));
        std::fs::create_dir_all(dir.join(BUCKET)).unwrap();
        let store = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (store_at, gate_at) = (store.local_addr().unwrap(), gate.local_addr().unwrap());
        let options =
            Options { dir: dir.clone(), access_key_id: KEY_ID.into(), secret_access_key: SECRET.into() };
        let serving = media_store::serve(store, options, stop.clone());
        tokio::spawn(async move { serving.await.unwrap() });
        let (mode, modes) = watch::channel(Mode::Open);
        let sent_bytes = Arc::new(AtomicU64::new(0));
        let counted = sent_bytes.clone();
        let guarding = stop.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = gate.accept().await {
                tokio::spawn(pass(client, store_at.to_string(), modes.clone(), counted.clone()));
            }
        });
        tokio::spawn(guarding);
        let files = Arc::new(Files::new(&settings(&format!("http://{gate_at}"))).await);
        let app = TestApp::with_media(pool, files.clone()).await;
        let http = Client::builder().no_proxy().build().unwrap();
        Self { app, files, http, mode, sent_bytes, dir, _stop: stop.drop_guard() }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::SeqCst)
    }

    pub async fn announce(&self, file: &[u8], content_type: &str) -> Answer {
        self.app.post("/media").json(announcement(file, content_type)).send().await
    }

    /// Announced and uploaded; not completed.
    pub async fn upload(&self, file: &[u8], content_type: &str) -> Uuid {
        let announced = self.announce(file, content_type).await.ok(201);
        assert_eq!(self.put(&announced.json()["upload"], file.to_vec()).await, 200);
        announced.id("media_id")
    }

    /// Uploaded as the answer to an announcement says.
    pub async fn put(&self, upload: &Value, file: Vec<u8>) -> u16 {
        let mut request = self.http.put(upload["url"].as_str().unwrap()).body(file);
        for (name, value) in upload["headers"].as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        request.send().await.unwrap().status().as_u16()
    }

    pub async fn put_signed(&self, signed: &SignedUpload, file: Vec<u8>) -> u16 {
        self.put(&json!({ "url": signed.url, "headers": signed.headers }), file).await
    }

    pub async fn complete(&self, id: Uuid) -> Answer {
        self.app.post(&format!("/media/{id}/complete")).send().await
    }

    /// What everybody gets at a URL.
    pub async fn fetch(&self, url: &str) -> (u16, Option<String>, Vec<u8>) {
        let answer = self.http.get(url).send().await.unwrap();
        let content_type =
            answer.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), content_type, answer.bytes().await.unwrap().to_vec())
    }

    /// What was announced, as the log has it.
    pub async fn announced(&self, id: Uuid) -> Upload {
        self.app.commands.medium(id).await.unwrap().upload.unwrap()
    }

    /// Every event of a medium, by its name.
    pub async fn events(&self, id: Uuid) -> Vec<String> {
        sqlx::query_scalar("SELECT event_type FROM events WHERE aggregate_id = $1 ORDER BY sequence")
            .bind(id.to_string())
            .fetch_all(&self.app.pool)
            .await
            .unwrap()
    }

    /// Files of media that the store has.
    pub fn stored(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(&self.dir.join(BUCKET).join("media"), &mut found);
        found
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn settings(url: &str) -> Settings {
    Settings {
        bucket: BUCKET.into(),
        region: "us-east-1".into(),
        endpoint: Some(url.to_owned()),
        path_style: true,
        credentials: Some(Credentials::new(KEY_ID, SECRET, None, None, "test")),
        public_url: format!("{url}/{BUCKET}"),
        max_bytes: MAX_BYTES,
        cloudfront: None,
    }
}

pub fn announcement(file: &[u8], content_type: &str) -> Value {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, file);
    let sha256: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "filename": "Summer fest.png", "content_type": content_type, "size_bytes": file.len(), "sha256": sha256 })
}

/// The beginning of a PNG of 3 by 2 pixels, and zeros up to a length.
pub fn png(length: usize) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x03\0\0\0\x02\x08\x02\0\0\0".to_vec();
    png.resize(length, 0);
    png
}

/// As it was asked for sixteen minutes ago.
pub fn long_ago(upload: Upload) -> Upload {
    let age = UPLOAD_BEGINS_WITHIN + chrono::TimeDelta::minutes(1);
    Upload { requested_at: upload.requested_at - age, expires_at: upload.expires_at - age, ..upload }
}

async fn pass(
    mut client: TcpStream,
    store: String,
    mut modes: watch::Receiver<Mode>,
    sent_bytes: Arc<AtomicU64>,
) {
    let mode = *modes.borrow_and_update();
    let work = async {
        match mode {
            Mode::Open => forward(client, &store, &sent_bytes).await,
            Mode::Closed => {}
            Mode::Silent => std::future::pending().await,
            Mode::Failing => {
                let _ = client.read(&mut [0; 4_096]).await;
                let failure =
                    b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = client.write_all(failure).await;
            }
        }
    };
    tokio::select! {
        () = work => {}
        _ = modes.changed() => {}
    }
}

async fn forward(client: TcpStream, store: &str, sent_bytes: &AtomicU64) {
    let Ok(store) = TcpStream::connect(store).await else { return };
    let ((mut from_client, mut to_client), (mut from_store, mut to_store)) =
        (client.into_split(), store.into_split());
    let requests = tokio::io::copy(&mut from_client, &mut to_store);
    let answers = async {
        let mut buffer = [0; 8_192];
        while let Ok(length @ 1..) = from_store.read(&mut buffer).await {
            sent_bytes.fetch_add(length as u64, Ordering::SeqCst);
            if to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = requests => {}
        () = answers => {}
    }
}
