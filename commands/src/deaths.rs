//! What ends its workers again and again is given up: nothing may restart for ever. Dispatches, mails and imports count deaths in
//! their own rows, other work in those of [`crate::attempts`].

/// Workers in a row that may die with the same work. A process that is killed counts for whatever it works on; whoever gets
/// on, fails or gives back has not died.
pub const DEATHS_MAX: i32 = 5;

/// Counts what was given up: a `dispatch`, a `mail`, an `import`, a `freeze`.
pub fn given_up(work: &'static str) {
    metrics::counter!("postledger_given_up_total", "work" => work).increment(1);
}
