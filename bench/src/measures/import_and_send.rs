//! A million readers: imported, written to, and read models filled again from their events.

use super::Measure;
use crate::report::{Aim, Figure, median};
use crate::scene;
use e2e::{Settings, Stack};
use eventstore::feed;
use futures::FutureExt;
use sqlx::PgPool;
use std::time::{Duration, Instant};

const READERS: usize = 1_000_000;
const FEW: usize = 10_000;
/// What takes a few seconds is done so often and its median told: a shared machine may do anything meanwhile.
const ROUNDS: usize = 9;
/// So often each read model is rebuilt, likewise.
const REBUILDS: usize = 3;
/// Events of one page of the log.
const PAGE: i64 = 1_000;
/// What takes less than this is read again.
const READ_FOR: Duration = Duration::from_secs(5);

pub const MEASURE: Measure = Measure {
    name: "million",
    what: "1,000,000 readers: import of a clean file over REST beside COPY of it; freeze and send by the null mailer (a real MJML letter rendered for each, \
           links signed, no DKIM), beside 10,000 readers on the same stack; read models rebuilt from the log, beside reading the same events.",
    limited_by: "Import: the sealing of each reader's fields, four rows with their indexes (event, gate, key, pending) and the log's two, with the projector filling \
                 three read models at the same time, on two cores. Sending: rendering and encoding the body, \
                 and two updates of each reader's row in a read model. A rebuild reads, decodes and writes on two cores, so that none can be faster than \
                 reading alone; an event of `recipients` names up to 500 readers.",
    take: || take().boxed_local(),
};

async fn take() -> Vec<Figure> {
    let settings =
        Settings::new().set("log.filter", "warn").set("send.mailer", "null").set("null.latency_ms", 0);
    let mut stack = Stack::start(settings).await;
    let api = stack.client();
    let (few, _) = scene::readers(&api, "few", FEW).await;
    let mut sent_to_few = Vec::new();
    let mut copied = Vec::new();
    for _ in 0..ROUNDS {
        sent_to_few.push(scene::send(&stack, &api, &few, FEW).await.whole());
        scene::all_done(&stack).await;
        copied.push(copy(stack.pool()).await);
    }
    let (few, raw) = (median(sent_to_few), median(copied));
    stack.process("server").forget_peak_memory();
    let (all, seconds) = scene::readers(&api, "reader", READERS).await;
    let mut figures = vec![
        Figure::new("import", READERS as f64 / seconds, "rows/s", Aim::AtLeast(10_000.0)).beside("COPY", raw),
        memory("import: peak memory", &mut stack),
    ];
    scene::all_done(&stack).await;
    stack.process("server").forget_peak_memory();
    let timed = scene::send(&stack, &api, &all, READERS).await;
    let rate = |seconds: f64| READERS as f64 / seconds;
    let per_reader = (timed.whole() / READERS as f64) / (few / FEW as f64);
    figures.extend([
        Figure::new("freeze and send", rate(timed.whole()), "readers/s", Aim::AtLeast(10_000.0)),
        Figure::new("  freezing alone", rate(timed.freezing), "readers/s", Aim::None),
        Figure::new("  sending alone", rate(timed.sending), "readers/s", Aim::None),
        memory("freeze and send: peak memory", &mut stack),
        Figure::new("time per reader ÷ that of 10,000", per_reader, "", Aim::AtMost(1.2)),
    ]);
    scene::all_done(&stack).await;
    stack.terminate("server", Duration::from_secs(40)).await;
    for model in ["subscribers", "group_members", "recipients", "campaign_report"] {
        figures.push(rebuild(stack.pool(), model).await);
    }
    figures
}

fn memory(what: &str, stack: &mut Stack) -> Figure {
    let mib = stack.process("server").peak_memory_bytes() as f64 / 1_048_576.0;
    Figure::new(what, mib, "MiB", Aim::AtMost(256.0))
}

/// The same file into a table with a primary key: rows per second.
async fn copy(pool: &PgPool) -> f64 {
    let create = "CREATE TABLE copied (email text PRIMARY KEY, first_name text, last_name text, city text)";
    sqlx::raw_sql(create).execute(pool).await.unwrap();
    let csv = scene::export("reader", READERS);
    let mut connection = pool.acquire().await.unwrap();
    let start = Instant::now();
    let mut copy = connection.copy_in_raw("COPY copied FROM STDIN (FORMAT csv, HEADER)").await.unwrap();
    for part in csv.as_bytes().chunks(1 << 20) {
        copy.send(part).await.unwrap();
    }
    copy.finish().await.unwrap();
    let rate = READERS as f64 / start.elapsed().as_secs_f64();
    sqlx::raw_sql("DROP TABLE copied").execute(pool).await.unwrap();
    rate
}

async fn rebuild(pool: &PgPool, model: &str) -> Figure {
    let models = projections::all();
    let projection = projections::find(&models, model).unwrap();
    let (mut rebuilt, mut read_alone, mut events) = (Vec::new(), Vec::new(), 0);
    for _ in 0..REBUILDS {
        let (found, rate) = read(pool, projection.types()).await;
        read_alone.push(rate);
        events = found;
        let start = Instant::now();
        let done = projections::rebuild(pool, &models, model, |_| ()).await.unwrap();
        assert_eq!(done.dead_letters, 0);
        rebuilt.push(events as f64 / start.elapsed().as_secs_f64());
    }
    let what = format!("rebuild of {model} ({events} events)");
    Figure::new(what, median(rebuilt), "events/s", Aim::AtLeast(100_000.0))
        .beside("read alone", median(read_alone))
}

/// The events of these types, and how many of them a second can be read: again and again, where they are few.
async fn read(pool: &PgPool, types: &[&str]) -> (usize, f64) {
    let (start, mut reads) = (Instant::now(), 0);
    loop {
        let events = read_once(pool, types).await;
        reads += 1;
        if start.elapsed() >= READ_FOR {
            return (events, (events * reads) as f64 / start.elapsed().as_secs_f64());
        }
    }
}

async fn read_once(pool: &PgPool, types: &[&str]) -> usize {
    let until = feed::head(pool).await.unwrap().position;
    let (mut events, mut after) = (0, 0);
    loop {
        let page = feed::read(pool, types, after, until, PAGE).await.unwrap();
        let Some(last) = page.last() else { return events };
        after = last.position;
        events += page.len();
    }
}
