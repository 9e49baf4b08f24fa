//! What comes in, made into what the inside takes. Whatever cannot be taken is named by its field.

pub(crate) mod etag;
pub(crate) mod fields;
pub(crate) mod json;
pub(crate) mod params;
pub(crate) mod position;
pub(crate) mod timestamp;
