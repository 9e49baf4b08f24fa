use super::{EndReason, Refusal, SessionEvent};
use crate::guard::{Guard, Guarded};
use crate::visit::Visit;
use crate::{Sequence, UserId};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

/// Refreshes of one session: bounds its stream. One each ten minutes makes 1,008 in a week.
pub const REFRESHES_MAX: u32 = 5_000;

#[derive(Debug, Clone, PartialEq)]
pub enum SessionCommand {
    Start {
        user_id: UserId,
        visit: Visit,
    },
    /// Records a sign-in that failed.
    Refuse {
        user_id: Option<UserId>,
        reason: Refusal,
        visit: Visit,
    },
    /// Records several at once.
    RefuseMany {
        count: u32,
        visit: Visit,
    },
    /// Records that somebody asked for a link to reset a password.
    RequestReset {
        user_id: Option<UserId>,
        visit: Visit,
    },
    Refresh {
        visit: Visit,
    },
    /// A spent refresh token came back.
    Reuse {
        visit: Visit,
    },
    End {
        reason: EndReason,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("the session is not known")]
    Unknown,
    #[error("the session exists already")]
    Exists,
    #[error("the session is over")]
    Over,
    #[error("the session was refreshed {REFRESHES_MAX} times: sign in again")]
    Refreshes,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Sequence of the last event; 0 before the first.
    pub version: Sequence,
    phase: Phase,
    refreshes: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    #[default]
    New,
    Live,
    Over,
}

impl Session {
    fn decide(&self, command: SessionCommand) -> Result<Vec<SessionEvent>, SessionError> {
        match (command, self.phase) {
            (SessionCommand::Start { user_id, visit }, Phase::New) => {
                Ok(vec![SessionEvent::Started { user_id, visit }])
            }
            (SessionCommand::Refuse { user_id, reason, visit }, Phase::New) => {
                Ok(vec![SessionEvent::SignInFailed { user_id, reason, visit }])
            }
            (SessionCommand::RefuseMany { count, visit }, Phase::New) => {
                Ok(vec![SessionEvent::SignInsFailed { count, visit }])
            }
            (SessionCommand::RequestReset { user_id, visit }, Phase::New) => {
                Ok(vec![SessionEvent::ResetRequested { user_id, visit }])
            }
            (
                SessionCommand::Start { .. }
                | SessionCommand::Refuse { .. }
                | SessionCommand::RefuseMany { .. }
                | SessionCommand::RequestReset { .. },
                Phase::Live | Phase::Over,
            ) => Err(SessionError::Exists),
            (
                SessionCommand::Refresh { .. } | SessionCommand::Reuse { .. } | SessionCommand::End { .. },
                Phase::New,
            ) => Err(SessionError::Unknown),
            (SessionCommand::Refresh { visit }, Phase::Live) => match self.refreshes < REFRESHES_MAX {
                true => Ok(vec![SessionEvent::Refreshed { visit }]),
                false => Err(SessionError::Refreshes),
            },
            (SessionCommand::Refresh { .. }, Phase::Over) => Err(SessionError::Over),
            (SessionCommand::Reuse { visit }, Phase::Live) => {
                let ended = SessionEvent::Ended { reason: EndReason::TokenReused };
                Ok(vec![SessionEvent::ReuseDetected { visit }, ended])
            }
            (SessionCommand::End { reason }, Phase::Live) => Ok(vec![SessionEvent::Ended { reason }]),
            (SessionCommand::Reuse { .. } | SessionCommand::End { .. }, Phase::Over) => Ok(Vec::new()),
        }
    }
}

impl Aggregate for Session {
    const TYPE: &'static str = "session";
    type Command = SessionCommand;
    type Event = SessionEvent;
    type Error = SessionError;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        _: &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        self.version += 1;
        match event {
            SessionEvent::Started { .. } => self.phase = Phase::Live,
            SessionEvent::Refreshed { .. } => self.refreshes += 1,
            SessionEvent::ReuseDetected { .. } => {}
            SessionEvent::SignInFailed { .. }
            | SessionEvent::SignInsFailed { .. }
            | SessionEvent::ResetRequested { .. }
            | SessionEvent::Ended { .. } => self.phase = Phase::Over,
        }
    }
}

impl Guarded for Session {
    fn guards(_: &str, _: &Self, _: &Self) -> Vec<Guard> {
        Vec::new()
    }
}
