//! Signing in by a password: how many, in how much memory, and whether a refusal's time tells who has an account.

use super::Measure;
use crate::latency::{Latencies, signed_rank};
use crate::report::{Aim, Figure};
use crate::scene::{self, PASSWORD};
use argon2::{Algorithm, Argon2, Params, Version};
use e2e::{Client, Settings, Stack};
use futures::FutureExt;
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const AT_ONCE: usize = 64;
const TIME: Duration = Duration::from_secs(20);
/// Of known and of unknown addresses.
const REFUSALS: usize = 1_000;
/// Beyond this, times are told apart: see the same test at argon2's smallest (api/tests/it/timing.rs).
const TOLD_APART: f64 = 4.0;

pub const MEASURE: Measure = Measure {
    name: "sign-in",
    what: "Sign-ins by password over REST, 64 at once, of 64 users, beside argon2id alone with the same parameters (46 MiB, one pass, one lane) on as many \
           cores as sign-ins may take, half of them; then 2,000 refusals one after another, of known and unknown addresses in turn.",
    limited_by: "Argon2, on purpose. Half the cores hash, so that everything else goes on meanwhile; each hash holds 46 MiB, whatever waits holds nothing.",
    take: || take().boxed_local(),
};

async fn take() -> Vec<Figure> {
    let cores = std::thread::available_parallelism().unwrap().get();
    let hashing = (cores / 2).max(1);
    let raw = tokio::task::spawn_blocking(move || hashes_per_second(hashing)).await.unwrap();
    let mut stack = scene::with_admin(Settings::new().set("log.filter", "warn")).await;
    let users = scene::users(&stack, AT_ONCE).await;
    stack.process("server").forget_peak_memory();
    let rate = sign_ins_per_second(&stack, &users).await;
    let peak = stack.process("server").peak_memory_bytes();
    let (mut known, mut unknown) = refusals(&stack, &users[0]).await;
    let told = signed_rank(known.all(), unknown.all()).abs();
    vec![
        Figure::new("sign-ins, 64 at once", rate, "/s", Aim::Ratio(0.8)).beside("argon2 alone", raw),
        Figure::new("peak memory", mebibytes(peak), "MiB", Aim::AtMost(256.0)),
        Figure::new("refusal of a known address: p50", known.percentile_ms(50.0), "ms", Aim::None),
        Figure::new("refusal of an unknown address: p50", unknown.percentile_ms(50.0), "ms", Aim::None),
        Figure::new("known from unknown, Wilcoxon's signed ranks", told, "σ", Aim::AtMost(TOLD_APART)),
    ]
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

fn hashes_per_second(threads: usize) -> f64 {
    let hash = || {
        let params = Params::new(46 * 1024, 1, 1, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let start = Instant::now();
        let mut done = 0;
        while start.elapsed() < TIME / 2 {
            argon2.hash_password_into(PASSWORD.as_bytes(), &[7; 16], &mut [0; 32]).unwrap();
            done += 1;
        }
        f64::from(done) / start.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(hash)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

async fn sign_ins_per_second(stack: &Stack, users: &[String]) -> f64 {
    let start = Instant::now();
    let lanes = users.iter().cloned().map(|email| {
        let api = Client::public(&stack.url());
        async move {
            let mut done = 0;
            while start.elapsed() < TIME {
                scene::sign_in(&api, &email).await;
                done += 1;
            }
            done
        }
    });
    let done: usize = JoinSet::from_iter(lanes).join_all().await.into_iter().sum();
    done as f64 / start.elapsed().as_secs_f64()
}

/// In turn, each of them first in half of the pairs.
async fn refusals(stack: &Stack, known: &str) -> (Latencies, Latencies) {
    let api = Client::public(&stack.url());
    let refused = async |email: &str| {
        let body = json!({ "email": email, "password": "a wrong password" });
        let start = Instant::now();
        api.send(api.request(Method::POST, "/auth/login").json(&body)).await.unwrap().expect(401);
        start.elapsed()
    };
    let mut times = (Latencies::default(), Latencies::default());
    for turn in 0..REFUSALS {
        let nobody = format!("nobody{turn}@example.com");
        if turn % 2 == 0 {
            times.0.add(refused(known).await);
            times.1.add(refused(&nobody).await);
        } else {
            times.1.add(refused(&nobody).await);
            times.0.add(refused(known).await);
        }
    }
    times
}
