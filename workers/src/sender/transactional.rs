//! Mails outside campaigns: one dispatch, one permit, a few recipients.

use super::chunk::{self, HandedOver};
use super::poison::WORKER_DIED;
use super::settling::Insistence;
use super::{ERROR_PAUSE, Rest, Sender};
use crate::mailers::{Mailer, Outgoing};
use crate::metrics;
use crate::rests::locked;
use crate::window::Window;
use commands::CommandError;
use commands::send::{Authorized, DEATHS_MAX, ExpiredPermit, Lease, Told};
use domain::dispatch::{Index, Settlement};
use domain::transactional::{Mail, Transactional};
use domain::{DispatchId, PermitId};
use eventstore::{Loaded, StoreError, clock, ids, load};
use std::time::{Duration, Instant};

/// Before a mail is looked at again whose mailer is none of ours: until it expires, or is configured again.
const NOT_CONFIGURED_PAUSE: Duration = Duration::from_secs(60);

/// What was made for one permit, and what the database said of it.
pub(super) struct Decided {
    pub mails: Vec<(Index, Outgoing)>,
    pub window: Window,
    pub authorized: Authorized<Transactional>,
}

impl Sender {
    /// Works on one mail outside campaigns that goes by this mailer, if any waits and the mailer is not known to be down.
    pub async fn step_transactional(&self, mailer: &str) -> Result<bool, CommandError> {
        if locked(&self.mailers_down).is_resting(mailer, Instant::now()) {
            return Ok(false);
        }
        let company = self.company.join().await;
        let mails = self.mails_of(mailer);
        let Some(lease) = self.commands.claim_transactional(self.hold_max(), &mails).await? else {
            return Ok(false);
        };
        self.attempt(company, lease, Box::pin(self.work_on_transactional(lease))).await?;
        Ok(true)
    }

    async fn work_on_transactional(&self, lease: Lease) -> Result<Rest, CommandError> {
        let id = lease.dispatch_id;
        let (expired, open) = self.commands.left_permits(id).await?;
        for permit in &expired {
            self.reconcile_transactional(id, permit).await?;
        }
        if let Some(rest) = open {
            return Ok(rest + Duration::from_millis(10));
        }
        if lease.is_poison() {
            tracing::error!(dispatch.id = %id, "{DEATHS_MAX} workers in a row died with a mail: it is given up");
            metrics::given_up("mail");
            self.commands.expire_transactional(id, Some(WORKER_DIED)).await?;
            return Ok(Duration::ZERO);
        }
        let dispatch = load::<Transactional>(&self.commands.store.pool, id).await?;
        let Some(mail) = dispatch.aggregate.mail.clone() else {
            return Err(StoreError::Format(format!("dispatch {id} has work and no events")).into());
        };
        if mail.expires_at() <= clock::now() {
            self.commands.expire_transactional(id, None).await?;
            return Ok(Duration::ZERO);
        }
        match self.mailers.get(mail.mailer()) {
            Some(mailer) => self.send_mail(lease, dispatch, &mail, mailer.as_ref()).await,
            None => Ok(NOT_CONFIGURED_PAUSE),
        }
    }

    /// The mailer rests, so that its mails are not claimed one after the other to find it down.
    fn mailer_is_down(&self, mailer: &str, dispatch: DispatchId, reason: &str) {
        let now = Instant::now();
        if locked(&self.mailers_down).begin(mailer.to_owned(), now) == now {
            tracing::warn!(mailer, dispatch.id = %dispatch, reason, "mailer unavailable: will try again");
        }
    }

    async fn reconcile_transactional(
        &self,
        id: DispatchId,
        permit: &ExpiredPermit,
    ) -> Result<(), CommandError> {
        let dispatch = load::<Transactional>(&self.commands.store.pool, id).await?.aggregate;
        let owed = dispatch.authorized_by(permit.permit_id).into_iter().filter_map(|index| {
            let recipient = dispatch.recipients.get(usize::from(index))?;
            Some((index, ids::recipient_id(id, index), recipient.attempts))
        });
        let settlement = self.known_ends(id, permit, owed.collect()).await;
        self.commands.reconcile_transactional(id, settlement).await.map(|_| ())
    }

    async fn send_mail(
        &self,
        lease: Lease,
        dispatch: Loaded<Transactional>,
        mail: &Mail,
        mailer: &dyn Mailer,
    ) -> Result<Rest, CommandError> {
        let mut waiting = dispatch.aggregate.waiting();
        waiting.truncate(mailer.take_tokens(waiting.len()).await);
        if let Err(down) = mailer.prepare(waiting.len().min(mailer.concurrency())).await {
            metrics::unavailable(mailer.name());
            self.mailer_is_down(mail.mailer(), lease.dispatch_id, &down.reason);
            return Ok(ERROR_PAUSE);
        }
        let decided = match mail {
            Mail::Test(mail) => self.decide_on_tests(lease, dispatch, mail, mailer, &waiting).await?,
            Mail::Account(mail) => self.decide_on_account(lease, dispatch, mail, mailer).await?,
            Mail::Subscription(mail) => self.decide_on_subscription(lease, dispatch, mail, mailer).await?,
            Mail::OptOut(mail) => self.decide_on_choice(lease, dispatch, Told::OptOut(mail), mailer).await?,
            Mail::OptIn(mail) => self.decide_on_choice(lease, dispatch, Told::OptIn(mail), mailer).await?,
        };
        let Decided { mails, window, authorized } = decided;
        let (permit, allowed, dispatch) = match authorized {
            Authorized::Permit { permit, allowed, dispatch } => (permit, allowed, dispatch),
            Authorized::InDoubt { permit, allowed } => {
                let untouched = Settlement { permit_id: permit, returned: allowed, ..Settlement::default() };
                self.settle_mails(lease.dispatch_id, untouched).await?;
                return Ok(ERROR_PAUSE);
            }
            Authorized::Nobody { .. } | Authorized::Stopped | Authorized::Lost => return Ok(Duration::ZERO),
        };
        let mails = mails.into_iter().filter(|(index, _)| allowed.contains(index)).collect();
        self.hand_over_mails(lease.dispatch_id, permit, mails, (mail.mailer(), mailer), &window).await?;
        let tries = dispatch.aggregate.recipients.iter().map(|recipient| recipient.attempts).max();
        Ok(self.pause_before_next_try(tries.unwrap_or_default()))
    }

    async fn hand_over_mails(
        &self,
        id: DispatchId,
        permit: PermitId,
        mails: Vec<(Index, Outgoing)>,
        (name, mailer): (&str, &dyn Mailer),
        window: &Window,
    ) -> Result<(), CommandError> {
        let HandedOver { settlement, mailer_failed } = chunk::hand_over(mailer, permit, mails, window).await;
        if let Err(down) = mailer.settle_barrier().await {
            // What was accepted may not be durable: the permit stays, and is cleared up once it has expired.
            self.mailer_is_down(name, id, &down.reason);
            return Ok(());
        }
        match mailer_failed {
            true => self.mailer_is_down(name, id, "every call failed"),
            false => locked(&self.mailers_down).end(name),
        }
        self.settle_mails(id, settlement).await
    }

    async fn settle_mails(&self, id: DispatchId, settlement: Settlement) -> Result<(), CommandError> {
        let mut insistence = Insistence::default();
        while let Err(error) = self.commands.settle_transactional(id, settlement.clone()).await {
            insistence.wait_after(error, id).await?;
        }
        Ok(())
    }
}
