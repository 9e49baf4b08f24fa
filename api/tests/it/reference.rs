//! The reference as a list of operations, with a request for each: what generated attacks start from.

use crate::support::{Call, TestApp};
use axum::http::Method;
use domain::access::Role;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// As deep as a body's schema is looked at.
const DEPTH_MAX: usize = 6;

pub struct Reference(Value);

/// One method of one path.
#[derive(Clone)]
pub struct Operation {
    pub method: Method,
    pub path: String,
    value: Value,
}

impl Reference {
    pub async fn of(app: &TestApp) -> Self {
        Self(app.get("/openapi.json").anonymous().send().await.ok(200).json())
    }

    pub fn operations(&self) -> Vec<Operation> {
        let paths = self.0["paths"].as_object().unwrap().iter();
        let operations = paths.flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, value)| Operation {
                method: method.to_ascii_uppercase().parse().unwrap(),
                path: path.clone(),
                value: value.clone(),
            })
        });
        operations.collect()
    }

    /// Names of everything that any answer or body has.
    pub fn field_names(&self) -> Vec<String> {
        let schemas = self.0["components"]["schemas"].as_object().unwrap().values();
        let names = schemas.filter_map(|schema| schema["properties"].as_object());
        names.flat_map(|properties| properties.keys().cloned()).collect()
    }

    /// What a reference in it stands for. A field that may be null says so by `oneOf` or `anyOf`.
    pub fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let choices = ["oneOf", "anyOf", "allOf"].iter().find_map(|word| schema[word].as_array());
        if let Some(choice) = choices.and_then(|all| all.iter().find(|one| one["type"] != "null")) {
            return self.resolved(choice);
        }
        match schema["$ref"].as_str() {
            Some(reference) => self.resolved(self.0.pointer(reference.trim_start_matches('#')).unwrap()),
            None => schema,
        }
    }

    /// A part of a list: items, and where it goes on.
    pub fn answers_a_page(&self, operation: &Operation) -> bool {
        let schema = &operation.value["responses"]["200"]["content"]["application/json"]["schema"];
        operation.method == Method::GET
            && ["items", "next_cursor"]
                .iter()
                .all(|name| !self.resolved(schema)["properties"][name].is_null())
    }

    /// A value that fits: its example, or one that is made by its type.
    pub fn sample(&self, schema: &Value, depth: usize) -> Value {
        let schema = self.resolved(schema);
        if !schema["example"].is_null() {
            return schema["example"].clone();
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").unwrap_or(&Value::Null),
            kind => kind,
        };
        match (kind.as_str(), schema["format"].as_str()) {
            (Some("string"), Some("uuid")) => json!(Uuid::from_u128(9)),
            (Some("string"), Some("date-time")) => json!("2099-01-01T00:00:00Z"),
            (Some("string"), _) => schema["enum"][0].as_str().unwrap_or("text").into(),
            (Some("boolean"), _) => json!(true),
            (Some("integer"), _) => json!(1),
            (Some("array"), _) if depth > 0 => json!([self.sample(&schema["items"], depth - 1)]),
            (Some("array"), _) => json!([]),
            _ if depth == 0 => json!({}),
            _ => {
                let properties = schema["properties"].as_object().into_iter().flatten();
                properties.map(|(name, schema)| (name.clone(), self.sample(schema, depth - 1))).collect()
            }
        }
    }
}

impl Operation {
    pub fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The same with another path.
    pub fn at(&self, path: String) -> Self {
        Self { path, ..self.clone() }
    }

    /// How an answer is described.
    pub fn says(&self, status: &str) -> &str {
        self.value["responses"][status]["description"].as_str().unwrap()
    }

    pub fn json_schema(&self) -> Option<&Value> {
        Some(&self.value["requestBody"]["content"]["application/json"]["schema"])
            .filter(|schema| !schema.is_null())
    }

