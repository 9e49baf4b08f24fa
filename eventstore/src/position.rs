//! Position tokens: what a command answers, so that a query can wait for its effect.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longer tokens are refused before they are decoded.
const TOKEN_MAX_BYTES: usize = 16 * 1024;

/// Opaque to clients. Names appended events, since positions are given later by the sequencer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionToken {
    #[serde(rename = "e")]
    pub epoch: Uuid,
    #[serde(rename = "t")]
    pub touched: Vec<Touched>,
}

/// The last append to one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Touched {
    #[serde(rename = "a")]
    pub aggregate_type: String,
    #[serde(rename = "s")]
    pub slot: i16,
    #[serde(rename = "i")]
    pub append_id: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the position token is malformed")]
pub struct MalformedToken;

impl PositionToken {
    pub fn encode(&self) -> String {
        // Serialising ids and integers into memory cannot fail.
        BASE64.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    pub fn parse(token: &str) -> Result<Self, MalformedToken> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(MalformedToken);
        }
        let json = BASE64.decode(token).map_err(|_| MalformedToken)?;
        serde_json::from_slice(&json).map_err(|_| MalformedToken)
    }
}

/// The last append of each slot.
pub(crate) fn last_per_slot(appended: Vec<Touched>) -> Vec<Touched> {
    let mut last = std::collections::BTreeMap::<(String, i16), i64>::new();
    for touched in appended {
        let id = last.entry((touched.aggregate_type, touched.slot)).or_default();
        *id = touched.append_id.max(*id);
    }
    let touched = |((aggregate_type, slot), append_id)| Touched { aggregate_type, slot, append_id };
    last.into_iter().map(touched).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_round_trips_and_nonsense_is_refused() {
        let touched = vec![Touched { aggregate_type: "group".into(), slot: 3, append_id: 9 }];
        let token = PositionToken { epoch: Uuid::from_u128(1), touched };
        assert_eq!(PositionToken::parse(&token.encode()), Ok(token));
        for nonsense in ["", "%%%", "AAAA", &"A".repeat(20_000)] {
            assert_eq!(PositionToken::parse(nonsense), Err(MalformedToken));
        }
    }
}
