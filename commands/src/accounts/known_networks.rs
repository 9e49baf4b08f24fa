//! From where a user signed in. Guesses at a password that come from everywhere slow down sign-ins from everywhere, but not
//! from there: nobody can be locked out of where they work.

use crate::{CommandError, Commands};
use domain::{EmailAddress, Network, UserId};

/// Of one user; the newest are kept.
const NETWORKS_MAX: i64 = 20;
const KNOWN_DAYS: i32 = 90;

impl Commands {
    /// After a sign-in that succeeded.
    pub async fn remember_network(&self, user: UserId, network: Network) -> Result<(), CommandError> {
        let hash = self.store.master.network_hash(network);
        let mut tx = self.store.pool.begin().await?;
        sqlx::query(
            "INSERT INTO known_networks (user_id, network_hash) VALUES ($1, $2)
             ON CONFLICT (user_id, network_hash) DO UPDATE SET seen_at = clock_timestamp()",
        )
        .bind(user)
        .bind(hash.as_slice())
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "DELETE FROM known_networks WHERE user_id = $1 AND network_hash NOT IN (
                 SELECT network_hash FROM known_networks WHERE user_id = $1 ORDER BY seen_at DESC LIMIT $2)",
        )
        .bind(user)
        .bind(NETWORKS_MAX)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Whether the user with this address signed in from there lately. Where nobody has the address, it is looked up of the
    /// next one all the same: as much work.
    pub async fn is_known_network(
        &self,
        email: &EmailAddress,
        network: Network,
    ) -> Result<bool, CommandError> {
        let known = "SELECT address_hash = $1 AND EXISTS (
                         SELECT FROM known_networks k WHERE k.user_id = next.user_id AND network_hash = $2
                         AND seen_at > now() - make_interval(days => $3))
                     FROM (SELECT user_id, address_hash FROM accounts
                           WHERE address_hash >= $1 ORDER BY address_hash LIMIT 1) AS next";
        let (address, network) =
            (self.store.master.address_hash(email), self.store.master.network_hash(network));
        let known: Option<bool> = sqlx::query_scalar(known)
            .bind(address.0.as_slice())
            .bind(network.as_slice())
            .bind(KNOWN_DAYS)
            .fetch_optional(&self.store.pool)
            .await?;
        Ok(known.unwrap_or(false))
    }
}
