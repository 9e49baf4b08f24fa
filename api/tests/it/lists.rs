//! Every list of the API, by the reference: newest first or in an order that it documents, and paged so that what comes meanwhile
//! neither hides nor repeats anything.

use crate::reference::{Operation, Reference};
use crate::store::{Studio, png};
use domain::access::{Role, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::cell::Cell;
use std::collections::BTreeSet;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    NewestFirst,
    /// Documented in other words: how the list is meant to be read.
    Rising,
}

/// Each list with what tells its items apart and rises with time: a UUIDv7 or a position. A route of a page that is not here fails the
/// test.
const LISTS: [(&str, &str, Order); 13] = [
    ("/api-keys", "api_key_id", Order::NewestFirst),
    ("/audit/opt-outs", "position", Order::NewestFirst),
    ("/audit/security-events", "position", Order::NewestFirst),
    ("/audit/subscribers/{id}", "position", Order::Rising),
    ("/auth/sessions", "session_id", Order::NewestFirst),
    ("/emails", "campaign_id", Order::NewestFirst),
    ("/emails/{id}/recipients", "subscriber_id", Order::Rising),
    ("/groups", "group_id", Order::NewestFirst),
    ("/imports", "import_id", Order::NewestFirst),
    ("/media", "media_id", Order::NewestFirst),
    ("/subscribers", "subscriber_id", Order::NewestFirst),
    ("/templates", "template_id", Order::NewestFirst),
    ("/users", "user_id", Order::NewestFirst),
];

/// At the beginning of each list, so that it has some pages.
const ITEMS: usize = 5;

struct World {
    studio: Studio,
    /// Of campaigns with recipients, and of people with a history.
    campaign: Uuid,
    person: Uuid,
    made: Cell<u32>,
}

impl World {
    async fn new(pool: PgPool) -> Self {
        let mut studio = Studio::new(pool).await;
        studio.app.user("boss@example.com", &[Role::Admin]).await;
        studio.app.admin = studio.app.login("boss@example.com").await.access;
        let campaign = studio.app.campaign().await;
        let mut readers = Vec::new();
        for n in 0..ITEMS {
            readers.push(studio.app.subscriber(&format!("recipient{n}@example.com"), &[]).await);
        }
        let person = readers[0];
        studio.app.freeze(campaign, readers).await;
        Self { studio, campaign, person, made: Cell::default() }
    }

    fn path(&self, list: &str) -> String {
        let id = if list.starts_with("/emails/") { self.campaign } else { self.person };
        list.replace("{id}", &id.to_string())
    }

    /// Makes one item more of this list. An audience gets no more once it is frozen.
    async fn add_to(&self, list: &str) {
        let app = &self.studio.app;
        self.made.set(self.made.get() + 1);
        let n = self.made.get();
        match list {
            "/api-keys" => drop(app.api_key(&[Scope::GroupsRead]).await),
            "/audit/opt-outs" => {
                let reader = app.subscriber(&format!("leaver{n}@example.com"), &[]).await;
                let body = json!({ "global": true, "reason": "by phone" });
                app.post(&format!("/subscribers/{reader}/opt-out")).json(body).send().await.ok(204);
            }
            "/audit/security-events" | "/auth/sessions" => drop(app.login("boss@example.com").await),
            "/audit/subscribers/{id}" => {
                let path = format!("/subscribers/{}", self.person);
                app.patch(&path).json(json!({ "name": format!("Name {n}") })).send().await.ok(200);
            }
            "/emails" => drop(app.campaign().await),
            "/emails/{id}/recipients" => {}
            "/groups" => drop(app.group(&format!("Group {n}")).await),
            "/imports" => {
                let group = app.group(&format!("Imported {n}")).await;
                let import = app.post(&format!("/subscribers/import?group={group}"));
                import.body("text/csv", format!("email\nimported{n}@example.com\n")).send().await.ok(202);
            }
            "/media" => drop(self.studio.announce(&png(1_000 + n as usize), "image/png").await.ok(201)),
            "/subscribers" => drop(app.subscriber(&format!("more{n}@example.com"), &[]).await),
            "/templates" => drop(app.template().await),
            "/users" => drop(app.user(&format!("user{n}@example.com"), &[Role::Analyst]).await),
            other => panic!("{other}: how is an item made?"),
        }
        app.settled().await;
    }

    async fn page(&self, list: &str, query: &str) -> (Vec<Value>, Option<String>) {
        let answer = self.studio.app.get(&format!("{}{query}", self.path(list))).send().await.ok(200).json();
        (answer["items"].as_array().unwrap().clone(), answer["next_cursor"].as_str().map(str::to_owned))
    }
}

fn keys(items: &[Value], key: &str) -> Vec<Value> {
    items.iter().map(|item| item.get(key).unwrap_or_else(|| panic!("{key}: {item}")).clone()).collect()
}

/// Positions are numbers, and ids text that is as long.
fn rises(keys: &[Value]) -> bool {
    keys.windows(2).all(|pair| match (&pair[0], &pair[1]) {
        (Value::Number(one), Value::Number(next)) => one.as_i64() < next.as_i64(),
        (one, next) => one.as_str() < next.as_str(),
    })
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn every_list_has_its_order_and_pages_that_hold(pool: PgPool) {
    let world = World::new(pool).await;
    let reference = Reference::of(&world.studio.app).await;
    let pages: Vec<Operation> =
        reference.operations().into_iter().filter(|operation| reference.answers_a_page(operation)).collect();
    let known: BTreeSet<&str> = LISTS.iter().map(|(path, ..)| *path).collect();
    let found: BTreeSet<&str> = pages.iter().map(|operation| operation.path.as_str()).collect();
    assert_eq!(found, known, "each list is tried here");
    for (list, key, order) in LISTS {
        let operation = pages.iter().find(|operation| operation.path == list).unwrap();
        let says_so = operation.says("200").to_lowercase().contains("newest first");
        assert_eq!(says_so, order == Order::NewestFirst, "{list}: the order is documented");
        for _ in 0..ITEMS {
            world.add_to(list).await;
        }
        let is_paged = operation.parameters("query").contains(&"limit".to_owned());
        let (all, rest) = world.page(list, if is_paged { "?limit=500" } else { "" }).await;
        let all = keys(&all, key);
        assert!(all.len() >= ITEMS && rest.is_none(), "{list}: {all:?}");
        let mut rising = all.clone();
        if order == Order::NewestFirst {
            rising.reverse();
        }
        assert!(rises(&rising), "{list}: {order:?}: {all:?}");
        if !is_paged {
            continue;
        }
        let (mut read, mut cursor) = world.page(list, "?limit=2").await;
        assert_eq!(read.len(), 2, "{list}");
        world.add_to(list).await;
        while let Some(next) = cursor {
            let (items, more) = world.page(list, &format!("?limit=2&cursor={next}")).await;
            read.extend(items);
            cursor = more;
        }
        let read = keys(&read, key);
        match order {
            Order::NewestFirst => assert_eq!(read, all, "{list}: with one that came meanwhile"),
            Order::Rising => {
                assert_eq!(read[..all.len()], all, "{list}");
                assert!(rises(&read), "{list}: {read:?}");
            }
        }
    }
}
