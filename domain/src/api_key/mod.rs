//! Keys of programs. The key itself is in no event, hashed or not.

mod aggregate;

pub use aggregate::{ApiKey, ApiKeyCommand, ApiKeyError, ApiKeyEvent};
