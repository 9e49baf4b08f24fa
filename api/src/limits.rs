//! How much one client may ask for. Each process counts for itself.
//!
//! | What | Counted by |
//! |---|---|
//! | routes without sign-in, and credentials that open nothing | the client's network |
//! | routes with sign-in | the user or the key |
//! | a reader's routes | the link, never the address: mailbox providers opt out for many from few |
//! | passwords | the client's network, and the account: see [`password`] |

use crate::client::Client;
use crate::problem::ApiError;
use crate::shares::{Share, Shares};
use crate::state::App;
use commands::Passwords;
use domain::{EmailAddress, Network, UserId};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counters of each kind: some 8 MB of them at the most. Callers are spread over them by a hash with a key of this process, so that
/// nobody can choose whom to share one with; of 1,000 who call at once, each shares one with a chance of 1 in 260.
const COUNTERS: u64 = 1 << 18;
/// One in so many places for passwords is kept for who comes from where they signed in lately.
const RESERVED_SHARE: usize = 5;
/// Counters that nobody needs any more are given back this often.
const SWEEP: Duration = Duration::from_secs(60);

/// As configured; `config.default.toml` says what each is for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub public_per_minute: NonZeroU32,
    pub user_per_minute: NonZeroU32,
    pub key_per_minute: NonZeroU32,
    pub link_per_minute: NonZeroU32,
    pub passwords_per_address_and_minute: NonZeroU32,
    pub passwords_per_account_and_minute: NonZeroU32,
    pub passwords_where_known_per_minute: NonZeroU32,
    pub passwords_per_address_at_once: usize,
    pub resets_per_address_and_minute: NonZeroU32,
    pub subscriptions_per_address_and_minute: NonZeroU32,
    pub streams: usize,
    pub streams_per_client: usize,
    pub connections: usize,
    pub connections_per_address: usize,
}

impl Default for Limits {
    /// As in `config.default.toml`.
    fn default() -> Self {
        let per_minute = |limit| NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN);
        Self {
            public_per_minute: per_minute(600),
            user_per_minute: per_minute(6_000),
            key_per_minute: per_minute(60_000),
            link_per_minute: per_minute(60),
            passwords_per_address_and_minute: per_minute(120),
            passwords_per_account_and_minute: per_minute(10),
            passwords_where_known_per_minute: per_minute(60),
            passwords_per_address_at_once: 4,
            resets_per_address_and_minute: per_minute(10),
            subscriptions_per_address_and_minute: per_minute(30),
            streams: 100,
            streams_per_client: 10,
            connections: 8_192,
            connections_per_address: 256,
        }
    }
}

/// What is left of a limit after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    limit: u32,
    remaining: u32,
    /// Until the whole of it is there again.
    reset_seconds: u32,
}

/// The limit is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// Of a limit over time.
    pub standing: Option<Standing>,
    pub retry_after_seconds: u64,
}

impl Exceeded {
    /// As many as may be at the same time.
    pub const AT_ONCE: Self = Self { standing: None, retry_after_seconds: 1 };
    /// As many as may be within a day.
    pub const LATELY: Self = Self { standing: None, retry_after_seconds: 3_600 };
}

impl Standing {
    fn new(limit: u32, remaining: u32) -> Self {
        let used = u64::from(limit.saturating_sub(remaining));
        let reset_seconds = u32::try_from((used * 60).div_ceil(u64::from(limit.max(1)))).unwrap_or(60);
        Self { limit, remaining, reset_seconds }
    }

