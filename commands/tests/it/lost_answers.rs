//! A commit whose answer is lost has been done all the same.

use crate::imports::support::{TIMING, context, id_in};
use commands::{Commands, MailerNames, NewSubscriber};
use domain::consent::Consent;
use eventstore::{Store, keys::MasterKey};
use sqlx::PgPool;
use sqlx::postgres::{PgPoolOptions, PgSslMode};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Passes everything on; once, as often as it is armed, it ends a connection behind a commit and before its answer.
async fn proxy(postgres: String, armed: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&postgres).await.unwrap();
            tokio::spawn(pass(client, server, armed.clone()));
        }
    });
    address
}

async fn pass(mut client: TcpStream, mut server: TcpStream, armed: Arc<AtomicBool>) {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    let mut ends = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(n @ 1..) = read else { return };
                ends |= asked[..n].windows(6).any(|word| word == b"COMMIT") && armed.swap(false, Ordering::SeqCst);
                if server.write_all(&asked[..n]).await.is_err() { return }
            }
            read = server.read(&mut answered) => {
                let Ok(n @ 1..) = read else { return };
                if ends || client.write_all(&answered[..n]).await.is_err() { return }
            }
        }
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_creation_whose_answer_was_lost_is_done_once_and_answered(pool: PgPool) {
    let direct = pool.connect_options();
    let armed = Arc::new(AtomicBool::new(false));
    let address = proxy(format!("{}:{}", direct.get_host(), direct.get_port()), armed.clone()).await;
    let options = (*direct).clone().host("127.0.0.1").port(address.port()).ssl_mode(PgSslMode::Disable);
    let cut = PgPoolOptions::new().max_connections(2).connect_with(options).await.unwrap();
    let master = MasterKey::from_hex(&"5a".repeat(32)).unwrap();
    let commands =
        Commands::new(Store::new(cut.clone(), Arc::new(master)), cut, TIMING, MailerNames::of(["test"]));
    let new = NewSubscriber {
        email: "ana@example.com".into(),
        name: Some("Ana".into()),
        attributes: BTreeMap::new(),
        groups: vec![],
        consent: Consent { source: "form".into(), wording_version: None, given_at: None, given_from: None },
    };
    armed.store(true, Ordering::SeqCst);
    let done = commands.add_subscriber(&context(), new).await.unwrap();
    assert!(!armed.load(Ordering::SeqCst), "no answer was lost");
    let id = id_in(&done, "subscriber_id").to_string();
    let added: Vec<String> =
        sqlx::query_scalar("SELECT aggregate_id FROM events WHERE aggregate_type = 'subscriber'")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(added, [id]);
}
