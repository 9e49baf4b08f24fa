//! What a stack costs that has nothing to do.

use super::Measure;
use crate::report::{Aim, Figure};
use crate::scene;
use e2e::{Settings, Stack};
use futures::FutureExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The first samples and the first maintenance are over by then.
const SETTLES: Duration = Duration::from_secs(20);
const WATCHED: Duration = Duration::from_secs(60);
/// Linux counts in these, whatever its clock does (proc(5), `sysconf(_SC_CLK_TCK)`).
const TICKS_PER_SECOND: f64 = 100.0;

pub const MEASURE: Measure = Measure {
    name: "idle",
    what: "All roles in one process, embedded carrier, a campaign behind them and nothing to do: CPU time of the server and of its Postgres sessions over a minute.",
    limited_by: "The safety polls, each a second, of who waits: the sequencer, the read models, the sender's lanes; the metrics' sampler.",
    take: || take().boxed_local(),
};

struct Spent {
    at: Instant,
    server: f64,
    sessions: f64,
    transactions: i64,
}

async fn take() -> Vec<Figure> {
    let mut stack = Stack::start(Settings::new().set("log.filter", "warn")).await;
    let api = stack.client();
    let (draft, _) = scene::readers(&api, "idle", 1_000).await;
    scene::send(&stack, &api, &draft, 1_000).await;
    scene::all_done(&stack).await;
    tokio::time::sleep(SETTLES).await;
    let before = spent(&mut stack).await;
    tokio::time::sleep(WATCHED).await;
    let after = spent(&mut stack).await;
    let seconds = (after.at - before.at).as_secs_f64();
    let percent = |spent: f64| 100.0 * spent / seconds;
    let (server, sessions) =
        (percent(after.server - before.server), percent(after.sessions - before.sessions));
    let transactions = (after.transactions - before.transactions) as f64 / seconds;
    vec![
        Figure::new("server and sessions", server + sessions, "% of a core", Aim::AtMost(2.0)),
        Figure::new("server", server, "% of a core", Aim::None),
        Figure::new("sessions", sessions, "% of a core", Aim::None),
        Figure::new("transactions", transactions, "/s", Aim::None),
    ]
}

async fn spent(stack: &mut Stack) -> Spent {
    let sessions =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let sessions: Vec<i32> = sqlx::query_scalar(sessions).fetch_all(stack.pool()).await.unwrap();
    let transactions =
        "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    Spent {
        at: Instant::now(),
        server: seconds_of(stack.process("server").id()),
        sessions: sessions.into_iter().map(|pid| seconds_of(pid.cast_unsigned())).sum(),
        transactions: sqlx::query_scalar(transactions).fetch_one(stack.pool()).await.unwrap(),
    }
}

/// In user mode and in the kernel, by proc(5): behind the name, which may hold anything. A session that ended meanwhile is none.
fn seconds_of(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    let stat = stat.unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |place: usize| fields.get(place).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}