    /// `RateLimit-*`, as draft-ietf-httpapi-ratelimit-headers-07 has them. A limit that answered before counts.
    pub fn write(&self, headers: &mut HeaderMap) {
        let fields = [
            ("ratelimit-limit", self.limit),
            ("ratelimit-remaining", self.remaining),
            ("ratelimit-reset", self.reset_seconds),
        ];
        if headers.contains_key(fields[0].0) {
            return;
        }
        for (name, value) in fields {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}

/// So many requests each minute by each caller; a minute's worth may come at once.
pub(crate) struct Limiter {
    limit: NonZeroU32,
    counters: RateLimiter<u64, DefaultKeyedStateStore<u64>, DefaultClock, StateInformationMiddleware>,
    hash: RandomState,
}

impl Limiter {
    pub fn per_minute(limit: NonZeroU32) -> Self {
        let counters = RateLimiter::keyed(Quota::per_minute(limit)).with_middleware();
        Self { limit, counters, hash: RandomState::new() }
    }

    pub fn count(&self, caller: impl Hash) -> Result<Standing, Exceeded> {
        let counter = self.hash.hash_one(caller) % COUNTERS;
        match self.counters.check_key(&counter) {
            Ok(state) => Ok(Standing::new(self.limit.get(), state.remaining_burst_capacity())),
            Err(until) => {
                let wait = until.wait_time_from(self.counters.clock().now());
                let standing = Some(Standing::new(self.limit.get(), 0));
                Err(Exceeded { standing, retry_after_seconds: wait.as_secs() + 1 })
            }
        }
    }

    fn sweep(&self) {
        self.counters.retain_recent();
        self.counters.shrink_to_fit();
    }
}

/// Every limit on requests.
pub(crate) struct Limiters {
    pub public: Limiter,
    pub users: Limiter,
    pub keys: Limiter,
    pub links: Limiter,
    passwords_by_network: Limiter,
    passwords_by_account: Limiter,
    passwords_where_known: Limiter,
    /// Sign-ins at providers have a count of their own: nobody's take the place of passwords.
    providers_by_network: Limiter,
    resets_by_network: Limiter,
    subscriptions_by_network: Limiter,
    passwords_at_once: Shares<Network>,
    strangers: Arc<Semaphore>,
}

impl Limiters {
    pub fn new(limits: &Limits, passwords: &Passwords) -> Self {
        let places = passwords.places_max();
        Self {
            public: Limiter::per_minute(limits.public_per_minute),
            users: Limiter::per_minute(limits.user_per_minute),
            keys: Limiter::per_minute(limits.key_per_minute),
            links: Limiter::per_minute(limits.link_per_minute),
            passwords_by_network: Limiter::per_minute(limits.passwords_per_address_and_minute),
            passwords_by_account: Limiter::per_minute(limits.passwords_per_account_and_minute),
            passwords_where_known: Limiter::per_minute(limits.passwords_where_known_per_minute),
            providers_by_network: Limiter::per_minute(limits.passwords_per_address_and_minute),
            resets_by_network: Limiter::per_minute(limits.resets_per_address_and_minute),
            subscriptions_by_network: Limiter::per_minute(limits.subscriptions_per_address_and_minute),
            passwords_at_once: Shares::new(limits.passwords_per_address_at_once),
            strangers: Arc::new(Semaphore::new(places - places / RESERVED_SHARE)),
        }
    }

    fn sweep(&self) {
        let Self { public, users, keys, links, .. } = self;
        let passwords = [&self.passwords_by_network, &self.passwords_by_account, &self.passwords_where_known];
        let strangers = [&self.providers_by_network, &self.resets_by_network, &self.subscriptions_by_network];
        [public, users, keys, links].into_iter().chain(passwords).chain(strangers).for_each(Limiter::sweep);
    }
}

/// Gives counters back for as long as the API is there.
pub(crate) fn keep_small(app: &App) {
    let app = Arc::downgrade(app);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(SWEEP).await;
            let Some(app) = app.upgrade() else { return };
            app.limiters.sweep();
        }
    });
}

/// Whose password it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Account<'a> {
    /// As somebody claims.
    Address(&'a EmailAddress),
    /// Who is signed in.
    User(UserId),
}

/// Leave to try one password; held until it was compared.
pub(crate) struct Try {
    _of_network: Share<Network>,
    _of_strangers: Option<OwnedSemaphorePermit>,
}

