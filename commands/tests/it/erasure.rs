//! Erasing people: what is left outside their events, and who could bring them back.

use crate::imports::support::*;
use commands::{CommandError, Commands, NewSubscriber, SubscriberPatch};
use domain::consent::Consent;
use domain::subscriber::Subscriber;
use domain::template::Template;
use domain::{EmailAddress, SubscriberId};
use eventstore::{ids, sealing};
use sqlx::PgPool;
use std::collections::{BTreeMap, HashSet};
use tokio::task::JoinSet;
use uuid::Uuid;

async fn add(commands: &Commands, email: &str) -> Result<SubscriberId, CommandError> {
    let consent = Consent { source: "form".into(), wording_version: None, given_at: None, given_from: None };
    let new = NewSubscriber {
        email: email.into(),
        name: Some("Ana".into()),
        attributes: BTreeMap::new(),
        groups: vec![],
        consent,
    };
    Ok(id_in(&commands.add_subscriber(&context(), new).await?, "subscriber_id"))
}

async fn erase(commands: &Commands, id: SubscriberId) {
    commands.erase_subscriber(&context(), id).await.unwrap();
}

/// Does what a sender does that has no mails; the ids that it would have looked for.
async fn finish(commands: &Commands) -> Option<HashSet<Uuid>> {
    let remains = commands.remains().await.unwrap()?;
    let readers = remains.readers.clone();
    commands.erase_remains(&remains).await.unwrap();
    commands.end_erasures(remains).await.unwrap();
    Some(readers)
}

async fn cells(commands: &Commands, id: Uuid) -> Vec<(i64, String)> {
    rejected(commands, id).await.into_iter().map(|row| (row.line, row.value)).collect()
}

