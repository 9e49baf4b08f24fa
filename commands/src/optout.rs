//! Opting out: one command, one lock, one promise. When it is acknowledged, no send to this person that it covers
//! starts any more.

use crate::{CommandError, Commands, Context, permits};
use domain::consent::{Channel, Origin, Scope};
use domain::subscriber::{Subscriber, SubscriberCommand};
use domain::{GroupId, SubscriberId};
use eventstore::Done;
use serde_json::Value;

#[derive(Debug, Clone)]
pub struct OptOut {
    pub subscriber: SubscriberId,
    pub scope: Scope,
    pub channel: Channel,
    pub origin: Origin,
}

/// The person's own choice.
#[derive(Debug, Clone)]
pub struct Preferences {
    pub subscriber: SubscriberId,
    pub global_opt_out: bool,
    pub groups: Vec<(GroupId, bool)>,
    pub origin: Origin,
}

impl Commands {
    /// Repeats append nothing and wait all the same. Needs Postgres alone, over a pool of its own.
    pub async fn opt_out(&self, context: &Context, opt_out: OptOut) -> Result<Done, CommandError> {
        let OptOut { subscriber, scope, channel, origin } = opt_out;
        self.close_gate(context, subscriber, SubscriberCommand::OptOut { scope, channel, origin }).await
    }

    pub async fn set_preferences(
        &self,
        context: &Context,
        wanted: Preferences,
    ) -> Result<Done, CommandError> {
        let Preferences { subscriber, global_opt_out, groups, origin } = wanted;
        let set = SubscriberCommand::SetPreferences { global_opt_out, groups, origin };
        self.close_gate(context, subscriber, set).await
    }

    async fn close_gate(
        &self,
        context: &Context,
        subscriber: SubscriberId,
        command: SubscriberCommand,
    ) -> Result<Done, CommandError> {
        let done =
            self.opt_outs.execute::<Subscriber>(subscriber, command, context.request(Value::Null)).await?;
        let pool = &self.opt_outs.pool;
        let open = permits::open_for_readers(pool, &[subscriber]).await?;
        permits::wait(pool, &open, self.timing).await;
        Ok(done)
    }
}