/// Counts a try by the client's network and by the account, whether or not there is such an account.
///
/// Guesses at one account from everywhere are slowed down together. A correct password must be no exception, or it would be told
/// from a wrong one; so that its owner is not locked out all the same, the networks that they signed in from lately have a
/// count of their own. Who signs in from a new place while the account is under attack may have to try again.
///
/// What waits to be compared is bounded as well, for each network and for all strangers together: neither one client nor many
/// can fill the queue of all.
pub(crate) async fn password(app: &App, client: Client, account: Account<'_>) -> Result<Try, ApiError> {
    let (limiters, network) = (&app.limiters, client.network());
    limiters.passwords_by_network.count(network)?;
    let is_stranger = match account {
        Account::User(user) => {
            limiters.passwords_by_account.count(user)?;
            false
        }
        Account::Address(email) => {
            let is_known = app.commands.is_known_network(email, network).await?;
            match is_known {
                true => limiters.passwords_where_known.count((email.canonical(), network))?,
                false => limiters.passwords_by_account.count(email.canonical())?,
            };
            !is_known
        }
    };
    let of_network = limiters.passwords_at_once.take(network).ok_or(Exceeded::AT_ONCE)?;
    let of_strangers = is_stranger.then(|| limiters.strangers.clone().try_acquire_owned()).transpose();
    let of_strangers = of_strangers.map_err(|_| ApiError::Overloaded("too many sign-ins at once"))?;
    Ok(Try { _of_network: of_network, _of_strangers: of_strangers })
}

/// Counts a sign-in at a provider, by the client's network.
pub(crate) fn provider(app: &App, client: Client) -> Result<(), ApiError> {
    app.limiters.providers_by_network.count(client.network())?;
    Ok(())
}

/// Counts who asks for a link, by the client's network: each is a row for two days, and a mail perhaps.
pub(crate) fn reset(app: &App, client: Client) -> Result<(), ApiError> {
    app.limiters.resets_by_network.count(client.network())?;
    Ok(())
}

/// Counts who asks for a subscription, by the client's network: each is a mail to somebody.
pub(crate) fn subscription(app: &App, client: Client) -> Result<(), ApiError> {
    app.limiters.subscriptions_by_network.count(client.network())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_minute: u32) -> Limiter {
        Limiter::per_minute(NonZeroU32::new(per_minute).unwrap())
    }

    #[test]
    fn a_minutes_worth_may_come_at_once_and_the_next_when_there_is_room() {
        let limiter = limiter(3);
        let standing = |remaining, reset_seconds| Ok(Standing { limit: 3, remaining, reset_seconds });
        let counted: Vec<_> = (0..3).map(|_| limiter.count("ana")).collect();
        assert_eq!(counted, [standing(2, 20), standing(1, 40), standing(0, 60)]);
        let exceeded = limiter.count("ana").unwrap_err();
        assert_eq!(exceeded.standing, standing(0, 60).ok());
        assert!((19..=21).contains(&exceeded.retry_after_seconds), "{exceeded:?}");
        assert_eq!(limiter.count("bob"), standing(2, 20));
    }

    #[test]
    fn what_is_refused_counts_for_nothing() {
        // One each 10 ms.
        let limiter = limiter(6_000);
        while limiter.count("ana").is_ok() {}
        for _ in 0..1_000 {
            let _ = limiter.count("ana");
        }
        std::thread::sleep(Duration::from_millis(11));
        assert!(limiter.count("ana").is_ok());
    }

    #[test]
    fn counters_are_bounded_and_given_back() {
        let limiter = limiter(60_000);
        for caller in 0..2 * COUNTERS {
            let _ = limiter.count(caller);
        }
        assert!(limiter.counters.len() as u64 <= COUNTERS);
        // A call is forgotten after its share of the minute.
        std::thread::sleep(Duration::from_millis(20));
        limiter.sweep();
        assert!(limiter.counters.is_empty(), "{}", limiter.counters.len());
    }
}