fn cell(line: i64, value: &str) -> (i64, String) {
    (line, value.to_owned())
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_erased_address_stays_suppressed_and_so_does_one_that_was_left(pool: PgPool) {
    let commands = commands(&pool);
    let ana = add(&commands, "ana@example.com").await.unwrap();
    let moved = SubscriberPatch { email: Some("ana@example.org".into()), ..SubscriberPatch::default() };
    commands.change_subscriber(&context(), ana, moved.clone()).await.unwrap();
    erase(&commands, ana).await;

    let news = group(&commands).await;
    let text = "email,name\nana@example.com,Ana\nANA@Example.org,Ana\nben@example.com,Ben\n";
    assert_eq!(completed(&import(&commands, active(Some(news)), text).await), [1, 0, 0, 2, 0]);
    let text = "email\nana@example.com\nana@example.org\n";
    assert_eq!(completed(&import(&commands, opted_out(), text).await), [0, 0, 2, 0, 0]);
    for email in ["ana@example.com", "ana@example.org"] {
        let taken = add(&commands, email).await.unwrap_err();
        assert!(matches!(taken, CommandError::Known(_)), "{taken:?}");
        let address = EmailAddress::parse(email).unwrap();
        assert_eq!(commands.subscriber_at(&address).await.unwrap(), Some(ana));
    }
    let ben = commands.subscriber_at(&EmailAddress::parse("ben@example.com").unwrap()).await.unwrap();
    let taken = commands.change_subscriber(&context(), ben.unwrap(), moved.clone()).await.unwrap_err();
    assert!(matches!(taken, CommandError::Known(_)), "{taken:?}");
    let refused = commands.change_subscriber(&context(), ana, moved).await.unwrap_err();
    assert!(matches!(refused, CommandError::Forbidden { status, .. } if status == "erased"));
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM gates WHERE NOT suppressed OR groups <> '{}'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(open, 1, "Ben's alone");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn cells_of_rejected_rows_are_emptied_however_the_address_is_dressed_up(pool: PgPool) {
    let commands = commands(&pool);
    let ana = add(&commands, "ana@example.com").await.unwrap();
    let moved = SubscriberPatch { email: Some("ana@example.org".into()), ..SubscriberPatch::default() };
    commands.change_subscriber(&context(), ana, moved).await.unwrap();
    let text = "email,name\nana@example.com,Ana,too wide\n<ANA@example.com>,Ana\nana@example.org;,Ana\n\
                bana@example.com,Bana,too wide\nnobody,Ana\n";
    let id = start(&commands, active(None), text).await;
    work(&commands).await;
    let before = cells(&commands, id).await;
    assert_eq!(before.len(), 5);

    erase(&commands, ana).await;
    assert!(commands.has_remains(ana).await.unwrap());
    assert_eq!(finish(&commands).await, Some(HashSet::from([ana])));
    assert!(!commands.has_remains(ana).await.unwrap());
    let expected = [cell(2, ""), cell(3, ""), cell(4, ""), cell(5, "bana@example.com"), cell(6, "nobody")];
    assert_eq!(cells(&commands, id).await, expected);
    assert!(rejected(&commands, id).await.iter().all(|row| !row.reason.is_empty()));
    assert_eq!(finish(&commands).await, None);
}

/// What it still has to say of them would come after the look.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_import_that_was_uploaded_before_is_waited_for(pool: PgPool) {
    let commands = commands(&pool);
    let ana = add(&commands, "ana@example.com").await.unwrap();
    let text = "email,name\nana@example.com,Ana,too wide\nana@example.com,Ana\n";
    let before = start(&commands, active(None), text).await;
    erase(&commands, ana).await;
    let after = start(&commands, active(None), text).await;
    assert_eq!(finish(&commands).await, None);
    assert_eq!(commands.work_on_next_import(&Default::default()).await.unwrap(), Some(before));
    assert_eq!(completed(&commands.import(before).await.unwrap()), [0, 0, 0, 1, 1]);
    assert_eq!(cells(&commands, before).await, [cell(2, "ana@example.com")]);
    assert!(finish(&commands).await.is_some(), "nobody waits for a later one");
    assert_eq!(cells(&commands, before).await, [cell(2, "")]);
    let chunks = "SELECT count(*) FROM import_chunks WHERE import_id = $1";
    let kept: i64 = sqlx::query_scalar(chunks).bind(before).fetch_one(&pool).await.unwrap();
    assert_eq!((kept, commands.import(after).await.unwrap().status.as_str()), (0, "queued"));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn tests_of_templates_that_went_to_them_open_nowhere(pool: PgPool) {
    let commands = commands(&pool);
    let ana = add(&commands, "ana@example.com").await.unwrap();
    let mut requests = Vec::new();
    for to in [vec!["ben@example.com", "Ana@Example.com"], vec!["ben@example.com"]] {
        let to: Vec<String> = to.into_iter().map(str::to_owned).collect();
        let done = commands
            .request_test_mail(&context(), Uuid::nil(), &Template::default(), &to, commands::TestFields::Own)
            .await;
        requests.push(id_in(&done.unwrap(), "dispatch_id"));
    }
    erase(&commands, ana).await;
    assert_eq!(finish(&commands).await, None, "a sender may be about to hand it over");
    let keys = sealing::fetch(&pool, &commands.store.master, &requests).await.unwrap();
    assert_eq!(keys.keys().collect::<Vec<_>>(), [&requests[1]]);
    // No sender runs here that would give it up.
    sqlx::query("UPDATE dispatch_work SET pending = 0").execute(&pool).await.unwrap();
    let theirs = ids::recipient_id(requests[0], 1);
    assert_eq!(finish(&commands).await, Some(HashSet::from([ana, theirs])));
}

/// An import that knows them by earlier batches, joins them to a group and changes them, while they are erased one after
/// the other.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn nobody_is_brought_back_by_an_import_under_way(pool: PgPool) {
    let commands = commands(&pool);
    let news = group(&commands).await;
    let mut text = String::from("email,town\n");
    (0..3_000).for_each(|n| text.push_str(&format!("reader{n}@example.com,Rome\n")));
    import(&commands, active(None), text.replace("Rome", "Cork")).await;
    let ids: Vec<SubscriberId> = people(&commands).await.into_values().map(|person| person.id).collect();
    let id = start(&commands, active(Some(news)), text).await;
    let erasing: JoinSet<()> = (0..4)
        .map(|worker| {
            let (commands, ids) = (commands.clone(), ids.clone());
            async move {
                for id in ids.iter().skip(worker).step_by(20) {
                    erase(&commands, *id).await;
                }
            }
        })
        .collect();
    work(&commands).await;
    erasing.join_all().await;

    let [created, updated, unchanged, kept, rejected] = completed(&commands.import(id).await.unwrap());
    assert_eq!((created, unchanged, rejected, updated + kept), (0, 0, 0, 3_000));
    let erased: Vec<SubscriberId> =
        (0..4).flat_map(|worker| ids.iter().copied().skip(worker).step_by(20)).collect();
    let states = eventstore::load_many::<Subscriber>(&pool, &erased).await.unwrap();
    assert!(states.len() == 600 && states.values().all(|loaded| loaded.aggregate.is_erased()));
    assert!(sealing::fetch(&pool, &commands.store.master, &erased).await.unwrap().is_empty());
    let closed = "SELECT count(*) FROM gates WHERE subscriber_id = ANY($1) AND suppressed AND groups = '{}'";
    let closed: i64 = sqlx::query_scalar(closed).bind(&erased).fetch_one(&pool).await.unwrap();
    assert_eq!(closed, 600);
    assert!(finish(&commands).await.is_some());
    assert!(finish(&commands).await.is_some(), "500 at once");
    assert!(finish(&commands).await.is_none());
}

/// Whoever adds one says what erasing does to it.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn every_table_is_accounted_for(pool: PgPool) {
    let documented = include_str!("../../../docs/erasure.md");
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class
         WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let missing: Vec<_> = tables.iter().filter(|name| !documented.contains(&format!("`{name}`"))).collect();
    assert!(tables.len() > 30 && missing.is_empty(), "docs/erasure.md says nothing of {missing:?}");
}
