//! A password that changes while others sign in with the old one. A row lock that the test holds makes all of them wait,
//! the change first, so that each statement that waited is older than the change.

use crate::account_links::{lock_account, reset_token, send_mail};
use crate::support::{Answer, PASSWORD, TestApp, Tokens};
use domain::access::Role;
use domain::transactional::AccountMailKind;
use serde_json::json;
use sqlx::PgPool;

const ANA: &str = "ana@example.com";
const NEW: &str = "another horse battery staple";
/// They hold a connection each, of the five that a test has.
const SIGN_INS: usize = 2;

async fn change(app: &TestApp, session: &Tokens) -> Answer {
    let body = json!({ "current_password": PASSWORD, "new_password": NEW });
    app.post("/auth/password").bearer(&session.access).json(body).send().await
}

async fn reset(app: &TestApp, link: &str) -> Answer {
    let body = json!({ "token": link, "password": NEW });
    app.post("/auth/password-reset/confirm").anonymous().json(body).send().await
}

/// The change waits for the lock, then the sign-ins do, then all go on.
async fn race(app: &TestApp, change: impl Future<Output = Answer>) {
    let lock = lock_account(app, ANA).await;
    let sign_ins = async {
        app.blocked(1).await;
        futures::future::join_all((0..SIGN_INS).map(|_| app.try_login(ANA, PASSWORD))).await
    };
    let release = async {
        app.blocked(1 + SIGN_INS as i64).await;
        lock.rollback().await.unwrap();
    };
    let (changed, signed_in, ()) = tokio::join!(change, sign_ins, release);
    changed.ok(204);
    let statuses: Vec<_> = signed_in.iter().map(|answer| answer.status.as_u16()).collect();
    let standing = "SELECT count(*) FROM sessions WHERE ended_at IS NULL";
    let standing: i64 = sqlx::query_scalar(standing).fetch_one(&app.pool).await.unwrap();
    assert_eq!(standing, 0, "sessions that began with the old password stand: {statuses:?}");
    assert_eq!(statuses, [401; SIGN_INS]);
    app.try_login(ANA, PASSWORD).await.problem(401);
    app.try_login(ANA, NEW).await.tokens();
}

async fn with_ana(pool: PgPool) -> TestApp {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    app.user(ANA, &[Role::Marketer]).await;
    app
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn no_session_of_the_old_password_outlives_its_change(pool: PgPool) {
    let app = with_ana(pool).await;
    let session = app.login(ANA).await;
    race(&app, change(&app, &session)).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn no_session_of_the_old_password_outlives_a_reset(pool: PgPool) {
    let app = with_ana(pool).await;
    let link = reset_token(&app).await;
    race(&app, reset(&app, &link)).await;
}

/// The older mail waits for the account while the newer one is asked for: its link must not count.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn no_older_link_overtakes_a_newer_one_by_waiting(pool: PgPool) {
    let app = with_ana(pool).await;
    app.post("/auth/password-reset").anonymous().json(json!({ "email": ANA })).send().await.ok(202);
    app.commands.take_reset_requests().await.unwrap();
    let mut lock = lock_account(&app, ANA).await;
    let newer = async {
        app.blocked(1).await;
        let ask = "INSERT INTO account_mails (dispatch_id, address_hash, kind, user_id)
                   SELECT gen_random_uuid(), address_hash, kind, user_id FROM account_mails";
        sqlx::query(ask).execute(&mut *lock).await.unwrap();
        // The row is another one from now on, as it is after every command on the account.
        sqlx::query("UPDATE accounts SET version = version").execute(&mut *lock).await.unwrap();
        lock.commit().await.unwrap();
    };
    let (link, ()) = tokio::join!(send_mail(&app, AccountMailKind::PasswordReset), newer);
    assert_eq!(link, None, "the older link counts");
}

/// A mail that was asked for before a password was chosen, and goes after it, opens nothing.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn no_link_outlives_a_password_that_was_chosen_since(pool: PgPool) {
    let app = with_ana(pool).await;
    let session = app.login(ANA).await;
    app.post("/auth/password-reset").anonymous().json(json!({ "email": ANA })).send().await.ok(202);
    app.commands.take_reset_requests().await.unwrap();
    change(&app, &session).await.ok(204);
    assert_eq!(send_mail(&app, AccountMailKind::PasswordReset).await, None);
}
