//! What is swept: uploads that nobody completes, and files that nobody wants. Against the development stack's object store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod studio;

use chrono::TimeDelta;
use commands::Context;
use domain::MediaId;
use eventstore::clock;
use sqlx::PgPool;
use studio::Studio;

/// After the upload's URL is over, and the time that an upload may take.
const LATER: TimeDelta = TimeDelta::hours(25);

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_nobody_completes_expires_and_goes(pool: PgPool) {
    let studio = Studio::new(&pool).await;
    let (left, done) = (studio.upload().await, studio.upload().await);
    studio.complete(done).await;
    // Nothing is over yet.
    assert!(!studio.sweeper().sweep(clock::now()).await.unwrap());
    assert_eq!(studio.events(left).await, ["MediaRequested"]);
    for _ in 0..2 {
        studio.sweeper().sweep(clock::now() + LATER).await.unwrap();
        assert_eq!(studio.events(left).await, ["MediaRequested", "MediaExpired"]);
    }
    assert!(!studio.has_file(left).await && studio.has_file(done).await);
    assert_eq!(studio.events(done).await, ["MediaRequested", "MediaUploaded"]);
    assert!(studio.commands.complete_medium(&Context::system("test"), left, None).await.is_err());
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_comes_back_after_its_removal_goes_again(pool: PgPool) {
    let studio = Studio::new(&pool).await;
    let id = studio.upload().await;
    studio.complete(id).await;
    studio.commands.delete_medium(&Context::system("test"), id).await.unwrap();
    studio.sweeper().sweep(clock::now()).await.unwrap();
    assert!(!studio.has_file(id).await);
    // By the URL, which is still good.
    studio.put(id).await;
    studio.sweeper().sweep(clock::now()).await.unwrap();
    assert!(studio.has_file(id).await, "it is not looked at all the time");
    studio.sweeper().sweep(clock::now() + LATER).await.unwrap();
    assert!(!studio.has_file(id).await);
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM media_files").fetch_one(&pool).await.unwrap();
    assert_eq!(kept, 0, "there is nothing left to do for it");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_store_that_is_away_is_asked_again(pool: PgPool) {
    let mut studio = Studio::new(&pool).await;
    let id = studio.upload().await;
    studio.commands.delete_medium(&Context::system("test"), id).await.unwrap();
    studio.stop().await;
    assert!(!studio.sweeper().sweep(clock::now()).await.unwrap());
    studio.start().await;
    assert!(studio.has_file(id).await);
    studio.sweeper().sweep(clock::now()).await.unwrap();
    assert!(!studio.has_file(id).await);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_file_that_cannot_be_removed_keeps_no_other(pool: PgPool) {
    let studio = Studio::new(&pool).await;
    let (stuck, other) = (studio.upload().await, studio.upload().await);
    studio.make_irremovable(stuck).await;
    for id in [stuck, other] {
        studio.commands.delete_medium(&Context::system("test"), id).await.unwrap();
    }
    for _ in 0..2 {
        assert!(!studio.sweeper().sweep(clock::now()).await.unwrap());
    }
    assert!(!studio.has_file(other).await);
    let removed: Vec<MediaId> =
        sqlx::query_scalar("SELECT media_id FROM media_files WHERE removed_at IS NOT NULL")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(removed, [other]);
}
