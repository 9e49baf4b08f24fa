//! Each kind of token in the place of each other: only its own use passes.
//!
//! A new kind of token goes into [`Kind`], a new place that takes one into [`PLACES`]: every pair is tried.

use crate::account_links::send_mail;
use crate::subscriptions;
use crate::support::{Call, PASSWORD, TestApp};
use commands::{Context, NewUser};
use domain::EmailAddress;
use domain::access::{Role, Scope};
use domain::transactional::AccountMailKind;
use serde_json::json;
use sqlx::PgPool;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Access,
    Refresh,
    ApiKey,
    /// Of a mail's link.
    Preference,
    Reset,
    Invitation,
    /// Of the mail of a double opt-in.
    Subscription,
}

use Kind::{Access, ApiKey, Invitation, Preference, Refresh, Reset, Subscription};

const KINDS: [Kind; 7] = [Access, Refresh, ApiKey, Preference, Reset, Invitation, Subscription];

impl Kind {
    /// A good one, made for one use.
    async fn token(self, app: &TestApp, group: uuid::Uuid, reader: uuid::Uuid) -> String {
        // Mails of earlier turns, which nobody settles here, would be taken up again in the place of this one's.
        sqlx::query("DELETE FROM dispatch_work").execute(&app.pool).await.unwrap();
        match self {
            Access => app.login("ana@example.com").await.access,
            Refresh => app.login("ana@example.com").await.refresh,
            ApiKey => app.api_key(&Scope::ALL).await,
            Preference => app.token(reader, Some(group)),
            Reset => reset(app).await,
            Invitation => invitation(app).await,
            Subscription => subscription(app, group).await,
        }
    }
}

async fn reset(app: &TestApp) -> String {
    // However many a test needs.
    sqlx::query("UPDATE reset_requests SET requested_at = requested_at - interval '2 days'")
        .execute(&app.pool)
        .await
        .unwrap();
    let ask = app.post("/auth/password-reset").anonymous().json(json!({ "email": "ana@example.com" }));
    ask.send().await.ok(202);
    send_mail(app, AccountMailKind::PasswordReset).await.unwrap()
}

async fn invitation(app: &TestApp) -> String {
    let email = EmailAddress::parse(&format!("{}@example.com", eventstore::ids::new_id())).unwrap();
    let new = NewUser { email, roles: vec![Role::Analyst], password: None };
    app.commands.add_user(&Context::system("test"), new).await.unwrap();
    send_mail(app, AccountMailKind::Invitation).await.unwrap()
}

async fn subscription(app: &TestApp, group: uuid::Uuid) -> String {
    let email = format!("{}@example.com", eventstore::ids::new_id());
    let body = json!({ "email": email, "groups": [group] });
    app.post("/subscriptions").anonymous().json(body).send().await.ok(202);
    subscriptions::send_mail(app).await.unwrap()
}

fn choose(app: &TestApp, path: &str, token: &str) -> Call {
    app.post(path).anonymous().json(json!({ "token": token, "password": PASSWORD }))
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
        what: "a reset",
        takes: &[Reset],
        call: |app, token| choose(app, "/auth/password-reset/confirm", token),
    },
    Place {
        what: "an invitation",
        takes: &[Invitation],
        call: |app, token| choose(app, "/auth/invitation/confirm", token),
    },
    Place {
        what: "the page of a reset",
        takes: &[Reset],
        call: |app, token| app.get(&format!("/auth/password-reset?token={token}")).anonymous(),
    },
    Place {
        what: "the page of an invitation",
        takes: &[Invitation],
        call: |app, token| app.get(&format!("/auth/invitation?token={token}")).anonymous(),
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
    Place {
        what: "the page of a subscription",
        takes: &[Subscription],
        call: |app, token| app.get(&format!("/subscriptions/confirm?token={token}")).anonymous(),
    },
    Place {
        what: "confirming a subscription",
        takes: &[Subscription],
        call: |app, token| app.post("/subscriptions/confirm").anonymous().json(json!({ "token": token })),
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
