//! Whether a client goes on while thousands of others hold connections and send next to nothing.

use super::Measure;
use crate::latency::Latencies;
use crate::report::{Aim, Figure};
use crate::scene;
use e2e::{Settings, Stack};
use futures::FutureExt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

const SLOW: usize = 5_000;
const REQUESTS: usize = 1_000;
const EVERY: Duration = Duration::from_millis(20);
/// Between two bytes of a slow connection's head.
const DRIP: Duration = Duration::from_secs(2);
/// A normal client gives a request up after this time, and this measure a series of them.
const PATIENCE: Duration = Duration::from_secs(5);
const TIME_MAX: Duration = Duration::from_secs(60);
const OPENED_WITHIN: Duration = Duration::from_secs(30);

pub const MEASURE: Measure = Measure {
    name: "slow-connections",
    what: "A client that asks for a group each 20 ms, over one connection and over a new one each time: alone, \
           and while 5,000 connections from another address send a byte of a request's head each 2 s and are opened anew when they are cut off.",
    limited_by: "A head has to be there within 15 s, so that slow connections come and go. Each holds a task and a buffer. A millisecond on a machine with \
                 little to do is another one by a quarter a minute later, alone as beside them: no ratio is made of it.",
    take: || take().boxed_local(),
};

async fn take() -> Vec<Figure> {
    // All slow ones come from one address here.
    let settings = Settings::new().set("log.filter", "warn").set("api.limits.connections_per_address", 6_000);
    let mut stack = scene::with_admin(settings).await;
    let path = format!("/groups/{}", stack.client().group("Readers").await);
    // Waits until the read model has it.
    stack.client().query(&path).await;
    scene::all_done(&stack).await;
    let (kept, fresh) = (asked(&stack, &path, true).await.0, asked(&stack, &path, false).await.0);
    let mut slow_ones = JoinSet::new();
    let open = Arc::new(AtomicUsize::new(0));
    let server: SocketAddr = stack.url().trim_start_matches("http://").parse().unwrap();
    for _ in 0..SLOW {
        slow_ones.spawn(slow(server, open.clone()));
    }
    let start = Instant::now();
    while open.load(Ordering::Relaxed) < SLOW && start.elapsed() < OPENED_WITHIN {
        sleep(Duration::from_millis(100)).await;
    }
    let opened = open.load(Ordering::Relaxed) as f64;
    let (kept_then, kept_failed) = asked(&stack, &path, true).await;
    let (fresh_then, fresh_failed) = asked(&stack, &path, false).await;
    let failed = (kept_failed + fresh_failed) as f64;
    let memory = stack.process("server").peak_memory_bytes() as f64 / 1024.0 / 1024.0;
    let told = |what: &str, mut times: Latencies, aim| {
        let p50 = Figure::new(format!("{what}: p50"), times.percentile_ms(50.0), "ms", Aim::None);
        [p50, Figure::new(format!("{what}: p99"), times.percentile_ms(99.0), "ms", aim)]
    };
    let mut figures = vec![Figure::new("slow connections that it took", opened, "", Aim::None)];
    figures.extend(told("over one connection, alone", kept, Aim::None));
    figures.extend(told("over one connection, beside them", kept_then, Aim::AtMost(100.0)));
    figures.extend(told("over a new connection each, alone", fresh, Aim::None));
    figures.extend(told("over a new connection each, beside them", fresh_then, Aim::AtMost(100.0)));
    figures.extend([
        Figure::new("requests without an answer within 5 s", failed, "", Aim::AtMost(0.0)),
        Figure::new("the server's peak memory", memory, "MiB", Aim::AtMost(256.0)),
    ]);
    figures
}

/// A head that never ends, again and again, from an address that is not the normal client's.
async fn slow(server: SocketAddr, open: Arc<AtomicUsize>) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        if let Ok(mut stream) = socket.connect(server).await {
            open.fetch_add(1, Ordering::Relaxed);
            drip(&mut stream).await;
            open.fetch_sub(1, Ordering::Relaxed);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Until the server ends it.
async fn drip(stream: &mut TcpStream) {
    let mut part: &[u8] = b"GET /health/live HTTP/1.1\r\nX-Slow: ";
    while stream.write_all(part).await.is_ok() {
        part = b"x";
        // Bytes that come back are the server's word that it is over.
        if timeout(DRIP, stream.readable()).await.is_ok() {
            return;
        }
    }
}

/// Latencies, and how many requests got no answer in time. They stand among the latencies with the time that was waited.
async fn asked(stack: &Stack, path: &str, keeps: bool) -> (Latencies, usize) {
    let idle = if keeps { 1 } else { 0 };
    let http =
        reqwest::Client::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(idle).build().unwrap();
    let url = format!("{}{path}", stack.url());
    let (mut turns, mut latencies, mut failed) = (interval(EVERY), Latencies::default(), 0);
    let since = Instant::now();
    while latencies.len() < REQUESTS && since.elapsed() < TIME_MAX {
        turns.tick().await;
        let start = Instant::now();
        match http.get(&url).bearer_auth(&stack.api_key).send().await {
            Ok(answer) => {
                assert_eq!(answer.status(), 200);
                answer.bytes().await.unwrap();
            }
            Err(_) => failed += 1,
        }
        latencies.add(start.elapsed());
    }
    (latencies, failed)
}
