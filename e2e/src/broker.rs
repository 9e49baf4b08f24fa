//! An Apache Kafka of a test's own: one node, which can be stopped and started again.

use std::path::{Path, PathBuf};
use std::process::Command;
use uuid::Uuid;

/// Deleted with its value.
pub struct Broker {
    script: PathBuf,
    cluster: PathBuf,
    pub address: String,
}

impl Broker {
    /// A node that runs; `None`, and a word on it, where there is no Kafka to be had. With `CI=true` that is a failure.
    pub fn start() -> Option<Self> {
        let path = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let (script, node) = (path("POSTLEDGER_TEST_KAFKA_SCRIPT"), path("POSTLEDGER_TEST_KAFKA_NODE"));
        let (Some(script), Some(node)) = (script, node) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI needs Kafka: POSTLEDGER_TEST_KAFKA_SCRIPT is not set"
            );
            crate::say_aloud("NOT RUN: a test that needs Apache Kafka (POSTLEDGER_TEST_KAFKA_SCRIPT)");
            return None;
        };
        let clusters = node.parent().and_then(Path::parent).expect("a node lies in a cluster's folder");
        let cluster = clusters.join(format!("e2e-{}", Uuid::new_v4().simple()));
        let mut broker = Self { script, cluster: cluster.clone(), address: String::new() };
        broker.address = broker.run(&["create", &cluster.display().to_string(), "1"]).trim().to_owned();
        broker.go_on();
        Some(broker)
    }

    /// SIGTERM, and gone when this returns.
    pub fn stop(&self) {
        self.run(&["stop", &self.node()]);
    }

    /// With the data that it had, and ready when this returns.
    pub fn go_on(&self) {
        self.run(&["start", &self.node()]);
    }

    /// What one of Kafka's own tools prints about this broker: `consumer-groups --list`.
    pub fn tool(&self, arguments: &[&str]) -> String {
        let (name, arguments) = arguments.split_first().expect("a tool's name");
        let server = ["tool", *name, "--bootstrap-server", &self.address];
        self.run(&[&server, arguments].concat())
    }

    fn node(&self) -> String {
        self.cluster.join("1").display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.script).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {arguments:?}: {text}{errors}", self.script.display());
        text
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let removed = Command::new(&self.script).arg("remove").arg(&self.cluster).status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("left behind: {}", self.cluster.display());
        }
    }
}
