//! People who sign in. Their passwords are in no event, hashed or not: events travel, and are for ever.

mod aggregate;

pub use aggregate::{Start, User, UserCommand, UserError, UserEvent};
