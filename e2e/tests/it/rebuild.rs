//! A read model that is filled again from the log equals the one that followed it, row for row (I5).

use crate::scene;
use e2e::{Draft, Export, Mail, Settings, Stack};
use serde_json::json;
use std::time::Duration;

const READERS: u64 = 300;
pub const MODELS: [&str; 7] =
    ["subscribers", "group_members", "groups", "templates", "campaigns", "campaign_report", "recipients"];

#[tokio::test]
async fn each_read_model_rebuilt_from_the_log_equals_the_live_one() {
    let mut stack = Stack::start(Settings::new().set("send.page_size", 40)).await;
    live_a_little(&stack).await;
    // While nothing follows the log, so that both are compared at the same position.
    stack.terminate("server", Duration::from_secs(30)).await;
    for model in MODELS {
        let live = rows(&stack, model).await;
        assert!(!live.is_empty(), "{model} is empty: nothing was proved");
        stack.operate(&["rebuild", model]);
        assert_eq!(rows(&stack, model).await, live, "{model}");
    }
    assert!(!stack.try_operate(&["rebuild", "nonsense"]).status.success());
}

/// Campaigns that were sent, cancelled and never sent; opt-outs of a group and of everything, and a way back.
async fn live_a_little(stack: &Stack) {
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", READERS)).await;
    let campaign = api.launch(&draft).await;
    api.completes(campaign, Duration::from_secs(60)).await;
    let mails: Vec<Mail> =
        stack.outbox().handovers().iter().take(3).map(|mail| Mail::read(&mail.file)).collect();
    api.one_click(&mails[0].one_click_link()).await.expect(200);
    let reader = |mail: &Mail| api.with_bearer(mail.one_click_link().split_once("token=").unwrap().1);
    for mail in &mails[1..] {
        reader(mail).post("/emails/unsubscribe", &json!({ "global": true })).await.expect(204);
    }
    let back =
        json!({ "global_opt_out": false, "groups": [{ "group_id": draft.group, "subscribed": true }] });
    reader(&mails[2]).command(reqwest::Method::PUT, "/preferences", &back).await.expect(204);
    let later = e2e::now() + chrono::TimeDelta::hours(1);
    let cancelled = api.draft(&Draft { time: Some(later), ..draft.clone() }).await;
    api.tell(cancelled, "cancel").await.expect(202);
    let second = api.launch(&draft).await;
    let report = api.completes(second, Duration::from_secs(60)).await;
    assert_eq!(report.accepted, READERS - 2, "{report:?}");
}

/// A read model's tables are named after it.
pub async fn rows(stack: &Stack, model: &str) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname ~ ('^' || $1 || '(_|$)') ORDER BY 1",
    )
    .bind(model)
    .fetch_all(stack.pool())
    .await
    .unwrap();
    let mut rows = Vec::new();
    for table in tables {
        let sql = format!("SELECT '{table}: ' || t::text FROM \"{table}\" t ORDER BY 1");
        rows.extend(sqlx::query_scalar::<_, String>(&sql).fetch_all(stack.pool()).await.unwrap());
    }
    rows
}
