//! Freezing and sending on a real Postgres, in one process, step by step. Processes that are killed are tried from
//! outside, in `e2e`.

mod flow;
mod gate;
mod left_behind;
mod support;
