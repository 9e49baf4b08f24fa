//! A Postgres of a test's own, which can crash.

use crate::script;
use std::path::PathBuf;
use std::process::Command;
use uuid::Uuid;

/// Deleted with its value.
pub struct Postgres {
    script: PathBuf,
    name: String,
    /// Of a superuser.
    pub url: String,
}

impl Postgres {
    /// It runs when this returns; `None`, and a word on it, where none can be had.
    pub fn start() -> Option<Self> {
        let script = script::path("POSTLEDGER_TEST_POSTGRES_SCRIPT")?;
        let name = format!("e2e-{}", Uuid::new_v4().simple());
        let mut server = Self { script, name, url: String::new() };
        script::run(&server.script, &["create", &server.name]).trim().clone_into(&mut server.url);
        Some(server)
    }

    /// It ends without a checkpoint, and has recovered when this returns.
    pub async fn crash(&self) {
        self.run("crash").await;
    }

    /// Copies all of its files while it is stopped; it runs again when this returns.
    pub async fn save(&self) {
        self.run("save").await;
    }

    /// Puts the saved files in the place of those that it has; it runs again when this returns.
    pub async fn restore(&self) {
        self.run("restore").await;
    }

    /// A standby of it is promoted: it has everything, on a new timeline.
    pub async fn promote(&self) {
        self.run("promote").await;
    }

    async fn run(&self, command: &'static str) {
        let (script, name) = (self.script.clone(), self.name.clone());
        // On another thread: what the test does meanwhile goes on.
        let run = tokio::task::spawn_blocking(move || script::run(&script, &[command, &name]));
        run.await.unwrap();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let removed = Command::new(&self.script).args(["remove", &self.name]).status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("left behind: the Postgres {}", self.name);
        }
    }
}
