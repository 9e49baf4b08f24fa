//! What befalls a stack in the middle of its work.

use e2e::{Broker, Stack};

#[derive(Debug, Clone, Copy)]
pub enum Blow<'a> {
    /// kill -9 of a process; another of that name and roles mends it.
    Replace(&'a str),
    /// kill -9 of a process, for longer.
    Kill(&'a str),
    /// After [`Blow::Kill`].
    Start(&'a str),
    /// SIGSTOP of a process: it neither works nor notices. Whoever strikes lets it go on.
    Freeze(&'a str),
    CutConnections,
    CrashPostgres,
    KillNode(&'a Broker, usize),
}

impl Blow<'_> {
    pub async fn strike(self, stack: &mut Stack) {
        match self {
            Self::Replace(name) | Self::Kill(name) => stack.kill(name).await,
            Self::Start(name) => stack.serve_again(name).await,
            Self::Freeze(name) => stack.process(name).signal("STOP"),
            Self::CutConnections => assert!(stack.cut_connections().await > 0, "there was nothing to cut"),
            Self::CrashPostgres => stack.crash_postgres().await,
            Self::KillNode(brokers, node) => brokers.kill_node(node),
        }
    }

    /// What is not left broken for longer.
    pub async fn mend(self, stack: &mut Stack) {
        if let Self::Replace(name) = self {
            stack.serve_again(name).await;
        }
    }
}
