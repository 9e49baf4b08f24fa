//! Templates: what a mail says before it meets its reader. A campaign pins the version that it sends.

mod aggregate;

pub use aggregate::{Body, Content, Template, TemplateCommand, TemplateError, TemplateEvent};
