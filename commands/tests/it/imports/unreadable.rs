//! One person who cannot be read costs an import that person's row, and no other.

use super::support::*;
use sqlx::PgPool;
use uuid::Uuid;

const FILE: &str = "email,town\nana@example.com,Rome\nben@example.com,Rome\nchi@example.com,Rome\n";

async fn damage_key(pool: &PgPool, person: Uuid) {
    let damage = "UPDATE subject_keys SET wrapped_key = '\\x00' WHERE subject_id = $1";
    sqlx::query(damage).bind(person).execute(pool).await.unwrap();
}

/// The last event is of a version that nobody knows.
async fn damage_stream(pool: &PgPool, person: Uuid) {
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT 'subscriber', $1, max(sequence) + 1, 'SubscriberDetailsChanged', '9.0', '{\"SubscriberDetailsChanged\": {}}', '{}'
         FROM events WHERE aggregate_type = 'subscriber' AND aggregate_id = $1",
    )
    .bind(person.to_string())
    .execute(pool)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_damaged_person_is_a_rejected_row_among_others(pool: PgPool) {
    let commands = commands(&pool);
    let group = group(&commands).await;
    assert_eq!(completed(&import(&commands, active(Some(group)), FILE).await), [3, 0, 0, 0, 0]);
    let (ana, ben) =
        (person(&commands, "ana@example.com").await.id, person(&commands, "ben@example.com").await.id);
    damage_key(&pool, ana).await;
    damage_stream(&pool, ben).await;
    let again = import(&commands, active(Some(group)), FILE.replace("Rome", "Oslo")).await;
    assert_eq!(completed(&again), [0, 1, 0, 0, 2]);
    let reasons: Vec<(i64, String)> =
        rejected(&commands, again.import_id).await.into_iter().map(|row| (row.line, row.reason)).collect();
    assert_eq!(reasons, [(2, "unreadable".to_owned()), (3, "unreadable".to_owned())]);
}

/// Whose details do not open can still be opted out: nothing of them has to be opened for that.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_list_of_the_unsubscribed_takes_whose_details_do_not_open(pool: PgPool) {
    let commands = commands(&pool);
    let group = group(&commands).await;
    import(&commands, active(Some(group)), FILE).await;
    let (ana, ben) =
        (person(&commands, "ana@example.com").await.id, person(&commands, "ben@example.com").await.id);
    damage_key(&pool, ana).await;
    damage_stream(&pool, ben).await;
    assert_eq!(completed(&import(&commands, opted_out(), FILE).await), [0, 2, 0, 0, 1]);
    assert!(subscriber(&commands, ana).await.global_opt_out);
}

/// A cell that does not open is shown as such, and fails no list.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_rejected_cell_that_does_not_open_is_listed_among_others(pool: PgPool) {
    let commands = commands(&pool);
    let bad = import(&commands, active(None), "email\nnobody\nnowhere\nana@example.com\n").await;
    let damage = "UPDATE import_rejected SET value = '\\x00' WHERE line = 2";
    sqlx::query(damage).execute(&pool).await.unwrap();
    let values: Vec<String> =
        rejected(&commands, bad.import_id).await.into_iter().map(|row| row.value).collect();
    assert_eq!(values, ["unreadable", "nowhere"]);
}
