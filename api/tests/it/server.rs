//! Over a socket, as it is served.

use crate::support::TestApp;
use api::Connections;
use sqlx::PgPool;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

type Server = (SocketAddr, JoinHandle<std::io::Result<()>>, CancellationToken);

async fn serve(app: &TestApp) -> Server {
    serve_within(app, Connections { max: 100, per_network_max: 100, trusted_proxies: Vec::new() }).await
}

async fn serve_within(app: &TestApp, limits: Connections) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), app.shutdown.clone());
    (address, tokio::spawn(api::serve(listener, app.router.clone(), limits, stop.clone())), stop)
}

/// Sends a request and reads up to the body's end; `Content-Length` is there on all of ours that are asked here.
async fn ask(stream: &mut TcpStream, head: &str, body: &str) -> String {
    stream
        .write_all(
            format!("{head}\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
        )
        .await
        .unwrap();
    let mut answer = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read =
            tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            return text;
        }
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_connection_serves_one_request_after_another(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (address, _server, _stop) = serve(&app).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        let answer = ask(&mut stream, "GET /health/live HTTP/1.1", "").await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.to_ascii_lowercase().contains("\r\ndate: "),
            "{answer}"
        );
    }
    let post = format!(
        "POST /groups HTTP/1.1\r\nAuthorization: Bearer {}\r\nContent-Type: application/json",
        app.admin
    );
    assert!(ask(&mut stream, &post, "{\"name\":\"x\"}").await.starts_with("HTTP/1.1 201"));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_readers_network_address_is_recorded_sealed(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let reader = app.subscriber("reader@example.com", &[]).await;
    let (address, _server, _stop) = serve(&app).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let token = app.token(reader, None);
    let head = format!(
        "POST /emails/unsubscribe?token={token} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded"
    );
    assert!(ask(&mut stream, &head, "List-Unsubscribe=One-Click").await.starts_with("HTTP/1.1 200"));
    let origin: serde_json::Value = sqlx::query_scalar(
        "SELECT payload #> '{SubscriberOptedOut,origin}' FROM events WHERE event_type = 'SubscriberOptedOut'",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    let sealed = origin["source_address"].as_str().unwrap().to_owned();
    assert!(!sealed.contains("127.0.0.1"));
    let keys = eventstore::sealing::fetch(&app.pool, &app.commands.store.master, &[reader]).await.unwrap();
    let opened = keys[&reader].open("source_address", &domain::Personal::Sealed(sealed)).unwrap();
    assert_eq!(opened, "127.0.0.1");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_is_under_way_is_finished_and_nothing_new_is_taken(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (address, server, stop) = serve(&app).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    ask(&mut idle, "GET /health/live HTTP/1.1", "").await;
    // Its head is there, its body is not.
    let mut busy = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /groups HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{{\"name\"",
        app.admin
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(address).await.is_err(), "a new connection was taken");
    assert!(!server.is_finished());
    busy.write_all(b":\"x\"}").await.unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap().unwrap();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn large_heads_are_refused(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (address, _server, _stop) = serve(&app).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers: String = (0..200).map(|number| format!("X-{number}: x\r\n")).collect();
    stream
        .write_all(format!("GET /health/live HTTP/1.1\r\n{headers}Host: x\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn slow_heads_are_cut_off(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (address, _server, _stop) = serve(&app).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nX-Slow: ").await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(25), stream.read_to_end(&mut answer)).await;
    ended.expect("the connection was held for ever").unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

/// A connection from one of this machine's many addresses.
async fn connect_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether the other end closes it, or keeps it for a while.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0; 1];
    let read = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut byte));
    matches!(read.await, Ok(Ok(0) | Err(_)))
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn slow_connections_of_one_address_do_not_keep_others_out(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let limits = Connections { max: 60, per_network_max: 20, trusted_proxies: Vec::new() };
    let (address, _server, _stop) = serve_within(&app, limits).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = connect_from("127.0.0.2", address).await;
        // Those that were closed at once cannot be written to.
        let _ = stream.write_all(b"GET /health/live HTTP/1.1\r\nX-Slow: ").await;
        slow.push(stream);
    }
    let mut normal = connect_from("127.0.0.3", address).await;
    let started = tokio::time::Instant::now();
    for _ in 0..20 {
        let answer = ask(&mut normal, "GET /health/live HTTP/1.1", "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let mut kept = 0;
    for stream in &mut slow[..40] {
        kept += usize::from(!is_closed(stream).await);
    }
    assert_eq!(kept, 20);
    // Who gives one back may have another.
    drop(slow);
    crate::support::until("there is room again", || async {
        let mut again = connect_from("127.0.0.2", address).await;
        !is_closed(&mut again).await
    })
    .await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_trusted_proxy_brings_the_connections_of_many(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let trusted_proxies = vec!["127.0.0.2/32".parse().unwrap()];
    let limits = Connections { max: 60, per_network_max: 1, trusted_proxies };
    let (address, _server, _stop) = serve_within(&app, limits).await;
    let mut proxy = Vec::new();
    for _ in 0..10 {
        proxy.push(connect_from("127.0.0.2", address).await);
    }
    for stream in &mut proxy {
        assert!(ask(stream, "GET /health/live HTTP/1.1", "").await.starts_with("HTTP/1.1 200"));
    }
}

/// A request of which no more is read than its answer needs.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_gigabyte_is_refused_before_it_is_sent(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (address, _server, _stop) = serve(&app).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /groups HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
        app.admin
    );
    stream.write_all(format!("{head}Content-Length: 1073741824\r\n\r\n{{").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await;
    read.expect("it waits for the body").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");

    // One that does not say how long it is, and does not end.
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let endless = tokio::spawn(async move {
        let (chunk, mut sent) = (format!("10000\r\n{}\r\n", "x".repeat(0x10000)), 0);
        while sent < 1 << 30 && writer.write_all(chunk.as_bytes()).await.is_ok() {
            sent += chunk.len();
        }
        sent
    });
    let mut answer = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(10), reader.read_exact(&mut answer)).await;
    read.expect("it is read to its end").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(reader);
    let sent = tokio::time::timeout(Duration::from_secs(10), endless).await.expect("it is read on").unwrap();
    // A megabyte, and what buffers on the way hold.
    assert!(sent < 32 << 20, "{sent}");
}
