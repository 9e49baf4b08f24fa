use super::support::*;
use commands::imports::{ImportRequest, ImportedStatus};
use commands::{OptOut, SubscriberPatch};
use domain::consent::{Channel, Origin, Scope};
use domain::{GroupId, SubscriberId};
use sqlx::PgPool;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

const ANA: &str = "email,first name,town\nana@example.com,Ana,Rome\n";

async fn opt_out(commands: &commands::Commands, subscriber: SubscriberId, scope: Scope) {
    let opt_out = OptOut { subscriber, scope, channel: Channel::OneClick, origin: Origin::default() };
    commands.opt_out(&context(), opt_out).await.unwrap();
}

async fn imported_ana(commands: &commands::Commands, group: Option<GroupId>) -> SubscriberId {
    assert_eq!(completed(&import(commands, active(group), ANA).await), [1, 0, 0, 0, 0]);
    person(commands, "ana@example.com").await.id
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn nobody_who_opted_out_is_revived_or_changed(pool: PgPool) {
    let commands = commands(&pool);
    let (news, offers) = (group(&commands).await, group(&commands).await);
    let ana = imported_ana(&commands, Some(news)).await;
    opt_out(&commands, ana, Scope::Groups(vec![offers])).await;
    let events = rows_in(&pool, "events").await;
    let changed = "email,first name,town\nANA@example.com,Anna,Oslo\n";
    assert_eq!(completed(&import(&commands, active(Some(offers)), changed).await), [0, 0, 0, 1, 0]);
    opt_out(&commands, ana, Scope::Global).await;
    for group in [Some(news), Some(offers), None] {
        assert_eq!(completed(&import(&commands, active(group), changed).await), [0, 0, 0, 1, 0]);
    }
    assert_eq!(rows_in(&pool, "events").await, events + 1, "the opt-out alone");
    let state = subscriber(&commands, ana).await;
    assert!(state.global_opt_out && !state.is_subscribed(news));
    assert_eq!(person(&commands, "ana@example.com").await.details.attributes["town"], "Rome");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_of_one_group_does_not_keep_from_another(pool: PgPool) {
    let commands = commands(&pool);
    let (news, offers) = (group(&commands).await, group(&commands).await);
    let ana = imported_ana(&commands, Some(news)).await;
    opt_out(&commands, ana, Scope::Groups(vec![news])).await;
    assert_eq!(completed(&import(&commands, active(Some(offers)), ANA).await), [0, 1, 0, 0, 0]);
    let state = subscriber(&commands, ana).await;
    assert!(state.is_subscribed(offers) && !state.is_subscribed(news));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_address_that_was_left_by_who_opted_out_stays_closed(pool: PgPool) {
    let commands = commands(&pool);
    let (group, other) = (group(&commands).await, group(&commands).await);
    let ana = imported_ana(&commands, Some(group)).await;
    opt_out(&commands, ana, Scope::Groups(vec![other])).await;
    let patch = SubscriberPatch { email: Some("new@example.com".into()), ..SubscriberPatch::default() };
    commands.change_subscriber(&context(), ana, patch).await.unwrap();
    let both = "email\nana@example.com\nnew@example.com\n";
    assert_eq!(completed(&import(&commands, active(Some(group)), both).await), [0, 0, 1, 1, 0]);
    assert_eq!(completed(&import(&commands, opted_out(), ANA).await), [0, 0, 1, 0, 0]);
    assert!(subscriber(&commands, ana).await.is_subscribed(group));
}

/// Most such addresses were typed by mistake: whoever really has one can be imported and added.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_address_that_was_left_without_an_opt_out_is_its_owners(pool: PgPool) {
    let commands = commands(&pool);
    let group = group(&commands).await;
    let ana = imported_ana(&commands, Some(group)).await;
    let patch = SubscriberPatch { email: Some("new@example.com".into()), ..SubscriberPatch::default() };
    commands.change_subscriber(&context(), ana, patch).await.unwrap();
    let both = "email\nana@example.com\nnew@example.com\n";
    assert_eq!(completed(&import(&commands, active(Some(group)), both).await), [1, 0, 1, 0, 0]);
    let owner = person(&commands, "ana@example.com").await;
    assert!(owner.id != ana && owner.state.is_subscribed(group));
    opt_out(&commands, owner.id, Scope::Global).await;
    assert!(subscriber(&commands, ana).await.is_subscribed(group), "each is somebody of their own");
    let back = SubscriberPatch { email: Some("ana@example.com".into()), ..SubscriberPatch::default() };
    assert!(commands.change_subscriber(&context(), ana, back).await.is_err(), "it is somebody else's now");
    assert_eq!(completed(&import(&commands, active(Some(group)), ANA).await), [0, 0, 0, 1, 0]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_erased_person_and_an_unknown_gate_are_kept(pool: PgPool) {
    let commands = commands(&pool);
    imported_ana(&commands, None).await;
    let erase = "UPDATE subject_keys SET wrapped_key = NULL, destroyed_at = now()";
    sqlx::query(erase).execute(&pool).await.unwrap();
    let bo = domain::EmailAddress::parse("bo@example.com").unwrap();
    sqlx::query("INSERT INTO gates VALUES ($1, 'k', gen_random_uuid(), true, '{}')")
        .bind(commands.store.master.address_hash(&bo).0)
        .execute(&pool)
        .await
        .unwrap();
    let events = rows_in(&pool, "events").await;
    let both = "email,town\nana@example.com,Oslo\nbo@example.com,Oslo\n";
    assert_eq!(completed(&import(&commands, active(None), both).await), [0, 0, 0, 2, 0]);
    assert_eq!(rows_in(&pool, "events").await, events);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn empty_values_erase_nothing_and_others_win(pool: PgPool) {
    let commands = commands(&pool);
    let details = async || person(&commands, "ana@example.com").await.details;
    import(&commands, active(None), "email,FNAME,LNAME,town\nAna@example.com,Ana,Almeida,Rome\n").await;
    assert_eq!(details().await.name.as_deref(), Some("Ana Almeida"));
    let status =
        import(&commands, active(None), "email,FNAME,LNAME,town,pet\nana@example.com,Anna,,,cat\n").await;
    assert_eq!(completed(&status), [0, 1, 0, 0, 0]);
    let found = details().await;
    assert_eq!((found.address.as_str(), found.name.as_deref()), ("Ana@example.com", Some("Anna Almeida")));
    let attributes: Vec<_> =
        found.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        attributes,
        [("first_name", "Anna"), ("last_name", "Almeida"), ("pet", "cat"), ("town", "Rome")]
    );
    // A column for the name is the name, whatever the parts.
    import(&commands, active(None), "email,Full Name,FNAME\nana@example.com,Dr. A,A\n").await;
    assert_eq!(details().await.name.as_deref(), Some("Dr. A"));
    let same = import(&commands, active(None), "email,Full Name,FNAME\nana@example.com,,\n").await;
    assert_eq!(completed(&same), [0, 0, 1, 0, 0]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_person_has_a_bounded_number_of_attributes(pool: PgPool) {
    let commands = commands(&pool);
    let columns = |from: usize| (from..from + 60).map(|n| format!(",a{n}")).collect::<String>();
    let row = |from| format!("email{}\nana@example.com{}\n", columns(from), ",x".repeat(60));
    assert_eq!(completed(&import(&commands, active(None), row(0)).await), [1, 0, 0, 0, 0]);
    let status = import(&commands, active(None), row(50)).await;
    assert_eq!(completed(&status), [0, 0, 0, 0, 1]);
    assert!(rejected(&commands, status.import_id).await[0].reason.contains("100 attributes"));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn consent_is_recorded_as_the_export_has_it(pool: PgPool) {
    let commands = commands(&pool);
    let (news, offers) = (group(&commands).await, group(&commands).await);
    let text = "email,OPTIN_TIME,OPTIN_IP\nana@example.com,2020-06-19 01:58:00,192.0.2.7\nbo@example.com,soon,none\n";
    let request = ImportRequest { consent_source: Some("mailchimp".into()), ..active(Some(news)) };
    import(&commands, request, text).await;
    import(&commands, active(Some(offers)), "email\nana@example.com\n").await;
    let ana = person(&commands, "ana@example.com").await;
    assert_eq!(ana.events, ["added", "joined"]);
    let (consent, from) = &ana.consents[0];
    assert_eq!((consent.source.as_str(), from.as_deref()), ("mailchimp", Some("192.0.2.7")));
    assert_eq!(consent.given_at, Some("2020-06-19T01:58:00Z".parse().unwrap()));
    assert_eq!(ana.consents[1].0.source, "import");
    let (consent, from) = &person(&commands, "bo@example.com").await.consents[0];
    assert_eq!((consent.given_at, from), (None, &None));
    let stored: String =
        sqlx::query_scalar("SELECT string_agg(payload::text || metadata::text, '') FROM events")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(
        !stored.contains("192.0.2.7") && !stored.contains("ana@") && stored.contains("\"actor\": \"admin\"")
    );
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_list_of_the_unsubscribed_opts_everybody_out(pool: PgPool) {
    let commands = commands(&pool);
    let news = group(&commands).await;
    let ana = imported_ana(&commands, Some(news)).await;
    let text = "email,town\nana@example.com,Oslo\nbo@example.com,Bonn\nBO@example.com,\nana@example.com,\n";
    let request = ImportRequest { status: ImportedStatus::OptedOut, ..active(Some(news)) };
    assert_eq!(completed(&import(&commands, request, text).await), [1, 1, 2, 0, 0]);
    assert_eq!(completed(&import(&commands, opted_out(), text).await), [0, 0, 4, 0, 0]);
    assert!(!subscriber(&commands, ana).await.is_subscribed(news));
    let bo = person(&commands, "bo@example.com").await;
    assert_eq!(bo.events, ["added", "opted out"]);
    assert!(bo.state.groups.is_empty() && bo.state.global_opt_out);
    assert_eq!(completed(&import(&commands, active(Some(news)), text).await), [0, 0, 0, 4, 0]);
    let channels: Vec<String> =
        sqlx::query_scalar("SELECT payload->'SubscriberOptedOut'->>'channel' FROM events WHERE event_type = 'SubscriberOptedOut'")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(channels, ["import", "import"]);
    assert_gates_follow(&commands).await;
}

/// A permit that allows a call to this person, as a sender opens it.
async fn open_permit(commands: &commands::Commands, subscriber: domain::SubscriberId) {
    sqlx::query(
        "INSERT INTO permits (permit_id, campaign_id, dispatch_id, mailer, readers, expires_at, start_within_ms)
         VALUES (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'null', ARRAY[1, $1],
             now() + interval '1 hour', $2)",
    )
    .bind(commands::reader_key(subscriber))
    .bind(i32::try_from((TIMING.window + TIMING.margin).as_millis()).unwrap())
    .execute(&commands.store.pool)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn imported_opt_outs_wait_for_calls_under_way(pool: PgPool) {
    let commands = commands(&pool);
    let ana: domain::SubscriberId = {
        completed(&import(&commands, active(None), ANA).await);
        sqlx::query_scalar("SELECT subscriber_id FROM gates").fetch_one(&pool).await.unwrap()
    };
    open_permit(&commands, ana).await;
    let id = start(&commands, opted_out(), ANA).await;
    let begun = Instant::now();
    work(&commands).await;
    assert!(begun.elapsed() >= TIMING.window + TIMING.margin, "a permit that nobody settles is waited out");
    completed(&commands.import(id).await.unwrap());
    // A repeat waits as well, and a permit that is settled ends the wait.
    sqlx::query("UPDATE permits SET start_within_ms = 3600000").execute(&pool).await.unwrap();
    let id = start(&commands, opted_out(), ANA).await;
    let worker = {
        let commands = commands.clone();
        tokio::spawn(async move { work(&commands).await })
    };
    let counted = async || commands.import(id).await.unwrap().rows == 1;
    while !counted().await {
        tokio::task::yield_now().await;
    }
    assert_eq!(commands.import(id).await.unwrap().status, "running", "counted, and not acknowledged");
    assert!(!worker.is_finished());
    sqlx::query("DELETE FROM permits").execute(&pool).await.unwrap();
    worker.await.unwrap();
    assert_eq!(completed(&commands.import(id).await.unwrap()), [0, 0, 1, 0, 0]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_group_that_is_deleted_ends_the_import(pool: PgPool) {
    let commands = commands(&pool);
    let news = group(&commands).await;
    let id = start(&commands, active(Some(news)), ANA).await;
    commands.delete_group(&context(), news).await.unwrap();
    commands.work_on_next_import(&CancellationToken::new()).await.unwrap();
    let status = commands.import(id).await.unwrap();
    assert_eq!((status.status.as_str(), status.reason.as_deref()), ("failed", Some("group_deleted")));
    assert_eq!((counts(&status), rows_in(&pool, "import_chunks").await), ([0; 5], 0));
}
