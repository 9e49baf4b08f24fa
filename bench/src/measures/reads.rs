//! What signing in costs a read: the product's route beside the same query without sign-in.

use super::Measure;
use crate::report::{Aim, Figure, median};
use crate::scene;
use api::ApiConfig;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use e2e::{Client, Settings, Stack};
use futures::FutureExt;
use projections::groups;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use std::process::Command;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const CONNECTIONS: usize = 16;
const SECONDS: usize = 5;
/// Of the server and of what it is compared with.
const POOL: u32 = 24;
/// The median of them is told: a shared machine may do anything meanwhile.
const ROUNDS: usize = 5;

pub const MEASURE: Measure = Measure {
    name: "reads",
    what: "GET /groups/{id} by wrk over 16 connections, with an access token and with an API key, beside the same query and the same JSON on the same HTTP \
           server and with the same edge (request id, log line, metrics, headers), without sign-in and what comes with it (limits, time-outs).",
    limited_by: "Two cores for wrk, the API and Postgres. An access token is verified without the database; a key is looked up with each request, one query more \
                 beside the one that the route makes, so that a revoked key opens nothing from the commit on.",
    take: || take().boxed_local(),
};

async fn take() -> Vec<Figure> {
    let stack = scene::with_admin(Settings::new().set("log.filter", "warn")).await;
    let group = stack.client().group("Readers").await;
    stack.client().query(&format!("/groups/{group}")).await;
    let path = format!("/groups/{group}");
    scene::all_done(&stack).await;
    let access = scene::sign_in(&Client::public(&stack.url()), scene::ADMIN).await;
    let (bare, _stop) = bare(&stack).await;
    let ours = format!("{}{path}", stack.url());
    let mut runs = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        runs[0].push(wrk(&format!("{bare}{path}"), None).await);
        runs[1].push(wrk(&ours, Some(&access)).await);
        runs[2].push(wrk(&ours, Some(&stack.api_key)).await);
    }
    let medians = |runs: Vec<(f64, f64)>| {
        let (rates, p99s) = runs.into_iter().unzip();
        (median(rates), median(p99s))
    };
    let [(raw, raw_p99), by_token, by_key] = runs.map(medians);
    let beside = "without sign-in";
    let told = |who: &str, (rate, p99): (f64, f64), aim| {
        [
            Figure::new(format!("{who}: reads"), rate, "/s", aim).beside(beside, raw),
            Figure::new(format!("{who}: p99"), p99, "ms", Aim::None).beside(beside, raw_p99),
        ]
    };
    let figures = [told("access token", by_token, Aim::Ratio(0.8)), told("API key", by_key, Aim::None)];
    figures.into_iter().flatten().collect()
}

/// The query of the route and its answer, over the server and the edge that the product has.
async fn bare(stack: &Stack) -> (String, DropGuard) {
    async fn group(State(pool): State<PgPool>, Path(id): Path<Uuid>) -> Json<Value> {
        let group = groups::get(&pool, id).await.unwrap().unwrap();
        Json(json!({
            "group_id": group.id, "name": group.name, "description": group.description, "members": group.members,
            "created_at": group.created_at, "changed_at": group.changed_at,
        }))
    }
    let options = (*stack.pool().connect_options()).clone();
    let pool = PgPoolOptions::new().max_connections(POOL).test_before_acquire(false).connect_with(options);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, stop) = (format!("http://{}", listener.local_addr().unwrap()), CancellationToken::new());
    let config = ApiConfig::new(url.parse().unwrap());
    let router =
        api::around(Router::new().route("/groups/{id}", get(group)), &config).with_state(pool.await.unwrap());
    tokio::spawn(api::serve(listener, router, api::Connections::default(), stop.clone()));
    (url, stop.drop_guard())
}

/// Requests per second, and the 99th percentile in ms. Any other answer than 2xx ends the run.
async fn wrk(url: &str, bearer: Option<&str>) -> (f64, f64) {
    let mut wrk = Command::new("wrk");
    wrk.args(["--latency", "-t", "1", "-c", &CONNECTIONS.to_string(), "-d", &SECONDS.to_string()]);
    if let Some(bearer) = bearer {
        wrk.args(["-H", &format!("Authorization: Bearer {bearer}")]);
    }
    wrk.arg(url);
    let output = tokio::task::spawn_blocking(move || wrk.output()).await.unwrap().expect("wrk is missing");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !said.contains("Non-2xx"), "{said}");
    let after =
        |word: &str| said.lines().find_map(|line| Some(line.trim().strip_prefix(word)?.trim().to_owned()));
    let rate = after("Requests/sec:").and_then(|rate| rate.parse().ok());
    let p99 = after("99%").and_then(|time| milliseconds(&time));
    (rate.expect(&said), p99.expect(&said))
}

/// As wrk writes times: `831.00us`, `2.41ms`, `1.02s`.
fn milliseconds(time: &str) -> Option<f64> {
    let units = [("us", 1_000_000.0), ("ms", 1_000.0), ("s", 1.0)];
    let (number, in_a_second) =
        units.iter().find_map(|(unit, count)| Some((time.strip_suffix(unit)?, count)))?;
    Some(number.parse::<f64>().ok()? * 1_000.0 / in_a_second)
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn times_are_read_as_wrk_writes_them() {
        let read = ["831.00us", "2.41ms", "1.02s", "fast"].map(milliseconds);
        assert_eq!(read, [Some(0.831), Some(2.41), Some(1020.0), None]);
    }
}
