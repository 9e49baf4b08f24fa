//! Fields that a client may not set: every name that any answer has, and those that attackers try, in every body that does
//! not take it. It is refused by its name, and nothing happens.

use crate::reference::{Reference, Scene};
use crate::support::TestApp;
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use std::collections::BTreeSet;

const TRIED: [&str; 16] = [
    "id",
    "actor",
    "admin",
    "is_admin",
    "role",
    "roles",
    "scopes",
    "user_id",
    "password_hash",
    "phc",
    "version",
    "sequence",
    "created_at",
    "status",
    "disabled",
    "__proto__",
];

/// An object in a body: what comes before it, and the fields that it takes.
struct Place {
    at: String,
    takes: BTreeSet<String>,
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn no_body_takes_a_field_that_only_we_set(pool: PgPool) {
    let scene = Scene::set(TestApp::without_projectors(pool, |_| {}).await).await;
    let reference = Reference::of(&scene.app).await;
    let names: BTreeSet<String> =
        reference.field_names().into_iter().chain(TRIED.map(str::to_owned)).collect();
    let (events, mut tried) = (scene.app.events().await, 0);
    for operation in reference.operations() {
        let Some(schema) = operation.json_schema() else { continue };
        for Place { at, takes } in places(&reference, schema, String::new()) {
            for name in names.difference(&takes) {
                let field = format!("{at}{name}");
                let call = scene.call(&operation, &scene.path(&operation)).json(nested(&at, name));
                let errors = call.send().await.problem(422)["errors"].take();
                let named = errors.as_array().unwrap().iter().any(|error| error["field"] == field.as_str());
                assert!(named, "{}: {field}: {errors}", operation.what());
                tried += 1;
            }
        }
    }
    assert!(tried > 1_000, "{tried}");
    assert_eq!(scene.app.events().await, events);
}

/// The body itself, and every object in it whose fields are listed.
fn places(reference: &Reference, schema: &Value, at: String) -> Vec<Place> {
    let schema = reference.resolved(schema);
    let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
    let mut places = Vec::new();
    for (name, property) in properties {
        let property = reference.resolved(property);
        places.extend(places_below(reference, property, format!("{at}{name}")));
    }
    places.push(Place { at, takes: properties.keys().cloned().collect() });
    places
}

fn places_below(reference: &Reference, property: &Value, at: String) -> Vec<Place> {
    match property["items"].is_null() {
        true => places(reference, property, format!("{at}.")),
        false => places(reference, &property["items"], format!("{at}[0].")),
    }
}

/// `consent.` and `x` make `{"consent": {"x": true}}`, `groups[0].` and `x` make `{"groups": [{"x": true}]}`.
fn nested(at: &str, name: &str) -> Value {
    let mut value = Value::Object(Map::from_iter([(name.to_owned(), json!(true))]));
    for step in at.split('.').filter(|step| !step.is_empty()).rev() {
        value = match step.strip_suffix("[0]") {
            Some(list) => json!({ list: [value] }),
            None => json!({ step: value }),
        };
    }
    value
}
