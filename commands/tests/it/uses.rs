//! What a campaign under way uses, and what is deleted: of two calls at the same time one is refused.

use crate::imports::support::{commands, context, id_in};
use chrono::TimeDelta;
use commands::{CampaignPatch, CommandError, Commands, MailerNames, NewCampaign, NewMedium};
use domain::campaign::OnUnknown;
use domain::media::{ContentType, Sha256};
use domain::template::{Body, Content};
use eventstore::{Done, clock};
use sqlx::PgPool;
use std::str::FromStr;
use uuid::Uuid;

const TRIES: usize = 30;

struct Scene {
    commands: Commands,
    group: Uuid,
    template: Uuid,
    medium: Uuid,
    campaign: Uuid,
}

impl Scene {
    async fn new(pool: &PgPool) -> Self {
        let (plain, by) = (commands(pool), context());
        let mailers = MailerNames::of(["test"]);
        let commands = Commands::new(plain.store, pool.clone(), plain.timing, mailers);
        let group =
            id_in(&commands.create_group(&by, "News".into(), String::new()).await.unwrap(), "group_id");
        let medium = medium(&commands).await;
        let template = id_in(&commands.create_template(&by, letter(medium)).await.unwrap(), "template_id");
        let new = NewCampaign {
            name: None,
            template,
            group,
            schedule_at: None,
            mailer: None,
            from: None,
            reply_to: None,
            on_unknown: OnUnknown::Hold,
        };
        let campaign = id_in(&commands.create_campaign(&by, new).await.unwrap(), "campaign_id");
        Self { commands, group, template, medium, campaign }
    }

    async fn schedule(&self) -> Result<Done, CommandError> {
        let at = clock::now() + TimeDelta::days(1);
        self.commands.schedule_campaign(&context(), self.campaign, Some(at)).await
    }
}

fn letter(medium: Uuid) -> Content {
    let html = format!("<html><body><p>{{{{ media(\"{medium}\") }}}}</p></body></html>");
    Content { name: "Letter".into(), subject: "Hi".into(), body: Body::Html(html), ..Content::default() }
}

async fn medium(commands: &Commands) -> Uuid {
    let sha256 = Sha256::from_str(&"ab".repeat(32)).unwrap();
    let new = NewMedium { filename: "a.png".into(), content_type: ContentType::Png, size_bytes: 3, sha256 };
    let (id, upload) = new.announce();
    commands.request_medium(&context(), id, upload).await.unwrap();
    id
}

/// Both at once, as close as two calls come: never both, and never none.
async fn race(both: [Result<Done, CommandError>; 2], what: &str) {
    let done = both.iter().filter(|end| end.is_ok()).count();
    assert_eq!(done, 1, "{what}: {both:?}");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_is_scheduled_and_deleted_at_once_is_one_of_both(pool: PgPool) {
    for _ in 0..TRIES {
        let scene = Scene::new(&pool).await;
        let delete = async { scene.commands.delete_group(&context(), scene.group).await };
        let (a, b) = tokio::join!(scene.schedule(), delete);
        race([a, b], "a group").await;

        let scene = Scene::new(&pool).await;
        let delete = async { scene.commands.delete_template(&context(), scene.template).await };
        let (a, b) = tokio::join!(scene.schedule(), delete);
        race([a, b], "a template").await;

        let scene = Scene::new(&pool).await;
        let delete = async { scene.commands.delete_medium(&context(), scene.medium).await };
        let (a, b) = tokio::join!(scene.schedule(), delete);
        race([a, b], "a medium").await;
    }
}

/// The template of a campaign that is scheduled comes to show a medium, which goes.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_a_scheduled_campaign_comes_to_show_does_not_go_at_once(pool: PgPool) {
    for _ in 0..TRIES {
        let scene = Scene::new(&pool).await;
        scene.schedule().await.unwrap();
        let other = medium(&scene.commands).await;
        let (by, and) = (context(), context());
        let (a, b) = tokio::join!(
            scene.commands.change_template(&by, scene.template, letter(other)),
            scene.commands.delete_medium(&and, other)
        );
        race([a, b], "another medium").await;
    }
}

/// A campaign that is scheduled comes to another group, which goes.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_a_scheduled_campaign_is_pointed_to_does_not_go_at_once(pool: PgPool) {
    for _ in 0..TRIES {
        let scene = Scene::new(&pool).await;
        scene.schedule().await.unwrap();
        let other = scene.commands.create_group(&context(), "Other".into(), String::new()).await.unwrap();
        let other = id_in(&other, "group_id");
        let patch = CampaignPatch { group: Some(other), ..CampaignPatch::default() };
        let (by, and) = (context(), context());
        let (a, b) = tokio::join!(
            scene.commands.change_campaign(&by, scene.campaign, patch),
            scene.commands.delete_group(&and, other)
        );
        race([a, b], "another group").await;
    }
}
