//! Where a request came from, as security events keep it.

use crate::Personal;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Visit {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<Personal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Personal>,
}

impl Visit {
    pub(crate) fn personal(&mut self) -> Vec<(&'static str, &mut Personal)> {
        let source = self.source_address.iter_mut().map(|value| ("source_address", value));
        source.chain(self.user_agent.iter_mut().map(|value| ("user_agent", value))).collect()
    }
}