    pub fn sample_body(&self, reference: &Reference) -> Option<Value> {
        self.json_schema().map(|schema| reference.sample(schema, DEPTH_MAX))
    }

    /// Names of its parameters in `query`, `path` or `header`.
    pub fn parameters(&self, place: &str) -> Vec<String> {
        let parameters = self.value["parameters"].as_array().into_iter().flatten();
        let there = parameters.filter(|parameter| parameter["in"] == place);
        there.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// One of each thing that has an id, an administrator who is signed in, and a reader with a link.
pub struct Scene {
    pub app: TestApp,
    ids: BTreeMap<&'static str, Uuid>,
    link: String,
}

impl Scene {
    pub async fn set(mut app: TestApp) -> Self {
        let user = app.user("boss@example.com", &[Role::Admin]).await;
        app.admin = app.login("boss@example.com").await.access;
        let group = app.group("Readers").await;
        let subscriber = app.subscriber("reader@example.com", &[group]).await;
        let template = app.template().await;
        let draft = json!({ "template": template, "group": group });
        let campaign = app.post("/emails").json(draft).send().await.id("campaign_id");
        let key = json!({ "name": "key", "scopes": ["groups:read"] });
        let key = app.post("/api-keys").json(key).send().await.id("api_key_id");
        let test = json!({ "to": ["editor@example.com"] });
        let dispatch =
            app.post(&format!("/templates/{template}/test")).json(test).send().await.id("dispatch_id");
        let import = app
            .post(&format!("/subscribers/import?group={group}"))
            .body("text/csv", "email\na@example.com\n");
        let import = import.send().await.id("import_id");
        let ids = [
            ("groups", group),
            ("subscribers", subscriber),
            ("templates", template),
            ("emails", campaign),
            ("api-keys", key),
            ("dispatches", dispatch),
            ("imports", import),
            ("users", user),
        ];
        let link = app.token(subscriber, Some(group));
        Self { app, ids: ids.into(), link }
    }

    /// A thing's id, by the word before it in a path; of sessions there is none that a test could lose.
    pub fn id(&self, collection: &str) -> Uuid {
        self.ids.get(collection).copied().unwrap_or(Uuid::from_u128(9))
    }

    /// With the ids of things that exist, where a field is known to take one.
    pub fn filled(&self, mut body: Value) -> Value {
        let fields = [
            ("template", "templates"),
            ("group", "groups"),
            ("campaign_id", "emails"),
            ("subscriber_id", "subscribers"),
        ];
        for (field, collection) in fields {
            if body.get(field).is_some() {
                body[field] = json!(self.id(collection));
            }
        }
        if let Some(groups) = body.get_mut("groups").and_then(Value::as_array_mut) {
            for group in groups {
                match group.get_mut("group_id") {
                    Some(id) => *id = json!(self.id("groups")),
                    None => *group = json!(self.id("groups")),
                }
            }
        }
        body
    }

    /// The operation's path with ids of things that exist.
    pub fn path(&self, operation: &Operation) -> String {
        let before = operation.path.split("/{id}").next().unwrap_or_default();
        let collection = before.rsplit('/').next().unwrap_or_default();
        let path = operation.path.replace("{id}", &self.id(collection).to_string());
        let path = path.replace("{subscriber_id}", &self.id("subscribers").to_string());
        path.replace("{file}", "swagger-ui.css").replace("{provider}", "company")
    }

    /// By whoever may: the reader with their link, else the administrator.
    pub fn call(&self, operation: &Operation, path: &str) -> Call {
        let is_readers = ["/preferences", "/emails/unsubscribe"].contains(&operation.path.as_str());
        let bearer = if is_readers { &self.link } else { &self.app.admin };
        let call = self.app.call(operation.method.clone(), path).bearer(bearer);
        match operation.path.as_str() {
            "/subscribers/import" => call.body("text/csv", "email\na@example.com\n"),
            _ => call,
        }
    }
}
