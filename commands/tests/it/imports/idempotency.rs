use super::support::*;
use commands::{CommandError, Context};
use eventstore::IdempotencyKey;
use sqlx::PgPool;

const ANA: &str = "email\nana@example.com\n";

fn with_key(key: &str) -> Context {
    let key =
        IdempotencyKey { actor: "admin".into(), route: "import".into(), key: key.into(), body_hmac: [1; 32] };
    Context { idempotency: Some(key), ..context() }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_same_key_and_body_get_the_first_answer(pool: PgPool) {
    let commands = commands(&pool);
    let news = group(&commands).await;
    let upload = async |text| commands.start_import(&with_key("k"), active(Some(news)), body(text)).await;
    let first = upload(ANA).await.unwrap();
    let again = upload(ANA).await.unwrap();
    assert_eq!(first.answer, again.answer);
    assert!(first.appended && !again.appended);
    assert_eq!((rows_in(&pool, "imports").await, rows_in(&pool, "import_chunks").await), (1, 1));
    assert!(matches!(upload("email\nbo@example.com\n").await, Err(CommandError::KeyReused)));
    // The answer holds, whatever became of the import and its group.
    work(&commands).await;
    commands.delete_group(&context(), news).await.unwrap();
    assert_eq!(upload(ANA).await.unwrap().answer, first.answer);
    assert_eq!(rows_in(&pool, "imports").await, 1);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn other_parameters_are_another_body(pool: PgPool) {
    let commands = commands(&pool);
    commands.start_import(&with_key("k"), active(None), body(ANA)).await.unwrap();
    let mut context = with_key("k");
    context.idempotency.as_mut().unwrap().body_hmac = [2; 32];
    let other = commands.start_import(&context, opted_out(), body(ANA)).await;
    assert!(matches!(other, Err(CommandError::KeyReused)));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_refused_upload_spends_no_key(pool: PgPool) {
    let commands = commands(&pool);
    let refused = commands.start_import(&with_key("k"), active(None), body("town\nRome\n")).await;
    assert_eq!(field_of(&refused.unwrap_err()).0, "body");
    assert!(commands.start_import(&with_key("k"), active(None), body(ANA)).await.is_ok());
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn uploads_with_one_key_at_once_make_one_import(pool: PgPool) {
    let commands = commands(&pool);
    let context = with_key("k");
    let upload = |text: String| commands.start_import(&context, active(None), body(text));
    let large = format!("email\n{}", "ana@example.com\n".repeat(40_000));
    let uploads = futures::future::join_all((0..4).map(|_| upload(large.clone()))).await;
    let answers: Vec<_> = uploads.iter().flatten().map(|done| done.answer.clone()).collect();
    assert!(!answers.is_empty() && answers.iter().all(|answer| *answer == answers[0]), "{uploads:?}");
    let others = uploads.iter().filter_map(|upload| upload.as_ref().err());
    assert!(others.into_iter().all(|error| matches!(error, CommandError::InProgress)));
    assert_eq!(rows_in(&pool, "imports").await, 1);
    // One that ends while the same key is being answered elsewhere is told so.
    let mut elsewhere = pool.begin().await.unwrap();
    eventstore::idempotency::try_lock(&mut elsewhere, context.idempotency.as_ref().unwrap()).await.unwrap();
    let mut other = with_key("k2");
    other.idempotency.as_mut().unwrap().key = "k3".into();
    eventstore::idempotency::try_lock(&mut elsewhere, other.idempotency.as_ref().unwrap()).await.unwrap();
    let in_progress = commands.start_import(&other, active(None), body(ANA)).await;
    assert!(matches!(in_progress, Err(CommandError::InProgress)));
    assert_eq!(rows_in(&pool, "imports").await, 1, "and leaves nothing");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_cancellation_is_answered_again(pool: PgPool) {
    let commands = commands(&pool);
    let id = start(&commands, active(None), ANA).await;
    let first = commands.cancel_import(&with_key("c"), id).await.unwrap();
    let again = commands.cancel_import(&with_key("c"), id).await.unwrap();
    assert_eq!(first.answer, again.answer);
}
