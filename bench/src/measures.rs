//! The measures, a file for each kind.

mod append;
mod commands;
mod idle;
mod import_and_send;
mod mailers;
mod media;
mod opt_out;
mod position;
mod reads;
mod relay;
mod sign_in;
mod slow_connections;
mod visible;

use crate::report::Figure;
use futures::future::LocalBoxFuture;

pub struct Measure {
    pub name: &'static str,
    pub what: &'static str,
    /// What limits it, as far as it is known.
    pub limited_by: &'static str,
    pub take: fn() -> LocalBoxFuture<'static, Vec<Figure>>,
}

pub const ALL: &[Measure] = &[
    commands::MEASURE,
    append::MEASURE,
    position::MEASURE,
    visible::MEASURE,
    relay::MEASURE,
    import_and_send::MEASURE,
    mailers::MEASURE,
    media::MEASURE,
    opt_out::MEASURE,
    sign_in::MEASURE,
    reads::MEASURE,
    slow_connections::MEASURE,
    idle::MEASURE,
];
