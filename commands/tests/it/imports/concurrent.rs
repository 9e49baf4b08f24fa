use super::export::export;
use super::support::*;
use commands::{Commands, OptOut};
use domain::consent::{Channel, Origin, Scope};
use domain::subscriber::Subscriber;
use domain::{GroupId, SubscriberId};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

fn workers(commands: &Commands, count: usize) -> JoinSet<()> {
    (0..count)
        .map(|_| {
            let commands = commands.clone();
            async move { work(&commands).await }
        })
        .collect()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn two_workers_share_one_import_without_counting_twice(pool: PgPool) {
    let commands = commands(&pool);
    let export = export(21, 3_000);
    let id = start(&commands, active(None), export.text.clone()).await;
    workers(&commands, 2).join_all().await;
    assert_eq!(completed(&commands.import(id).await.unwrap()), export.counts);
    export.assert_found(&people(&commands).await);
}

/// Both add the same people at once: whoever is second finds them there.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn imports_of_one_file_at_once_add_each_person_once(pool: PgPool) {
    let commands = commands(&pool);
    let (news, offers) = (group(&commands).await, group(&commands).await);
    let mut text = String::from("email\n");
    (0..6_000).for_each(|n| text.push_str(&format!("reader{n}@example.com\n")));
    let first = start(&commands, active(Some(news)), text.clone()).await;
    let second = start(&commands, active(Some(offers)), text).await;
    workers(&commands, 2).join_all().await;
    let (first, second) = (commands.import(first).await.unwrap(), commands.import(second).await.unwrap());
    let (a, b) = (completed(&first), completed(&second));
    assert_eq!(a[0] + b[0], 6_000, "{a:?} {b:?}");
    assert_eq!((a[1] + b[1], a[2] + b[2]), (6_000, 0));
    assert!(people(&commands).await.values().all(|person| person.state.groups.len() == 2));
    assert_gates_follow(&commands).await;
}

/// One opt-out after the other, of people at random; returns whose.
async fn leave(
    commands: Commands,
    news: GroupId,
    ids: Vec<SubscriberId>,
    mut random: Random,
    working: CancellationToken,
) -> Vec<SubscriberId> {
    let mut left = Vec::new();
    while !working.is_cancelled() {
        let subscriber = ids[random.below(ids.len())];
        let scope = if random.one_in(2) { Scope::Global } else { Scope::Groups(vec![news]) };
        let opt_out = OptOut { subscriber, scope, channel: Channel::OneClick, origin: Origin::default() };
        commands.opt_out(&context(), opt_out).await.unwrap();
        left.push(subscriber);
    }
    left
}

/// Opt-outs that are acknowledged while an import joins the same people to a group stay.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn opt_outs_during_an_import_stay(pool: PgPool) {
    let commands = commands(&pool);
    let news = group(&commands).await;
    let mut text = String::from("email,town\n");
    (0..4_000).for_each(|n| text.push_str(&format!("reader{n}@example.com,Rome\n")));
    import(&commands, active(None), text.clone()).await;
    let ids: Vec<_> = people(&commands).await.into_values().map(|person| person.id).collect();
    let id = start(&commands, active(Some(news)), text).await;
    let working = CancellationToken::new();
    let leaving: JoinSet<_> = (0..4)
        .map(|seed| leave(commands.clone(), news, ids.clone(), Random(seed), working.clone()))
        .collect();
    work(&commands).await;
    working.cancel();
    let left = leaving.join_all().await.concat();
    let status = commands.import(id).await.unwrap();
    let [created, updated, unchanged, kept, rejected] = completed(&status);
    assert_eq!((created, unchanged, rejected, updated + kept), (0, 0, 0, 4_000));
    println!("{} opt-outs, {kept} of them before their row", left.len());
    assert!(left.len() >= 8, "{}", left.len());
    let states = eventstore::load_many::<Subscriber>(&pool, &left).await.unwrap();
    assert!(states.values().all(|loaded| !loaded.aggregate.is_subscribed(news)));
    assert_gates_follow(&commands).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_oldest_import_comes_first_and_none_is_none(pool: PgPool) {
    let commands = commands(&pool);
    let stop = CancellationToken::new();
    assert_eq!(commands.work_on_next_import(&stop).await.unwrap(), None);
    let first = start(&commands, active(None), "email\na@example.com\n").await;
    let second = start(&commands, active(None), "email\na@example.com\n").await;
    assert_eq!(commands.work_on_next_import(&stop).await.unwrap(), Some(first));
    assert_eq!(commands.work_on_next_import(&stop).await.unwrap(), Some(second));
    assert_eq!(commands.work_on_next_import(&stop).await.unwrap(), None);
}

fn rows(count: usize, name: &str) -> String {
    let rows = (0..count).map(|n| format!("{name}{n}@example.com\n"));
    std::iter::once("email\n".to_owned()).chain(rows).collect()
}

/// Each row of it may be mailed meanwhile. Of other imports a small one does not wait for the end of a large one.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_list_of_the_unsubscribed_goes_first_and_others_share_in_turn(pool: PgPool) {
    let (commands, stop) = (commands(&pool), CancellationToken::new());
    let large = start(&commands, active(None), rows(3_500, "large")).await;
    let small = start(&commands, active(None), rows(1_500, "small")).await;
    let lists = [
        start(&commands, opted_out(), rows(1_500, "gone")).await,
        start(&commands, opted_out(), rows(10, "left")).await,
    ];
    let mut order = Vec::new();
    while let Some(worked) = commands.work_on_next_import(&stop).await.unwrap() {
        order.push(worked);
    }
    // The last of two alike goes on to its end.
    assert_eq!(order, [lists[0], lists[1], lists[0], large, small, large, small, large]);
    for (import, count) in [(large, 3_500), (small, 1_500), (lists[0], 1_500), (lists[1], 10)] {
        assert_eq!(completed(&commands.import(import).await.unwrap())[0], count);
    }
}
