//! A mailer that is down keeps nothing waiting that goes by another one, and is asked less and less often.

use crate::support::*;
use async_trait::async_trait;
use commands::{Commands, Context, MailerNames};
use domain::campaign::OnUnknown;
use sqlx::PgPool;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;
use workers::dkim::Dkim;
use workers::mailers::{Mailer, Outcome, Outgoing, Reconciled, Unavailable};
use workers::window::Window;

/// Counts how often it is asked. `hangs`: it never answers.
#[derive(Default)]
struct Down {
    asked: AtomicU32,
    hangs: bool,
}

#[async_trait]
impl Mailer for Down {
    fn name(&self) -> &'static str {
        "down"
    }
    fn concurrency(&self) -> usize {
        1
    }
    fn call_timeout(&self) -> Duration {
        Duration::from_secs(600)
    }
    async fn prepare(&self, _: usize) -> Result<(), Unavailable> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.hangs {
            true => std::future::pending().await,
            false => Err(Unavailable { reason: "down".into() }),
        }
    }
    async fn take_tokens(&self, n: usize) -> usize {
        n
    }
    async fn hand_over(&self, _: &Outgoing, _: &Window) -> Outcome {
        Outcome::NotStarted
    }
    async fn reconcile(&self, _: Uuid, _: Uuid, _: u32) -> Reconciled {
        Reconciled::Unknown
    }
    async fn settle_barrier(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}

/// Tests of a template, to be sent by this mailer.
async fn request(world: &World, mailer: &str, count: usize) {
    let Commands { store, .. } = world.commands.clone();
    let mut commands = Commands::new(store, world.pool.clone(), TIMING, MailerNames::of([mailer]));
    commands.test_recipients = world.commands.test_recipients.clone();
    let template = commands.template(world.template).await.unwrap();
    for n in 0..count {
        let to = [format!("editor{n}@example.com")];
        commands
            .request_test_mail(
                &Context::system("test"),
                world.template,
                &template,
                &to,
                commands::TestFields::Own,
            )
            .await
            .unwrap();
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mailer_that_hangs_holds_up_no_mail_by_another(pool: PgPool) {
    let world = World::new(&pool).await;
    request(&world, "down", 3).await;
    request(&world, "scripted", 2).await;
    request(&world, "gone", 1).await;
    let (down, up) = (Arc::new(Down { hangs: true, ..Down::default() }), Scripted::accepting());
    let mailers = [("down", down.clone() as Arc<dyn Mailer>), ("scripted", up.clone())];
    let sender = world.sender_of(mailers, Dkim::default()).await;
    tokio::spawn(sender.run(world.stop.clone()));
    world.until(async || up.taken().len() == 2 && down.asked.load(Ordering::Relaxed) > 0).await;
}

/// Each pause is at least twice as long: six tries take 1.5 s at the least, and 118 a second were made before.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mailer_that_is_down_is_asked_less_and_less_often(pool: PgPool) {
    let world = World::new(&pool).await;
    request(&world, "down", 30).await;
    let down = Arc::new(Down::default());
    let sender = world.sender_of([("down", down.clone() as Arc<dyn Mailer>)], Dkim::default()).await;
    let started = Instant::now();
    tokio::spawn(sender.run(world.stop.clone()));
    world.until(async || down.asked.load(Ordering::Relaxed) >= 6).await;
    assert!(started.elapsed() >= Duration::from_millis(1_550), "{:?}", started.elapsed());
}

/// A mail by a mailer that is not configured any more is given up when its time is over, and claimed seldom until then.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mail_by_a_mailer_that_is_gone_is_given_up_in_the_end(pool: PgPool) {
    let world = World::new(&pool).await;
    request(&world, "gone", 1).await;
    let sender = world.sender(Scripted::accepting()).await;
    assert!(sender.step_transactional("scripted").await.unwrap());
    let rests = "SELECT not_before > clock_timestamp() + interval '30 s' FROM dispatch_work";
    assert!(sqlx::query_scalar::<_, bool>(rests).fetch_one(&pool).await.unwrap());
}

/// All dispatches of a campaign wait while its mailer is down, and not each for itself.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_campaign_whose_mailer_is_down_is_claimed_once_in_a_while(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(100).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let down = Arc::new(Down::default());
    let sender = world.sender_of([("scripted", down.clone() as Arc<dyn Mailer>)], Dkim::default()).await;
    world.send_until(&sender, campaign, "paused").await;
    let asked = down.asked.load(Ordering::Relaxed);
    assert!((2..=4).contains(&asked), "{asked}");
}
