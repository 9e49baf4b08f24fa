//! Kafka is really in the path: without it nothing is read, and what people ask for is answered all the same.

use crate::account::Account;
use crate::scene;
use e2e::{Broker, Client, Draft, Export, Mail, Metrics, Settings, Stack, eventually, stays};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

const READERS: u64 = 300;
const WITHIN: Duration = Duration::from_secs(120);
const NOTHING_MOVES_FOR: Duration = Duration::from_secs(8);
const STOPS_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn with_the_broker_stopped_no_read_model_moves_and_started_again_all_drains() {
    let Some(broker) = Broker::start() else { return };
    let settings = Settings::new().set("kafka.brokers", &broker.address).set("kafka.partitions", 4);
    let mut stack = Stack::start(settings).await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", READERS)).await;
    let first = api.launch(&draft).await;
    api.completes(first, WITHIN).await;
    api.caught_up(WITHIN).await;
    let link = Mail::read(&stack.outbox().handovers()[0].file).one_click_link();

    broker.stop();
    let before = checkpoints(&stack).await;
    let second = commands_are_answered(&api, &draft, &link).await;
    eventually("the second campaign is due", WITHIN, async || {
        (status(&stack, second).await == "freezing").then_some(())
    })
    .await;
    stays("no read model moves and nothing freezes", NOTHING_MOVES_FOR, async || {
        checkpoints(&stack).await == before && status(&stack, second).await == "freezing"
    })
    .await;
    let check = stack.try_operate(&["kafka", "check"]);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(!check.status.success() && said.contains("WRONG: no broker of"), "{said}");

    broker.go_on();
    eventually("the second campaign is sent", WITHIN, async || {
        (status(&stack, second).await == "completed").then_some(())
    })
    .await;
    // Members rejoin their groups: that takes longer than one caller has patience.
    api.caught_up(WITHIN).await;
    api.completes(second, WITHIN).await;
    let account = Account::of(&stack, second).await;
    assert_eq!(account.report.accepted, READERS - 1, "who opted out meanwhile is not written to");
    let models = api.caught_up(WITHIN).await;
    for unit in ["events", "seconds"] {
        Metrics::say(&stack, "server", &format!("postledger_relay_lag_{unit} 0")).await;
    }
    stack.operate(&["kafka", "check"]);
    kafkas_own_tool_shows_the_groups(&broker, &models).await;

    broker.stop();
    let ended = stack.terminate("server", STOPS_WITHIN).await;
    assert!(ended.success(), "after SIGTERM without a broker it ended with {ended}");
}

#[tokio::test]
async fn events_travel_by_tls_to_brokers_that_want_to_know_who_asks() {
    let Some(broker) = Broker::start_secure() else { return };
    for mechanism in ["SCRAM-SHA-512", "PLAIN"] {
        let mut stack = Stack::start(broker.sign_in(Settings::new(), mechanism)).await;
        let api = stack.client();
        let draft = scene::readers(&api, &Export::clean("reader", 20)).await;
        let campaign = api.launch(&draft).await;
        api.completes(campaign, WITHIN).await;
        api.caught_up(WITHIN).await;
        stack.operate(&["kafka", "check"]);

        stack.set("kafka.password", "not-the-password");
        let said = refused(&stack);
        assert!(said.contains("Authentication failed") && !said.contains("not-the-password"), "{said}");
        stack.set("kafka.ca_file", "/etc/ssl/certs/ca-certificates.crt");
        let said = refused(&stack);
        assert!(said.contains("certificate verify failed"), "{said}");
    }
}

fn refused(stack: &Stack) -> String {
    let check = stack.try_operate(&["kafka", "check"]);
    assert!(!check.status.success());
    String::from_utf8_lossy(&check.stdout).into_owned()
}

/// An opt-out, a new group, and a campaign that is due at once.
async fn commands_are_answered(api: &Client, draft: &Draft, link: &str) -> Uuid {
    api.one_click(link).await.expect(200);
    api.group("Made without a broker").await;
    api.launch(draft).await
}

async fn checkpoints(stack: &Stack) -> Vec<(String, String, i16, i64)> {
    sqlx::query_as("SELECT projection, aggregate_type, slot, position FROM checkpoints ORDER BY 1, 2, 3")
        .fetch_all(stack.pool())
        .await
        .unwrap()
}

/// Not from a read model: those stand still.
async fn status(stack: &Stack, campaign: Uuid) -> String {
    sqlx::query_scalar("SELECT status FROM campaign_gates WHERE campaign_id = $1")
        .bind(campaign)
        .fetch_one(stack.pool())
        .await
        .unwrap()
}

/// One group for each read model, with a member, and in the end nothing left to read in any partition.
async fn kafkas_own_tool_shows_the_groups(broker: &Broker, models: &[String]) {
    eventually("the groups have committed all", WITHIN, async || {
        let described = broker.tool(&["consumer-groups", "--all-groups", "--describe"]);
        let mut lags = BTreeMap::<&str, Vec<&str>>::new();
        for line in described.lines().filter(|line| line.starts_with("postledger.")) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID
            let model = columns[0].rsplit('.').next().unwrap();
            lags.entry(model).or_default().push(columns[5]);
        }
        println!("{described}");
        let is_done = |model: &String| {
            lags.get(model.as_str()).is_some_and(|lags| lags.iter().all(|lag| ["0", "-"].contains(lag)))
        };
        models.iter().all(is_done).then_some(())
    })
    .await;
}
