//! The mailers that deliver.

use super::Measure;
use crate::report::{Aim, Figure};
use crate::scene;
use e2e::{Settings, Smtp, SmtpOptions, Stack};
use futures::FutureExt;

const READERS: usize = 10_000;
const CONNECTIONS: usize = 16;

pub const MEASURE: Measure = Measure {
    name: "mailers",
    what: "10,000 readers by the outbox (a file and an fsync for each) and by SMTP to a server that takes everything.",
    limited_by: "The outbox: the disk's flushes. SMTP: the server, which is Python's aiosmtpd, on the same two cores.",
    take: || take().boxed_local(),
};

async fn take() -> Vec<Figure> {
    let settings = || Settings::new().set("log.filter", "warn");
    let outbox = rate(settings()).await;
    let smtp = Smtp::start(SmtpOptions::default()).await;
    let by_smtp = settings()
        .smtp(&smtp)
        .set("smtp.connections", CONNECTIONS)
        .set("smtp.messages_per_connection", 1_000_000)
        .set("smtp.message_timeout_seconds", 60);
    let by_smtp = rate(by_smtp).await;
    vec![
        Figure::new("outbox", outbox, "mails/s", Aim::None),
        Figure::new("SMTP, 16 connections", by_smtp, "mails/s", Aim::None),
    ]
}

async fn rate(settings: Settings) -> f64 {
    let stack = Stack::start(settings).await;
    let api = stack.client();
    let (draft, _) = scene::readers(&api, "reader", READERS).await;
    scene::all_done(&stack).await;
    READERS as f64 / scene::send(&stack, &api, &draft, READERS).await.sending
}
