//! Readers who are known, who left and who were erased.

use super::*;

/// A known reader's other groups stay as they are until the owner of the address says so.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_known_reader_is_asked_about_further_groups(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (tea, coffee) = (app.group("Tea letter").await, app.group("Coffee letter").await);
    let ana = app.subscriber(ANA, &[tea]).await;
    let link = link(&app, ANA, &[coffee]).await;
    assert_eq!(reader(&app, ANA).await, (ana, "active".into(), vec!["Tea letter".into()]));
    press(&app, &link).await.ok(303);
    let both = vec!["Coffee letter".into(), "Tea letter".into()];
    assert_eq!(reader(&app, ANA).await, (ana, "active".into(), both));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_left_comes_back_by_confirming_alone(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (tea, coffee) = (app.group("Tea letter").await, app.group("Coffee letter").await);
    let ana = app.subscriber(ANA, &[tea]).await;
    opt_out(&app, ana, Scope::Global, Channel::OneClick).await;
    let link = link(&app, ANA, &[coffee]).await;
    assert_eq!(reader(&app, ANA).await, (ana, "opted_out".into(), vec![]));
    press(&app, &link).await.ok(303);
    let (_, status, subscribed) = reader(&app, ANA).await;
    assert_eq!((status.as_str(), subscribed), ("active", vec!["Coffee letter".to_owned()]));
    // What they left before stays left, and no import or member of the staff brings it back.
    let consent = json!({ "subscriber_id": ana, "consent": { "source": "staff" } });
    app.post(&format!("/groups/{tea}/members")).json(consent).send().await.problem(409);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_takes_back_what_was_asked_before(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Tea letter").await;
    let link = link(&app, ANA, &[group]).await;
    let (ana, _, _) = reader(&app, ANA).await;
    opt_out(&app, ana, Scope::Global, Channel::PreferencePage).await;
    let events = app.events().await;
    assert!(page(&app, &link).await.ok(401).text().contains("does not work any more"));
    press(&app, &link).await.ok(401);
    app.post(&link).anonymous().send().await.problem(401);
    assert_eq!(app.events().await, events);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_link_that_was_used_before_an_opt_out_revives_nothing(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Tea letter").await;
    let link = link(&app, ANA, &[group]).await;
    press(&app, &link).await.ok(303);
    let (ana, _, _) = reader(&app, ANA).await;
    opt_out(&app, ana, Scope::Global, Channel::OneClick).await;
    press(&app, &link).await.ok(303);
    assert_eq!(reader(&app, ANA).await.1, "opted_out");
    page(&app, &link).await.ok(401);
}

/// Nothing is kept of an erased person but that nobody may write there: who confirms is somebody new.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_was_erased_comes_back_as_somebody_new(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Tea letter").await;
    let erased = app.subscriber(ANA, &[group]).await;
    erase(&app, erased).await;
    let gate = async || -> (Uuid, bool) {
        sqlx::query_as("SELECT subscriber_id, suppressed FROM gates").fetch_one(&app.pool).await.unwrap()
    };
    let first = link(&app, ANA, &[group]).await;
    let second = link(&app, ANA, &[group]).await;
    assert_eq!(gate().await, (erased, true), "a stranger's word changes nothing");
    assert!(page(&app, &first).await.ok(200).text().contains("a•••@example.com"));
    press(&app, &first).await.ok(303);
    let (somebody, suppressed) = gate().await;
    assert!(somebody != erased && !suppressed);
    assert_eq!(reader(&app, ANA).await, (somebody, "active".into(), vec!["Tea letter".into()]));
    assert!(page(&app, &first).await.ok(200).text().contains("You are subscribed."));
    // Only one of them can be who has the address.
    press(&app, &second).await.ok(401);
    assert_eq!(gate().await, (somebody, false));
    // A known address is not taken over: not by the staff, nor by a request.
    let new = json!({ "email": ANA, "groups": [group], "consent": { "source": "staff" } });
    app.post("/subscribers").json(new).send().await.problem(409);
}

/// The staff typed a stranger's address and mended it: the stranger is shut out of nothing.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_address_that_was_left_is_its_owners(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Tea letter").await;
    let move_away = async |reader: Uuid, email: &str| {
        app.patch(&format!("/subscribers/{reader}")).json(json!({ "email": email })).send().await.ok(200);
    };
    let new = json!({ "email": ANA, "groups": [group], "consent": { "source": "staff" } });
    let typed = app.subscriber(ANA, &[group]).await;
    move_away(typed, "ana@example.org").await;
    let added = app.post("/subscribers").json(new.clone()).send().await.id("subscriber_id");
    assert_eq!(reader(&app, ANA).await, (added, "active".into(), vec!["Tea letter".into()]));
    assert_eq!(reader(&app, "ana@example.org").await.0, typed);
    // Of who opted out the address stays closed, but for whoever proves that it is theirs.
    opt_out(&app, added, Scope::Global, Channel::OneClick).await;
    move_away(added, "ana@example.net").await;
    app.post("/subscribers").json(new.clone()).send().await.problem(409);
    let link = link(&app, ANA, &[group]).await;
    app.post("/subscribers").json(new.clone()).send().await.problem(409);
    press(&app, &link).await.ok(303);
    let (owner, status, groups) = reader(&app, ANA).await;
    assert!(owner != typed && owner != added);
    assert_eq!((status.as_str(), groups), ("active", vec!["Tea letter".to_owned()]));
    assert_eq!(reader(&app, "ana@example.net").await.1, "opted_out");
    app.post("/subscribers").json(new).send().await.problem(409);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_comes_back_may_press_twice(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Tea letter").await;
    let erased = app.subscriber(ANA, &[group]).await;
    erase(&app, erased).await;
    let link = link(&app, ANA, &[group]).await;
    let mut gate = app.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM gates FOR UPDATE").execute(&mut *gate).await.unwrap();
    let presses = [(); 2].map(|()| {
        let call = app.post(&link).anonymous().header("origin", ORIGIN).form("");
        tokio::spawn(async move { call.send().await })
    });
    app.blocked(2).await;
    gate.rollback().await.unwrap();
    for press in presses {
        press.await.unwrap().ok(303);
    }
}
