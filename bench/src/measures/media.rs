//! Announcing files: a signed URL and an event each.

use super::Measure;
use crate::report::{Aim, Figure};
use commands::NewMedium;
use domain::media::{ContentType, Sha256};
use e2e::{Client, MediaStore, Settings, Stack};
use futures::FutureExt;
use media::{Credentials, Files};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const AT_ONCE: usize = 16;
const TIME: Duration = Duration::from_secs(10);

pub const MEASURE: Measure = Measure {
    name: "media",
    what: "POST /media over REST, 16 at once, each a signed URL and an event; beside the signatures alone, by the SDK on all cores in one process, and \
           beside POST /groups, which is an event as well and no signature.",
    limited_by: "The two cores, which the load shares. A signature is four HMACs and what the SDK does around them: its orchestrator builds the whole \
                 request to sign it.",
    take: || take().boxed_local(),
};

async fn take() -> Vec<Figure> {
    let signatures = signatures_per_second().await;
    let store = MediaStore::start().await;
    let mut stack = Stack::prepare(Settings::new().media(&store).set("log.filter", "warn")).await;
    stack.operate(&["media", "setup"]);
    stack.serve("server", "").await;
    stack.ready().await;
    let file = json!({ "filename": "a.png", "content_type": "image/png", "size_bytes": 1_000, "sha256": "00".repeat(32) });
    let media = calls_per_second(&stack, "/media", file).await;
    let groups = calls_per_second(&stack, "/groups", json!({ "name": "Readers" })).await;
    vec![
        Figure::new("POST /media, beside signatures", media, "/s", Aim::AtLeast(500.0))
            .beside("signatures alone", signatures),
        Figure::new("POST /media, beside another command", media, "/s", Aim::None)
            .beside("POST /groups", groups),
    ]
}

async fn signatures_per_second() -> f64 {
    let settings = media::Settings {
        bucket: "bench".into(),
        region: "us-east-1".into(),
        endpoint: None,
        path_style: false,
        credentials: Some(Credentials::new("bench", "a secret of the bench", None, None, "bench")),
        public_url: "https://cdn.example.com".into(),
        max_bytes: 1_000_000,
        cloudfront: None,
    };
    let files = Arc::new(Files::new(&settings).await);
    rate(move |_| {
        let files = files.clone();
        async move {
            let new = NewMedium {
                filename: "a.png".into(),
                content_type: ContentType::Png,
                size_bytes: 1_000,
                sha256: Sha256([0; 32]),
            };
            files.sign(&new.announce().1).await.unwrap();
        }
    })
    .await
}

async fn calls_per_second(stack: &Stack, path: &'static str, body: Value) -> f64 {
    let clients: Vec<Client> = (0..AT_ONCE).map(|_| stack.client()).collect();
    rate(move |lane| {
        let (api, body) = (clients[lane].clone(), body.clone());
        async move {
            api.send(api.request(Method::POST, path).json(&body)).await.unwrap().expect(201);
        }
    })
    .await
}

async fn rate<F>(work: impl Fn(usize) -> F + Send + Sync + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let (work, start) = (Arc::new(work), Instant::now());
    let lanes = (0..AT_ONCE).map(|lane| {
        let work = work.clone();
        async move {
            let mut done = 0;
            while start.elapsed() < TIME {
                work(lane).await;
                done += 1;
            }
            done
        }
    });
    let done: usize = JoinSet::from_iter(lanes).join_all().await.into_iter().sum();
    done as f64 / start.elapsed().as_secs_f64()
}
