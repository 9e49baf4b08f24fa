//! What a request does and tells whoever asks: the same for every address, and no more than so many mails.

use super::*;

/// New, subscribed, unconfirmed, opted out, called spam, erased: one answer, and as many events of the same kind.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn nobody_learns_whether_an_address_is_known(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Tea letter").await;
    for (name, channel) in [("out", Channel::OneClick), ("spam", Channel::Complaint)] {
        let reader = app.subscriber(&format!("{name}@example.com"), &[group]).await;
        opt_out(&app, reader, Scope::Global, channel).await;
    }
    app.subscriber("active@example.com", &[group]).await;
    let erased = app.subscriber("erased@example.com", &[group]).await;
    erase(&app, erased).await;
    link(&app, "unconfirmed@example.com", &[group]).await;
    let mut answers = Vec::new();
    for name in ["new", "active", "unconfirmed", "out", "spam", "erased"] {
        let before = app.events().await;
        let answer = request(&app, &format!("{name}@example.com"), &[group]).await.ok(202);
        assert!(answer.body.is_empty());
        let kinds: Vec<String> =
            sqlx::query_scalar("SELECT event_type FROM events ORDER BY append_id OFFSET $1")
                .bind(before)
                .fetch_all(&app.pool)
                .await
                .unwrap();
        let mut names: Vec<_> = answer.headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        answers.push((kinds, names, answer.position()));
    }
    assert_eq!(answers[0].0, ["SubscriptionMailRequested"]);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // Beyond the limit of mails the answer is no other.
    for _ in 0..6 {
        assert_eq!(request(&app, ANA, &[group]).await.ok(202).position(), answers[0].2);
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mailbox_is_not_filled(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Tea letter").await;
    let mails = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'SubscriptionMailRequested'")
            .fetch_one(&app.pool)
            .await
            .unwrap()
    };
    let groups = [group];
    let flood = futures::future::join_all((0..12).map(|_| request(&app, ANA, &groups))).await;
    assert!(flood.iter().all(|answer| answer.status == 202));
    assert_eq!(mails().await, 3, "three in an hour");
    let hour = "UPDATE subscription_requests SET requested_at = requested_at - interval '1 hour'";
    for expected in [5, 5] {
        sqlx::query(hour).execute(&app.pool).await.unwrap();
        for _ in 0..4 {
            request(&app, ANA, &[group]).await.ok(202);
        }
        assert_eq!(mails().await, expected, "five a day");
    }
    request(&app, "ANA@Example.com", &[group]).await.ok(202);
    request(&app, "ana+tea@example.com", &[group]).await.ok(202);
    assert_eq!(mails().await, 5, "however the address is written");
    request(&app, "bob@example.com", &[group]).await.ok(202);
    assert_eq!(mails().await, 6);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn requests_are_limited_by_the_address_they_come_from(pool: PgPool) {
    let two = NonZeroU32::new(2).unwrap();
    let app = TestApp::without_projectors(pool, |config| {
        config.limits.subscriptions_per_address_and_minute = two;
    })
    .await;
    let group = app.group("Tea letter").await;
    let ask = |from: &'static str, email: &'static str| {
        let call = app.post("/subscriptions").anonymous().from(from);
        call.json(json!({ "email": email, "groups": [group] })).send()
    };
    ask("192.0.2.1", "a@example.com").await.ok(202);
    ask("192.0.2.1", "b@example.com").await.ok(202);
    let refused = ask("192.0.2.1", "c@example.com").await;
    refused.problem(429);
    assert!(refused.headers.contains_key("retry-after"));
    ask("192.0.2.2", "c@example.com").await.ok(202);
}
