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
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

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
    what: "A client that asks for a group each 20 ms, over one connection and over a new one each time: alone, and while 5,000 connections from another address \
           send a byte of a request's head each 2 s and are opened anew when they are cut off.",
    limited_by: "A head has to be there within 15 s, so that slow connections come and go. Each holds a task and a buffer.",
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
    let ((mut kept, _), (mut fresh, _)) =
        (asked(&stack, &path, true).await, asked(&stack, &path, false).await);
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let open = Arc::new(AtomicUsize::new(0));
    let server: SocketAddr = stack.url().trim_start_matches("http://").parse().unwrap();
    for _ in 0..SLOW {
        tokio::spawn(slow(server, open.clone(), stop.clone()));
    }
    let start = Instant::now();
    while open.load(Ordering::Relaxed) < SLOW && start.elapsed() < OPENED_WITHIN {
        sleep(Duration::from_millis(100)).await;
    }
    let opened = open.load(Ordering::Relaxed) as f64;
    let (mut kept_then, kept_failed) = asked(&stack, &path, true).await;
    let (mut fresh_then, fresh_failed) = asked(&stack, &path, false).await;
    let failed = (kept_failed + fresh_failed) as f64;
    let memory = stack.process("server").peak_memory_bytes() as f64 / 1024.0 / 1024.0;
    // Of the slowest in a hundred a shared machine says something else each time: beside one another stand the medians.
    let times = |what: &str, then: &mut Latencies, alone: &mut Latencies| {
        let median = Figure::new(format!("{what}: p50"), then.percentile_ms(50.0), "ms", Aim::None)
            .beside("without them", alone.percentile_ms(50.0));
        [median, Figure::new(format!("{what}: p99"), then.percentile_ms(99.0), "ms", Aim::AtMost(100.0))]
    };
    let mut figures = vec![Figure::new("slow connections that it took", opened, "", Aim::None)];
    figures.extend(times("over one connection", &mut kept_then, &mut kept));
    figures.extend(times("over a new connection each", &mut fresh_then, &mut fresh));
    figures.extend([
        Figure::new("requests without an answer within 5 s", failed, "", Aim::AtMost(0.0)),
        Figure::new("the server's peak memory", memory, "MiB", Aim::AtMost(256.0)),
    ]);
    figures
}

/// A head that never ends, again and again, from an address that is not the normal client's.
async fn slow(server: SocketAddr, open: Arc<AtomicUsize>, stop: CancellationToken) {
    let forever = async {
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
    };
    tokio::select! {
        () = forever => {}
        () = stop.cancelled() => {}
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
