//! The development stack's object store, as a process of its own.

use crate::process::Process;
use crate::temp::TempDir;
use crate::{Settings, eventually, stack};
use std::process::Command;
use std::time::Duration;

const STARTS_WITHIN: Duration = Duration::from_secs(30);
const SECRET: &str = "a secret of the store";
const BUCKET: &str = "postledger";

pub struct MediaStore {
    pub url: String,
    _process: Process,
    _dir: TempDir,
}

impl MediaStore {
    pub async fn start() -> Self {
        let dir = TempDir::new("media-store");
        let (log, secret, files) =
            (dir.path().join("log"), dir.path().join("secret"), dir.path().join("files"));
        std::fs::write(&secret, SECRET).unwrap();
        let mut command = Command::new(stack::binary().with_file_name("media-store"));
        command.args(["--listen", "127.0.0.1:0", "--secret-file"]).arg(&secret).arg("--dir").arg(&files);
        let mut process = Process::start("the media store", &mut command, &log);
        let url = eventually("the media store listens", STARTS_WITHIN, async || {
            let said = std::fs::read_to_string(&log).unwrap();
            if let Some(status) = process.ended() {
                panic!("the media store ended: {status}: {said}");
            }
            said.lines().find_map(|line| line.strip_prefix("listening on ")).map(str::to_owned)
        })
        .await;
        Self { url, _process: process, _dir: dir }
    }
}

impl Settings {
    /// Media are in this store, whose bucket is still to be made.
    pub fn media(self, store: &MediaStore) -> Self {
        self.set("media.bucket", BUCKET)
            .set("media.endpoint", &store.url)
            .set("media.path_style", true)
            .set("media.access_key_id", "postledger")
            .set("media.secret_access_key", SECRET)
            .set("media.public_url", format!("{}/{BUCKET}", store.url))
    }
}
