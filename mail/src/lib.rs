//! Mails: templates and their merge fields, messages of RFC 5322, and the tokens of the links in them.
//!
//! Nothing in this crate does I/O, reads a clock or draws a random number: times, ids and keys are passed in, and the
//! same input gives the same bytes. What readers' fields hold is data everywhere: it is never run as a template, is
//! escaped in HTML, and gets no line break into a header.

pub mod account;
mod address;
pub mod consent;
mod header_text;
mod letter;
pub mod links;
mod mask;
pub mod message;
mod quoted_printable;
pub mod template;

pub use address::Address;
pub use domain::address::AddressError;
pub use links::{LinkError, LinkKey, LinkKeys, Links, PreferenceClaims};
pub use mask::mask_address;
pub use message::{ListHeaders, MessageError, MessageParts, build};
pub use template::{
    BUILT_IN, Body, Compiled, MediaUrls, MergeData, RenderError, Rendered, TemplateError, TemplateSource,
    Warning, warnings,
};
