//! How a process ends: in an order in which what is in flight finds what it needs until it is over.
//!
//! 1. It says that it is not ready, and claims nothing new. For `api.drain_seconds` it answers as before, so that a load
//!    balancer notices and sends nobody here any more.
//! 2. It takes no connection any more. Requests, chunks that were authorized and the batch of an import end.
//! 3. The sequencer, the relay, the projectors and the metrics end: requests may have waited for those.

use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// For all of it. What is not over by then goes on, where it was recorded, at the next start.
const SHUTDOWN: Duration = Duration::from_secs(30);

type Outcome = anyhow::Result<()>;
type Tasks = JoinSet<(&'static str, Outcome)>;

/// What ends each step's work.
#[derive(Clone, Default)]
pub struct Ends {
    /// Nothing new is claimed.
    pub claims: CancellationToken,
    /// No connection is taken.
    pub answers: CancellationToken,
    /// What the others stand on.
    pub base: CancellationToken,
}

/// What a process does.
#[derive(Default)]
pub struct Running {
    /// Ends first: what takes requests and claims work.
    front: Tasks,
    base: Tasks,
    pub ends: Ends,
}

impl Running {
    /// Runs until `ends.claims` or `ends.answers`.
    pub fn front(&mut self, role: &'static str, work: impl Future<Output = Outcome> + Send + 'static) {
        self.front.spawn(async move { (role, work.await) });
    }

    /// Runs until `ends.base`.
    pub fn base(&mut self, role: &'static str, work: impl Future<Output = Outcome> + Send + 'static) {
        self.base.spawn(async move { (role, work.await) });
    }

    /// Returns at a signal, or where a part ended by itself, once everything has ended: within 30 s.
    pub async fn until_the_end(mut self, drain: Duration) -> Outcome {
        let (outcome, drain) = tokio::select! {
            signal = signal() => {
                signal?;
                tracing::info!("stopping: what is in flight ends first");
                (Ok(()), drain)
            }
            ended = self.front.join_next(), if !self.front.is_empty() => (ended_early(ended), Duration::ZERO),
            ended = self.base.join_next(), if !self.base.is_empty() => (ended_early(ended), Duration::ZERO),
        };
        match tokio::time::timeout(SHUTDOWN, self.end(drain)).await {
            Ok(()) => tracing::info!("stopped"),
            Err(_) => {
                tracing::warn!(
                    "stopped with work in flight: it goes on where it was recorded at the next start"
                );
            }
        }
        outcome
    }

    async fn end(&mut self, drain: Duration) {
        self.ends.claims.cancel();
        tokio::time::sleep(drain).await;
        self.ends.answers.cancel();
        while self.front.join_next().await.is_some() {}
        self.ends.base.cancel();
        while self.base.join_next().await.is_some() {}
    }
}

fn ended_early(ended: Option<Result<(&'static str, Outcome), JoinError>>) -> Outcome {
    match ended {
        None => Ok(()),
        Some(Ok((role, Ok(())))) => anyhow::bail!("{role} ended by itself"),
        Some(Ok((role, Err(error)))) => Err(error.context(format!("{role} ended"))),
        // Without the error's text, which quotes the panic's message.
        Some(Err(_)) => anyhow::bail!("a role died, see `panicked` in the log"),
    }
}

async fn signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    const TIME: Duration = Duration::from_secs(10);

    /// A sender that returned, say, while all else goes on: a process that only looks alive.
    #[tokio::test]
    async fn a_part_that_ends_by_itself_ends_the_process_with_an_error() {
        for is_front in [true, false] {
            let (mut running, order) = (Running::default(), Arc::new(Mutex::new(Vec::new())));
            let noted = |name: &'static str, until: CancellationToken| {
                let order = order.clone();
                async move {
                    until.cancelled().await;
                    order.lock().unwrap().push(name);
                    Ok(())
                }
            };
            let Ends { claims, answers, base } = running.ends.clone();
            running.base("projector", noted("projector", base));
            running.front("api", noted("api", answers));
            running.front("sender", noted("sender", claims));
            let ends = async { Ok(()) };
            match is_front {
                true => running.front("scheduler", ends),
                false => running.base("scheduler", ends),
            }
            let ended = tokio::time::timeout(TIME, running.until_the_end(TIME)).await.unwrap();
            assert_eq!(ended.unwrap_err().to_string(), "scheduler ended by itself");
            let order = order.lock().unwrap();
            assert_eq!((order.len(), order.last()), (3, Some(&"projector")), "{order:?}");
        }
    }

    #[tokio::test]
    async fn a_part_that_fails_or_dies_says_which_and_not_what_it_held() {
        let mut failing = Running::default();
        failing.front("relay", async { anyhow::bail!("no broker") });
        let error = failing.until_the_end(Duration::ZERO).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "relay ended: no broker");
        let mut dying = Running::default();
        dying.base("relay", async { panic!("ana@example.com") });
        let error = dying.until_the_end(Duration::ZERO).await.unwrap_err();
        assert!(!format!("{error:#} {error:?}").contains("ana@"), "{error:?}");
    }
}
