//! An Apache Kafka of a test's own: one node or three, or a secure one, which can be stopped, killed and started again.

use crate::{Settings, script};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use uuid::Uuid;

/// Deleted with its value.
pub struct Broker {
    script: PathBuf,
    cluster: PathBuf,
    nodes: usize,
    /// `host:port` of each node, with commas.
    pub address: String,
}

impl Broker {
    /// A node that runs; `None`, and a word on it, where there is no Kafka to be had.
    pub fn start() -> Option<Self> {
        Self::cluster("1")
    }

    /// One that takes TLS with its own certificate authority, and only who signs in by SASL.
    pub fn start_secure() -> Option<Self> {
        Self::cluster("secure")
    }

    /// The same with three nodes, of which one may go.
    pub fn start_three() -> Option<Self> {
        Self::cluster("3")
    }

    /// Of a secure one: the settings of its user.
    pub fn sign_in(&self, settings: Settings, mechanism: &str) -> Settings {
        settings
            .set("kafka.brokers", &self.address)
            .set("kafka.tls", true)
            .set("kafka.ca_file", self.cluster.join("ca.pem").display())
            .set("kafka.sasl_mechanism", mechanism)
            .set("kafka.username", "postledger")
            .set("kafka.password", self.password())
    }

    /// Of a secure one.
    pub fn password(&self) -> String {
        std::fs::read_to_string(self.cluster.join("password")).unwrap().trim().to_owned()
    }

    /// Of a secure one: every record of every topic, with keys and headers, as Kafka's own consumer prints them.
    pub fn every_record(&self) -> String {
        let file = |name: &str| self.cluster.join(name);
        let module = "org.apache.kafka.common.security.plain.PlainLoginModule required";
        let properties = format!(
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
             sasl.jaas.config={module} username=\"postledger\" password=\"{}\";\n",
            file("ca.pem").display(),
            self.password()
        );
        std::fs::write(file("consumer.properties"), properties).unwrap();
        let consumer = file("consumer.properties").display().to_string();
        self.tool(&[
            "console-consumer",
            "--consumer.config",
            &consumer,
            "--include",
            "postledger[.].*",
            "--from-beginning",
            "--timeout-ms",
            "10000",
            "--property",
            "print.key=true",
            "--property",
            "print.headers=true",
        ])
    }

    /// What lies on the disks: the segments of our topics as they are, and what Kafka's own tool reads out of each.
    pub fn segments(&self) -> String {
        let files = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let is_ours = |folder: &PathBuf| folder.to_string_lossy().contains("/postledger.");
        let nodes = (1..=self.nodes).map(|number| PathBuf::from(self.node(number)).join("data"));
        let logs: Vec<PathBuf> =
            nodes.flat_map(files).filter(is_ours).flat_map(files).filter(|file| is_segment(file)).collect();
        let raw: String = logs
            .iter()
            .map(|log| String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned())
            .collect();
        let names: Vec<String> = logs.iter().map(|log| log.display().to_string()).collect();
        raw + &self.run(&["tool", "dump-log", "--print-data-log", "--files", &names.join(",")])
    }

    /// A file beside the segments of our topics, for a search that has to find it.
    pub fn plant(&self, text: &str) {
        let folder = self.cluster.join("1/data/postledger.planted-0");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("00000000000000000000.log"), text).unwrap();
    }

    fn cluster(kind: &str) -> Option<Self> {
        let script = script::path("POSTLEDGER_TEST_KAFKA_SCRIPT")?;
        let node = script::path("POSTLEDGER_TEST_KAFKA_NODE")?;
        let clusters = node.parent().and_then(Path::parent).expect("a node lies in a cluster's folder");
        let cluster = clusters.join(format!("e2e-{}", Uuid::new_v4().simple()));
        let nodes = if kind == "3" { 3 } else { 1 };
        let mut broker = Self { script, cluster: cluster.clone(), nodes, address: String::new() };
        let created = broker.run(&["create", &cluster.display().to_string(), kind]);
        created.trim().clone_into(&mut broker.address);
        broker.go_on();
        Some(broker)
    }

    /// SIGTERM to all, and gone when this returns.
    pub fn stop(&self) {
        self.of_all("stop");
    }

    /// With the data that they had, and ready when this returns.
    pub fn go_on(&self) {
        self.of_all("start");
    }

    /// kill -9, of one node.
    pub fn kill_node(&self, number: usize) {
        self.run(&["kill", &self.node(number)]);
    }

    /// After [`Broker::kill_node`]; it takes part again when this returns.
    pub fn start_node(&self, number: usize) {
        self.run(&["start", &self.node(number)]);
    }

    fn of_all(&self, command: &str) {
        let nodes: Vec<String> = (1..=self.nodes).map(|number| self.node(number)).collect();
        let arguments: Vec<&str> = std::iter::once(command).chain(nodes.iter().map(String::as_str)).collect();
        self.run(&arguments);
    }

    /// What one of Kafka's own tools prints about this broker: `consumer-groups --list`.
    pub fn tool(&self, arguments: &[&str]) -> String {
        let (name, arguments) = arguments.split_first().expect("a tool's name");
        let server = ["tool", *name, "--bootstrap-server", &self.address];
        self.run(&[&server, arguments].concat())
    }

    fn node(&self, number: usize) -> String {
        self.cluster.join(number.to_string()).display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> String {
        script::run(&self.script, arguments)
    }
}

/// Indexes lie beside them, large and without data.
fn is_segment(file: &Path) -> bool {
    file.extension().is_some_and(|end| end == "log") && file.metadata().is_ok_and(|log| log.len() > 0)
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
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
