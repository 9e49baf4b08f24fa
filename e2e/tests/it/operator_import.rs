//! An import by hand, beside the running server.

use e2e::{Export, Settings, Stack, eventually};
use serde_json::Value;
use std::time::Duration;

const READERS: u64 = 50;

#[tokio::test]
async fn a_file_goes_into_a_group_by_its_name_twice_without_a_second_group() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let file = stack.dir().join("readers.csv");
    std::fs::write(&file, Export::clean("reader", READERS).csv).unwrap();
    let dry = stack.operate(&[
        "import",
        &file.display().to_string(),
        "--dry-run",
        "--column",
        "first_name=attribute",
    ]);
    assert!(dry.contains("email") && dry.contains("reader4@example.com") && dry.contains("50 rows"), "{dry}");
    assert!(dry.contains("attribute -> first_name_2"), "{dry}");
    let none: Vec<Value> = api.all("/imports").await;
    assert!(none.is_empty(), "nothing is kept");
    // A name that was mistyped makes no group: nobody is here to be asked.
    let asked = stack.try_operate(&["import", &file.display().to_string(), "--group", "Łetters & more"]);
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(!asked.status.success() && said.contains("--create-group"), "{said}");
    let import = || {
        stack.operate(&["import", &file.display().to_string(), "--group", "Łetters & more", "--create-group"])
    };
    let said = import();
    assert!(said.contains("50"), "{said}");
    let groups: Vec<Value> = eventually("the group is listed", Duration::from_secs(20), async || {
        let groups: Vec<Value> = api.all("/groups").await;
        (!groups.is_empty()).then_some(groups)
    })
    .await;
    assert_eq!((groups.len(), &groups[0]["name"]), (1, &Value::from("Łetters & more")));
    import();
    let again: Vec<Value> = api.all("/groups").await;
    assert_eq!(again.len(), 1, "found by its name");
    let imports: Vec<Value> = api.all("/imports").await;
    let counts = imports.iter().map(|import| (import["created"].as_u64(), import["unchanged"].as_u64()));
    assert_eq!(counts.collect::<Vec<_>>(), [(Some(0), Some(READERS)), (Some(READERS), Some(0))]);
}
