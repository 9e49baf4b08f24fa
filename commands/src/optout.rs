//! Opting out: one command, one lock, one promise. When it is acknowledged, no send to this person that it covers
//! starts any more.

use crate::{CommandError, Commands, Context, permits};
use domain::consent::{Channel, Origin, Scope};
use domain::subscriber::{Subscriber, SubscriberCommand};
use domain::{GroupId, SubscriberId};
use eventstore::idempotency::{self, Earlier};
use eventstore::{Done, ExecuteError, StoreError};
use serde_json::{Value, json};

/// Whoever has a link could opt out and in for ever, each time by an event, and all of a person's events are read for every
/// mail to them.
const OPT_INS_DAILY_MAX: i64 = 50;

/// Who leaves a dozen groups at once sends a dozen commands on one stream. Of those that meet one is done in each try, of which a
/// round has some.
const ROUNDS_MAX: u32 = 20;

#[derive(Debug, Clone)]
pub struct OptOut {
    pub subscriber: SubscriberId,
    pub scope: Scope,
    pub channel: Channel,
    pub origin: Origin,
}

/// The person's own choice: what it names is set, all else stays as it is.
#[derive(Debug, Clone)]
pub struct Preferences {
    pub subscriber: SubscriberId,
    pub global_opt_out: Option<bool>,
    pub groups: Vec<(GroupId, bool)>,
    pub origin: Origin,
}

impl Commands {
    /// A repeat appends nothing, or opts out again whoever came back, and waits all the same: it needs no key. Needs Postgres alone, over a pool of its own.
    pub async fn opt_out(&self, context: &Context, opt_out: OptOut) -> Result<Done, CommandError> {
        let OptOut { subscriber, scope, channel, origin } = opt_out;
        let command = SubscriberCommand::OptOut { scope, channel, origin };
        self.close_gate(context, subscriber, command, Value::Null).await
    }

    pub async fn set_preferences(
        &self,
        context: &Context,
        wanted: Preferences,
    ) -> Result<Done, CommandError> {
        let Preferences { subscriber, global_opt_out, groups, origin } = wanted;
        let may_opt_in = self.may_opt_in(subscriber).await?;
        let set = |global_opt_out, groups| SubscriberCommand::SetPreferences {
            global_opt_out,
            groups,
            origin: origin.clone(),
            may_opt_in,
        };
        let left = groups.iter().copied().filter(|(_, wanted)| !wanted).collect();
        let leave = set(global_opt_out.filter(|out| *out), left);
        let opts_in = global_opt_out == Some(false) || groups.iter().any(|(_, wanted)| *wanted);
        let set = set(global_opt_out, groups);
        let plain = Context { idempotency: None, if_match: None, ..context.clone() };
        let Some(key) = context.idempotency.as_ref().filter(|_| opts_in) else {
            return self.close_gate(&plain, subscriber, set, Value::Null).await;
        };
        // Of a repeat the opt-outs alone are done: it brings nobody back who left since.
        match idempotency::look_up(&self.opt_outs.pool, key).await? {
            Earlier::Answer(_) => self.close_gate(&plain, subscriber, leave, Value::Null).await,
            Earlier::OtherBody => self.close_gate(&plain, subscriber, set, Value::Null).await,
            Earlier::None => {
                let keyed = Context { idempotency: Some(key.clone()), ..plain.clone() };
                match self.close_gate(&keyed, subscriber, set, Value::Null).await {
                    // The same call came in between, or runs.
                    Ok(done) if done.repeated => {
                        self.close_gate(&plain, subscriber, leave, Value::Null).await
                    }
                    Err(CommandError::InProgress) => {
                        self.close_gate(&plain, subscriber, leave, Value::Null).await
                    }
                    done => done,
                }
            }
        }
    }

    async fn may_opt_in(&self, subscriber: SubscriberId) -> Result<bool, CommandError> {
        let lately = "SELECT count(*) FROM events WHERE aggregate_type = 'subscriber' AND aggregate_id = $1
                      AND event_type = 'SubscriberOptedIn' AND recorded_at > now() - interval '1 day'";
        let lately: i64 =
            sqlx::query_scalar(lately).bind(subscriber.to_string()).fetch_one(&self.opt_outs.pool).await?;
        Ok(lately < OPT_INS_DAILY_MAX)
    }

    /// Opts out of everything and destroys the person's key, in one transaction; repeats append nothing. What lies outside
    /// their events is left to [`Commands::erase_remains`].
    pub async fn erase_subscriber(&self, context: &Context, id: SubscriberId) -> Result<Done, CommandError> {
        let answer = json!({ "subscriber_id": id, "status": "erased" });
        self.close_gate(context, id, SubscriberCommand::Erase, answer).await
    }

    async fn close_gate(
        &self,
        context: &Context,
        subscriber: SubscriberId,
        command: SubscriberCommand,
        answer: Value,
    ) -> Result<Done, CommandError> {
        let mut rounds = 1;
        let done = loop {
            let request = context.request(answer.clone());
            match self.opt_outs.execute::<Subscriber>(subscriber, command.clone(), request).await {
                Err(ExecuteError::Store(StoreError::Conflict)) if rounds < ROUNDS_MAX => rounds += 1,
                done => break done?,
            }
        };
        let pool = &self.opt_outs.pool;
        let open = permits::open_for_readers(pool, &[subscriber]).await?;
        permits::wait(pool, &open).await;
        Ok(done)
    }
}
