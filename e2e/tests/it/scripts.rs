//! The project's scripts print for programs on standard output alone: a caller takes the whole of it for a URL.

use e2e::TempDir;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// A copy of the scripts where nobody else may enter, as in a clone below /root: Postgres's user can't keep its data there, so
/// the script keeps it elsewhere, and says so to people.
fn private_copy() -> TempDir {
    let copy = TempDir::new("scripts");
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let copied = Command::new("cp").arg("-r").arg(scripts).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    std::fs::set_permissions(copy.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::create_dir(copy.path().join(".data")).unwrap();
    copy
}

fn call(copy: &TempDir, script: &str, arguments: &[&str]) -> Output {
    let script = copy.path().join("scripts").join(script);
    let output = Command::new(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

#[test]
fn the_url_of_a_new_postgres_is_all_that_standard_output_has() {
    let copy = private_copy();
    let created = call(&copy, "postgres-node.sh", &["create", "printed"]);
    call(&copy, "postgres-node.sh", &["crash", "printed"]);
    call(&copy, "postgres-node.sh", &["remove", "printed"]);
    let printed = String::from_utf8(created.stdout).unwrap();
    assert!(printed.starts_with("postgres://"), "{printed}");
    assert_eq!(printed.lines().count(), 1, "{printed}");
}

/// A message to people that goes to standard output becomes a part of some port, URL or path.
#[test]
fn no_message_to_people_goes_to_standard_output() {
    let copy = private_copy();
    let messages =
        "source scripts/common.sh; say a word; step A step; (die_with /dev/null the end) || (die the end)";
    let output = Command::new("bash").current_dir(copy.path()).args(["-c", messages]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert!(String::from_utf8_lossy(&output.stderr).contains("a word"), "{output:?}");
}
