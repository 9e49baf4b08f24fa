//! The project's scripts that start servers for tests: `scripts/kafka-node.sh`, `scripts/postgres-node.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a variable names; `None`, and a word on it, where it is not set. With `CI=true` that is a failure.
pub fn path(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    if path.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs {variable}");
        crate::say_aloud(&format!("NOT RUN: a test that needs {variable}"));
    }
    path
}

/// What it prints. It has to succeed.
pub fn run(script: &Path, arguments: &[&str]) -> String {
    let output = Command::new(script).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {text}{errors}", script.display());
    text
}
