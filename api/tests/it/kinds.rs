//! Each kind of token in the place of each other: only its own use passes.
//!
//! A new kind of token goes into [`Kind`], a new place that takes one into [`PLACES`]: every pair is tried.

use crate::support::{Call, TestApp};
use domain::access::{Role, Scope};
use serde_json::json;
use sqlx::PgPool;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Access,
    Refresh,
    ApiKey,
    /// Of a mail's link.
    Preference,
}

use Kind::{Access, ApiKey, Preference, Refresh};

const KINDS: [Kind; 4] = [Access, Refresh, ApiKey, Preference];

impl Kind {
    /// A good one, made for one use.
    async fn token(self, app: &TestApp, group: uuid::Uuid, reader: uuid::Uuid) -> String {
        match self {
            Access => app.login("ana@example.com").await.access,
            Refresh => app.login("ana@example.com").await.refresh,
            ApiKey => app.api_key(&Scope::ALL).await,
            Preference => app.token(reader, Some(group)),
        }
    }
}

/// Where a token is taken, and of which kinds.
struct Place {
    what: &'static str,
    takes: &'static [Kind],
    call: fn(&TestApp, &str) -> Call,
}

const PLACES: &[Place] = &[
    Place {
        what: "one's own account",
        takes: &[Access],
        call: |app, token| app.get("/auth/me").bearer(token),
    },
    Place { what: "administration", takes: &[Access], call: |app, token| app.get("/users").bearer(token) },
    Place { what: "a scope", takes: &[Access, ApiKey], call: |app, token| app.get("/groups").bearer(token) },
    Place {
        what: "a refresh",
        takes: &[Refresh],
        call: |app, token| app.post("/auth/refresh").anonymous().json(json!({ "refresh_token": token })),
    },
    Place {
        what: "preferences",
        takes: &[Preference],
        call: |app, token| app.get("/preferences").bearer(token),
    },
    Place {
        what: "preferences by the link",
        takes: &[Preference],
        call: |app, token| app.get(&format!("/preferences?token={token}")).anonymous(),
    },
    Place {
        what: "setting preferences",
        takes: &[Preference],
        call: |app, token| app.put("/preferences").bearer(token).json(json!({ "global_opt_out": false })),
    },
    Place {
        what: "the page of a link",
        takes: &[Preference],
        call: |app, token| app.get(&format!("/emails/unsubscribe?token={token}")).anonymous(),
    },
    Place {
        what: "an opt-out",
        takes: &[Preference],
        call: |app, token| app.post("/emails/unsubscribe").bearer(token).json(json!({ "global": true })),
    },
    Place {
        what: "one click",
        takes: &[Preference],
        call: |app, token| {
            let call = app.post(&format!("/emails/unsubscribe?token={token}")).anonymous();
            call.form("List-Unsubscribe=One-Click")
        },
    },
];

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_token_of_one_kind_is_none_of_another(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    app.user("ana@example.com", &[Role::Admin]).await;
    let group = app.group("Readers").await;
    let reader = app.subscriber("reader@example.com", &[group]).await;
    for Place { what, takes, call } in PLACES {
        for kind in KINDS {
            let token = kind.token(&app, group, reader).await;
            let status = call(&app, &token).send().await.status.as_u16();
            match takes.contains(&kind) {
                true => assert!((200..300).contains(&status), "{kind:?} for {what}: {status}"),
                // A key is known, and told that people alone may do this.
                false if kind == ApiKey => {
                    assert!([401, 403].contains(&status), "{kind:?} for {what}: {status}")
                }
                false => assert_eq!(status, 401, "{kind:?} for {what}"),
            }
        }
    }
}
