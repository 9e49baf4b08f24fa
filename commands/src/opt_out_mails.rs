//! Mails that tell people of their own opt-outs, and of opt-ins by their links, which others may have used. The choice notes that there
//! is one to be sent, in its transaction, and needs nothing else for it; here notes become mails, each once.

use crate::tries::{FAILED, MAY_BE_TRIED};
use crate::{CommandError, Commands, Context};
use chrono::{DateTime, TimeDelta, Utc};
use domain::consent::Scope;
use domain::subscriber::Subscriber;
use domain::transactional::{OptInMail, OptOutMail, Transactional, TransactionalCommand};
use domain::{DispatchId, Sequence, SubscriberId};
use eventstore::sealing::SubjectKeys;
use eventstore::{Append, Decided, Loaded, append, ids, load_in};
use sqlx::types::Json;
use std::time::Duration;

/// The opt-out looks for permits that are open for its person, and must not find the one of its own mail. It also lets
/// whoever leaves a group and then everything get one mail.
const AFTER: Duration = Duration::from_secs(1);
/// Whoever has a person's link can opt out and in again as often as they like: that fills nobody's mailbox. Of each kind.
const HOURLY_MAX: i64 = 3;
const DAILY_MAX: i64 = 10;
const GIVEN_UP_AFTER: TimeDelta = TimeDelta::days(1);
/// Notes of one look.
const AT_ONCE: i64 = 50;

#[derive(sqlx::FromRow)]
struct Note {
    subscriber_id: SubscriberId,
    opt_out: i64,
    opted_in: bool,
    scope: Json<Scope>,
    opted_out_at: DateTime<Utc>,
    /// Of the same person and kind, this one included.
    hourly: i64,
    daily: i64,
}

impl Note {
    fn may_go(&self) -> bool {
        self.hourly <= HOURLY_MAX && self.daily <= DAILY_MAX
    }

    /// Whoever makes it again meets the same key.
    fn dispatch(&self) -> DispatchId {
        ids::choice_mail_id(self.subscriber_id, self.sequence())
    }

    fn sequence(&self) -> Sequence {
        self.opt_out.cast_unsigned()
    }
}

impl Commands {
    /// Queues the mails of some opt-outs, those that were not tried yet first, each in a transaction of its own: one that cannot be made stands in nobody's
    /// way, and fails the call only once the others are done. False: there was none to take.
    pub async fn queue_opt_out_mails(&self) -> Result<bool, CommandError> {
        let waiting: Vec<(SubscriberId, i64)> = sqlx::query_as(&format!(
            "SELECT subscriber_id, opt_out FROM opt_out_mails
             WHERE done_at IS NULL AND opted_out_at < clock_timestamp() - make_interval(secs => $1) AND {MAY_BE_TRIED}
             ORDER BY tried_at NULLS FIRST, opted_out_at LIMIT $2",
        ))
        .bind(AFTER.as_secs_f64())
        .bind(AT_ONCE)
        .fetch_all(&self.store.pool)
        .await?;
        let (mut any, mut failed) = (false, None);
        for (subscriber, opt_out) in waiting {
            match self.queue_opt_out_mail(subscriber, opt_out).await {
                Ok(taken) => any |= taken,
                Err(error) => {
                    self.note_failed(subscriber, opt_out).await?;
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(any), Err)
    }

    async fn note_failed(&self, subscriber: SubscriberId, opt_out: i64) -> Result<(), CommandError> {
        let note = format!("UPDATE opt_out_mails SET {FAILED} WHERE (subscriber_id, opt_out) = ($1, $2)");
        sqlx::query(&note).bind(subscriber).bind(opt_out).execute(&self.store.pool).await?;
        Ok(())
    }

    /// Beyond the limit of mails to one person there is none. False: another sender has the note.
    async fn queue_opt_out_mail(&self, subscriber: SubscriberId, opt_out: i64) -> Result<bool, CommandError> {
        let mut tx = self.store.pool.begin().await?;
        let lock = "SELECT FROM opt_out_mails WHERE (subscriber_id, opt_out) = ($1, $2) AND done_at IS NULL
                    FOR UPDATE SKIP LOCKED";
        if sqlx::query(lock).bind(subscriber).bind(opt_out).fetch_optional(&mut *tx).await?.is_none() {
            return Ok(false);
        }
        let note: Option<Note> = sqlx::query_as(
            "SELECT n.subscriber_id, n.opt_out, n.opted_in, n.scope, n.opted_out_at, c.hourly, c.daily
             FROM opt_out_mails n CROSS JOIN LATERAL (
                 SELECT count(*) FILTER (WHERE o.opted_out_at > n.opted_out_at - interval '1 hour') AS hourly,
                     count(*) AS daily
                 FROM opt_out_mails o
                 WHERE o.subscriber_id = n.subscriber_id AND o.opt_out <= n.opt_out AND o.opted_in = n.opted_in
                   AND o.opted_out_at > n.opted_out_at - interval '1 day') c
             WHERE (n.subscriber_id, n.opt_out) = ($1, $2)",
        )
        .bind(subscriber)
        .bind(opt_out)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(note) = note else { return Ok(false) };
        if note.may_go() {
            let person = load_in::<Subscriber>(&mut tx, subscriber).await?.aggregate;
            let mail = self.choice_mail(&note, &person).await?;
            append(&mut tx, mail.into_iter().collect(), &Context::system("sender").metadata()).await?;
        }
        let done =
            "UPDATE opt_out_mails SET done_at = clock_timestamp() WHERE (subscriber_id, opt_out) = ($1, $2)";
        sqlx::query(done).bind(subscriber).bind(opt_out).execute(&mut *tx).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(true)
    }

    async fn choice_mail(&self, note: &Note, person: &Subscriber) -> Result<Option<Append>, CommandError> {
        let Some(address_hash) = person.address_hash else { return Ok(None) };
        let (subscriber_id, scope) = (note.subscriber_id, note.scope.0.clone());
        let (mailer, hash_key_id) = (self.mailers.default.clone(), person.hash_key_id.clone());
        let expires_at = note.opted_out_at + GIVEN_UP_AFTER;
        let request = match note.opted_in {
            true => TransactionalCommand::RequestOptIn(OptInMail {
                subscriber_id,
                opt_in: note.sequence(),
                scope,
                mailer,
                address_hash,
                hash_key_id,
                expires_at,
            }),
            false => TransactionalCommand::RequestOptOut(OptOutMail {
                subscriber_id,
                opt_out: note.sequence(),
                scope,
                mailer,
                address_hash,
                hash_key_id,
                expires_at,
            }),
        };
        let decided = Decided::<Transactional>::decide(note.dispatch(), Loaded::default(), request).await?;
        Ok(Some(decided.into_append(&SubjectKeys::new())?))
    }
}
