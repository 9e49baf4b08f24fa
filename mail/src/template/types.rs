//! What the values of a template can be, found out before it runs.
//!
//! A template that passes makes no value that nests deeper than [`MAX_NESTING`], and prints and compares nothing but
//! texts and numbers. So nothing in the engine that calls itself for what is within a value (printing, comparing,
//! dropping) goes deep, and no list of lists of lists is printed: that would be unbounded work that the engine counts
//! only afterwards.
//!
//! The readers' fields are text, whatever they look like. Comparing or reckoning with them as numbers is a wrong
//! answer in silence ("9" > "100"), so it is refused with the remedy.

mod filters;
mod kind;
mod operators;
mod truth;
mod walk;

use super::Fault;
use kind::Kind;
use minijinja::machinery::{Span, ast, parse};
use std::collections::{BTreeMap, BTreeSet};
pub(super) use truth::Truths;

/// Lists and maps within each other, and what is made of them without a copy.
const MAX_NESTING: u8 = 8;
/// Until the kinds of all names are known: each pass may show a name to hold more than was thought.
const MAX_PASSES: usize = 30;
/// Names that a part sets, loops and macros included.
const MAX_NAMES: usize = 200;

/// The functions that a template can call, its own macros and `media` apart.
pub(super) const FUNCTIONS: [&str; 2] = ["range", "dict"];

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// What must not run: in a version that was saved before, too.
    Dangers,
    /// And what gives a wrong answer.
    All,
}

/// The faults of a template that parses; one that does not has none here.
pub(super) fn check(source: &str, what: Check) -> Vec<Fault> {
    examine(source, what).unwrap_or_else(|fault| (vec![fault], Truths::default())).0
}

/// Where a template that passes asks whether a field is true.
pub(super) fn truths(source: &str) -> Truths {
    examine(source, Check::Dangers).map(|(_, truths)| truths).unwrap_or_default()
}

fn examine(source: &str, what: Check) -> Result<(Vec<Fault>, Truths), Fault> {
    let Ok(tree) = parse(source, "", Default::default()) else { return Ok(Default::default()) };
    let mut checker = Checker::new(what);
    for _ in 0..MAX_PASSES {
        let known = (checker.assigned.clone(), checker.macros.clone());
        checker.faults.clear();
        checker.truths = Truths::default();
        checker.names.clear();
        checker.statement(&tree);
        // More passes would find nothing that this one lets through.
        if known.0 == checker.assigned && known.1 == checker.macros || checker.too_deep {
            return Ok((checker.faults, checker.truths));
        }
        if checker.assigned.len() > MAX_NAMES {
            return Err(Fault::new(format!("may set {MAX_NAMES} names at the most")));
        }
    }
    Err(Fault::new("what its names hold depends on each other in too many steps".to_owned()))
}

/// The parameters of a macro, by position.
type Parameters<'t> = Vec<&'t str>;

struct Checker<'t> {
    what: Check,
    /// What the names hold at this place.
    names: BTreeMap<&'t str, Kind>,
    /// All that each name was ever seen to hold, for loops and macros: these run again, and later.
    assigned: BTreeMap<&'t str, Kind>,
    /// All macros of each name.
    macros: BTreeMap<&'t str, BTreeSet<Parameters<'t>>>,
    faults: Vec<Fault>,
    truths: Truths,
    too_deep: bool,
}

impl<'t> Checker<'t> {
    fn new(what: Check) -> Self {
        Self {
            what,
            names: BTreeMap::new(),
            assigned: BTreeMap::new(),
            macros: BTreeMap::new(),
            faults: Vec::new(),
            truths: Truths::default(),
            too_deep: false,
        }
    }

    /// What would run, and mean something else than it seems to.
    fn doubt(&mut self, span: Span, reason: impl Into<String>) {
        if self.what == Check::All {
            self.fail(span, reason);
        }
    }

    fn fail(&mut self, span: Span, reason: impl Into<String>) {
        let fault = Fault::at(usize::from(span.start_line), reason.into());
        if !self.faults.contains(&fault) && self.faults.len() < super::MAX_FAULTS {
            self.faults.push(fault);
        }
    }

    fn assign(&mut self, name: &'t str, kind: Kind) {
        self.names.insert(name, kind);
        self.remember(name, kind);
    }

    fn remember(&mut self, name: &'t str, kind: Kind) {
        let all = self.assigned.entry(name).or_insert(kind);
        *all = all.or(kind);
    }

    /// A value that is made here, if it does not nest too deep.
    fn made(&mut self, span: Span, kind: Kind) -> Kind {
        if kind.nesting <= MAX_NESTING {
            return kind;
        }
        self.too_deep = true;
        self.fail(span, format!("lists and maps may be nested {MAX_NESTING} deep at the most"));
        Kind { nesting: MAX_NESTING, depth: kind.depth.min(MAX_NESTING), ..kind }
    }

    fn held(&self, name: &str) -> Kind {
        match (self.names.get(name), name) {
            (Some(kind), _) => *kind,
            (None, "campaign" | "group") => Kind::FIELD.listed(),
            (None, _) => Kind::FIELD,
        }
    }
}

fn name_of<'e>(expr: &'e ast::Expr<'_>) -> Option<&'e str> {
    match expr {
        ast::Expr::Var(var) => Some(var.id),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
