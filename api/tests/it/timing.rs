//! How long a refusal takes tells nobody which addresses have users: known and unknown ones differ by less than one query
//! to the database takes, where argon2 is a fortieth of what it is in life and Postgres does not wait for its disk. In life
//! that is nothing: `./run bench sign-in` looks for it in 2,000 refusals over REST.

use crate::support::TestApp;
use argon2::Params;
use commands::Passwords;
use domain::access::Role;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::time::{Duration, Instant};

const KNOWN: &str = "ana@example.com";

/// Of each kind, in a round.
const SAMPLES: usize = 1_000;
/// On a machine that does much else, one round shows nothing.
const ROUNDS_MAX: usize = 8;
/// The least of so many neighbours is compared: whatever else the machine does only ever adds.
const NEIGHBOURS: usize = 5;
/// Times are told apart where the statistic is beyond this. Of noise it has the standard normal distribution, and is
/// there once in 30,000 runs.
const TOLD_APART: f64 = 4.0;
/// A fortieth of what a hash fills in life.
const MEMORY_KIB: u32 = 1024;

/// What refusals took, and a query beside each pair.
#[derive(Default)]
struct Times {
    known: Vec<Duration>,
    unknown: Vec<Duration>,
    query: Vec<Duration>,
}

impl Times {
    /// Neighbours in time, and each kind first in half of the pairs.
    async fn take(&mut self, app: &TestApp) {
        for turn in 0..SAMPLES {
            let nobody = format!("nobody{turn}@example.com");
            let (known, unknown) = match turn % 2 {
                0 => (refusal(app, KNOWN).await, refusal(app, &nobody).await),
                _ => {
                    let unknown = refusal(app, &nobody).await;
                    (refusal(app, KNOWN).await, unknown)
                }
            };
            self.known.push(known);
            self.unknown.push(unknown);
            self.query.push(query(app).await);
        }
    }

    /// An equivalence test: each kind is told apart from the other with a query more, as the shorter one.
    fn differ_by_less_than_a_query(&self) -> [f64; 2] {
        let with_query = |times: &[Duration]| -> Vec<Duration> {
            times.iter().zip(&self.query).map(|(time, query)| *time + *query).collect()
        };
        [
            statistic(&with_query(&self.unknown), &self.known),
            statistic(&with_query(&self.known), &self.unknown),
        ]
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn known_and_unknown_addresses_are_refused_in_the_same_time(
    pool: PgPoolOptions,
    options: PgConnectOptions,
) {
    let pool = pool.connect_with(options.options([("synchronous_commit", "off")])).await.unwrap();
    let little = Passwords::with(Params::new(MEMORY_KIB, 1, 1, None).unwrap(), 1, 8);
    let app = TestApp::with_passwords(pool, little).await;
    app.user(KNOWN, &[Role::Marketer]).await;
    let mut times = Times::default();
    let mut shown = Vec::new();
    for _ in 0..ROUNDS_MAX {
        times.take(&app).await;
        let found = times.differ_by_less_than_a_query();
        if found.iter().all(|found| *found > TOLD_APART) {
            return;
        }
        shown.push(found);
    }
    panic!("known and unknown addresses differ by a query or more: {shown:.1?}");
}

async fn refusal(app: &TestApp, email: &str) -> Duration {
    let start = Instant::now();
    app.try_login(email, "a wrong password").await.problem(401);
    start.elapsed()
}

async fn query(app: &TestApp) -> Duration {
    let start = Instant::now();
    let sql = "SELECT user_id FROM accounts WHERE address_hash = $1";
    sqlx::query(sql).bind(b"nobody".as_slice()).fetch_optional(&app.pool).await.unwrap();
    start.elapsed()
}

fn statistic(first: &[Duration], second: &[Duration]) -> f64 {
    let least = |times: &[Duration]| -> Vec<Duration> {
        times.chunks(NEIGHBOURS).filter_map(|neighbours| neighbours.iter().min().copied()).collect()
    };
    signed_rank(&least(first), &least(second))
}

/// Wilcoxon's signed-rank statistic of pairs, standardised (Wilcoxon 1945): positive where the first take longer. By
/// ranks, so that what the machine does meanwhile weighs no more than any other pair.
fn signed_rank(first: &[Duration], second: &[Duration]) -> f64 {
    let seconds = |time: &Duration| time.as_secs_f64();
    let mut differences: Vec<f64> =
        first.iter().zip(second).map(|(a, b)| seconds(a) - seconds(b)).filter(|d| *d != 0.0).collect();
    differences.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let ranks = differences.iter().zip(1..).map(|(difference, rank)| difference.signum() * f64::from(rank));
    let count = differences.len() as f64;
    ranks.sum::<f64>() / (count * (count + 1.0) * (2.0 * count + 1.0) / 6.0).sqrt()
}

#[test]
fn the_statistic_is_that_of_tables() {
    let milliseconds = |values: [u64; 10]| values.map(Duration::from_millis).to_vec();
    // Differences 15 -7 5 20 0 -9 17 -12 5 -10, a common example: W = 9 without the zero.
    let first = milliseconds([125, 115, 130, 140, 140, 115, 140, 125, 140, 135]);
    let second = milliseconds([110, 122, 125, 120, 140, 124, 123, 137, 135, 145]);
    let z = signed_rank(&first, &second);
    assert!((z - 9.0 / 285f64.sqrt()).abs() < 1e-9, "{z}");
    assert!((signed_rank(&second, &first) + z).abs() < 1e-9);
}
